"""The whole build, step by step; a step is skipped if its result exists."""

import contextlib
import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from mldg_jax.common.errors import UserError
from mldg_jax.common.files import check_folder, replacing
from mldg_jax.common.processes import cores
from mldg_jax.data.corpora.debspoof import cue_audit, engines, reference, sources
from mldg_jax.data.corpora.debspoof.clip import Clip
from mldg_jax.data.corpora.debspoof.clip_plan import QUOTAS, make_plan
from mldg_jax.data.corpora.debspoof.counts import clip_counts, tables
from mldg_jax.data.corpora.debspoof.texts import extra_texts
from mldg_jax.data.corpora.debspoof.voices import LICENCES, catalogue


def build(
    size: str,
    data_dir: Path,
    *,
    workers: int | None = None,
    progress: bool = True,
) -> tuple[Path, str | None]:
    """Builds DebSpoof, or resumes where an earlier run stopped.

    Installs and downloads the sources, plans, renders, neutralises, writes the corpus
    and audits it. Takes about 4 minutes (small), 15 (full) or half a minute (quick) on
    two cores. Size quick needs no synthesiser of the system, hence no root.

    Args:
      size: "small" (about 1,500 utterances), "full" (about 5,200) or "quick" (about
        350: for a first look, too few to compare methods with).
      data_dir: root of all corpora. The corpus goes to
        ``<data_dir>/debspoof/<size>/<version>``, its sources and intermediate files to
        ``<data_dir>/cache`` and ``<data_dir>/build``, which may be deleted afterwards.
      workers: number of processes, by default one per core.
      progress: show a progress bar.

    Returns:
      The corpus folder, with array_record files, corpus.json, report.txt and
      ATTRIBUTION.md; and a text that reports its content and the time taken, or None
      if the corpus existed already.

    Raises:
      UserError: the user can fix the problem (no root, no network, unknown size, ...).
    """
    if size not in QUOTAS:
        raise UserError(
            f"The corpus size is {size!r}, but it must be {' or '.join(QUOTAS)}."
        )
    from mldg_jax.data.corpora.debspoof import dataset

    data_dir = Path(data_dir).absolute()
    target = dataset.corpus_folder(data_dir, size)
    if (target / "corpus.json").exists():
        return target, None
    check_folder(target)
    # Missing packages are reported now, not after minutes of rendering
    python_versions = engines.python_versions(size)
    stopwatch = _Stopwatch()
    cache = data_dir / "cache"
    with stopwatch("sources"):
        versions = sources.fetch_all(cache, size) | python_versions
    with stopwatch("plan"):
        texts = extra_texts(cache) if size == "full" else ()
        plan = make_plan(catalogue(cache, versions), size, texts=texts)
    folder = dataset.build_folder(data_dir, size)
    with stopwatch("render"):
        from mldg_jax.data.corpora.debspoof.render import render

        clips, attack_seconds = render(
            plan,
            cache,
            folder,
            workers=workers or cores(),
            progress=progress,
        )
    with stopwatch("write"):
        dataset.write_rows(folder, [row(clip) for clip in clips])
        corpus = dataset.prepare(data_dir, size)
    with stopwatch("audit"):
        result = cue_audit.audit(audit_samples(clips, folder / "clips"))
    with stopwatch("hash"):
        digest = dataset.corpus_hash(corpus)
    expected = reference.read(size)
    deviation = expected and reference.difference(digest, versions, expected)
    summary = summarise(clips, plan.digest, digest, versions, result)
    summary["differs_from_readme"] = deviation
    tools = (*sources.engine_packages(size), *engines.synthesiser_names(size))
    credits = attribution(clips, versions, tools)
    notes = reference.version_notes(versions, expected) if expected else []
    credits += "".join(["\n", *(f"- {x}." for x in notes), "\n"] if notes else [])
    (target / "ATTRIBUTION.md").write_text(credits, "utf-8")
    report = "\n\n".join([*tables(clips), cue_audit.table(result)])
    report += f"\n\n{deviation}" if deviation else ""
    (target / "report.txt").write_text(report + "\n", "utf-8")
    text = json.dumps(summary, indent=1, ensure_ascii=False) + "\n"
    with replacing(target / "corpus.json") as part:
        part.write_text(text, "utf-8")  # last, because it marks a complete build
    totals = f"{summary['clips']} utterances, sha256 {digest[:16]}"
    return target, "\n".join([report, times(stopwatch.seconds, attack_seconds), totals])


class _Stopwatch:
    """Measures the wall-clock seconds of named stages."""

    def __init__(self):
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[stage] = time.perf_counter() - started


def row(clip: Clip) -> dict:
    """Returns the metadata of an utterance in the corpus.

    Args:
      clip: the utterance.

    Returns:
      Value by column, all strings.
    """
    recording = clip.recording
    source = recording.key if recording else f"{clip.package} (text)"
    return {
        "split": clip.split,
        "utterance": clip.utterance,
        "label": clip.label,
        "attack": clip.attack,
        "speaker": clip.speaker,
        "language": clip.language,
        "codec": "g722",
        "text": clip.text,
        "source": source,
        "licence": clip.licence,
        "family": clip.family,
        "fold": str(clip.fold),
    }


def audit_samples(clips: Sequence[Clip], folder: Path) -> list[cue_audit.Sample]:
    """Measures the cues of every utterance.

    Args:
      clips: utterances of the corpus.
      folder: folder of the FLAC files.

    Returns:
      What the audit needs to know about each utterance, in the same order.
    """
    from mldg_jax.data.corpora.debspoof.dataset import read_clip

    return [
        cue_audit.Sample(
            clip.split,
            clip.label == "bonafide",
            clip.attack,
            clip.language,
            cue_audit.cues(read_clip(folder / f"{clip.utterance}.flac")),
        )
        for clip in clips
    ]


def summarise(clips, plan_digest, digest, versions, result) -> dict:
    """Collects the content of ``corpus.json``.

    Args:
      clips: utterances of the corpus.
      plan_digest: hexadecimal SHA-256 of the plan.
      digest: hexadecimal SHA-256 of the corpus.
      versions: version of every package, by name.
      result: the cue audit (``cue_audit.Audit``).

    Returns:
      A dictionary that can be written as JSON.
    """
    return {
        "corpus_sha256": digest,
        "plan_sha256": plan_digest,
        "clips": len(clips),
        **clip_counts(clips),
        "audit": {
            "eer": result.eers,
            "best": result.best,
            "by_attack": result.by_attack,
            "required": cue_audit.REQUIRED_EER,
            "passed": result.passed,
        },
        "versions": versions,
    }


def times(stages: dict[str, float], spent: dict[str, float]) -> str:
    """Formats the time taken as text for people.

    Args:
      stages: wall-clock seconds by stage of the build.
      spent: worker seconds by attack, "-" for bona fide; may be empty.

    Returns:
      One or two lines, longest times first.
    """
    lines = ["Seconds by stage: " + _seconds(stages)]
    if spent:
        named = {"bonafide" if k == "-" else k: v for k, v in spent.items()}
        lines.append("Worker seconds by attack: " + _seconds(named))
    return "\n".join(lines)


def _seconds(seconds: dict[str, float]) -> str:
    ordered = sorted(seconds.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {value:.1f}" for name, value in ordered)


def attribution(
    clips: Sequence[Clip], versions: dict[str, str], tools: Sequence[str]
) -> str:
    """Writes the text of ATTRIBUTION.md: sources, licences and use.

    Args:
      clips: utterances of the corpus.
      versions: version of every package, by name.
      tools: names of the packages with the synthesisers.

    Returns:
      Markdown text, with a table of sources and a list of synthesisers.
    """
    taken: Counter = Counter()
    texts: Counter = Counter()
    licences = {}
    for clip in clips:
        if clip.recording is None:
            texts[clip.package] += 1
            continue
        licences[clip.package] = clip.licence
        taken[clip.package, _use(clip)] += 1
        if clip.target:
            licences[clip.target.package] = clip.target.licence
            taken[clip.target.package, "target speakers"] += 1
    lines = [
        "# Sources of DebSpoof",
        "",
        "All utterances have been altered: cropped, filtered, scaled, mixed",
        "with noise and coded; spoofed ones are re-synthesised. Each of them keeps the",
        "licence of its source. Licences of the AMI and MFA recordings are as stated",
        "upstream. Texts come from the same packages, from asterisk-core-sounds-LANG",
        "and from fillets-ng-data.",
        "",
        "| package | version | licence | taken |",
        "| --- | --- | --- | --- |",
    ]
    for package in sorted(licences | dict.fromkeys(texts)):
        uses = [
            f"{n} {use}" for (name, use), n in sorted(taken.items()) if name == package
        ]
        if texts[package]:
            uses.append(f"texts of {texts[package]} synthesised utterances")
        version = versions.get(package, "?")
        licence = LICENCES.get(package, licences.get(package))
        cell = f"{package} | {version} | {licence} | {', '.join(uses)}"
        lines.append(f"| {cell} |")
    lines += ["", "Synthesisers (see /usr/share/doc/NAME/copyright for the licences of"]
    lines += ["Debian packages, `pip show NAME` for the others):", ""]
    lines += [f"- {name} {versions.get(name, '')}".rstrip() for name in tools]
    return "\n".join(lines) + "\n"


def _use(clip: Clip) -> str:
    kind = "bona fide" if clip.label == "bonafide" else "re-synthesised"
    return f"{kind} utterances"
