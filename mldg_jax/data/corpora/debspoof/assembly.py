"""The whole build, step by step; every step is skipped when its result is there."""

import contextlib
import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from mldg_jax.common.errors import UserError
from mldg_jax.common.files import replacing
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
    """Builds DebSpoof, or goes on where an earlier run stopped.

    Installs and downloads the sources, plans, renders, neutralises, writes the corpus
    and audits it. Takes about 4 minutes (small) or 15 (full) on
    two cores.

    Args:
      size: "small" (about 1,450 clips) or "full" (about 5,200).
      data_dir: the corpus goes to `<data_dir>/debspoof/<size>/VERSION`, what it is made
        from to `<data_dir>/cache` and `<data_dir>/build`, which may be deleted.
      workers: processes, by default one a core.
      progress: show a progress bar.

    Returns:
      The corpus folder: array_record files, corpus.json, report.txt, ATTRIBUTION.md;
      and what is in it and how long that took, as text, None if it was there already.

    Raises:
      UserError: what the user can mend (no root, no network, unknown size, ...).
    """
    if size not in QUOTAS:
        raise UserError(
            f"The corpus size is {size!r}, but only {' and '.join(QUOTAS)} exist."
        )
    from mldg_jax.data.corpora.debspoof import dataset

    data_dir = Path(data_dir).absolute()
    target = dataset.corpus_folder(data_dir, size)
    if (target / "corpus.json").exists():
        return target, None
    # before minutes of rendering, not after
    python_versions = engines.python_versions(size)
    watch = _Watch()
    cache = data_dir / "cache"
    with watch("sources"):
        versions = sources.fetch_all(cache) | python_versions
    with watch("plan"):
        texts = extra_texts(cache) if size == "full" else ()
        plan = make_plan(catalogue(cache), size, texts=texts)
    folder = dataset.build_folder(data_dir, size)
    with watch("render"):
        from mldg_jax.data.corpora.debspoof.render import render

        clips, spent = render(
            plan,
            cache,
            folder,
            workers=workers or os.cpu_count() or 1,
            progress=progress,
        )
    with watch("write"):
        dataset.write_rows(folder, [row(clip) for clip in clips])
        corpus = dataset.prepare(data_dir, size)
    with watch("audit"):
        result = cue_audit.audit(audit_samples(clips, folder / "clips"))
    with watch("hash"):
        digest = dataset.corpus_hash(corpus)
    expected = reference.read(size)
    other = reference.difference(digest, versions, expected)
    summary = summarise(clips, plan.digest, digest, versions, result)
    summary["differs_from_readme"] = other
    credits = attribution(clips, versions, engines.synthesiser_names(size))
    notes = [f"- {note}." for note in reference.version_notes(versions, expected)]
    credits += "".join(["\n", *notes, "\n"] if notes else [])
    (target / "ATTRIBUTION.md").write_text(credits, "utf-8")
    said = "\n\n".join([*tables(clips), cue_audit.table(result)])
    said += f"\n\n{other}" if other else ""
    (target / "report.txt").write_text(said + "\n", "utf-8")
    text = json.dumps(summary, indent=1, ensure_ascii=False) + "\n"
    with replacing(target / "corpus.json") as part:
        part.write_text(text, "utf-8")  # last: it says that the build is complete
    last = f"{summary['clips']} clips, sha256 {digest[:16]}"
    return target, "\n".join([said, times(watch.seconds, spent), last])


class _Watch:
    """Collects the wall-clock seconds of named stages."""

    def __init__(self):
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[stage] = time.perf_counter() - started


def row(clip: Clip) -> dict:
    """What the corpus says about a clip, besides its samples."""
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
    """Measures the cues of every clip."""
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
    """The content of corpus.json."""
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
    """Where the time went, as text, for people."""
    lines = ["Seconds by stage: " + _seconds(stages)]
    if spent:
        named = {"bonafide" if k == "-" else k: v for k, v in spent.items()}
        lines.append("Worker seconds by attack: " + _seconds(named))
    return "\n".join(lines)


def _seconds(times: dict[str, float]) -> str:
    ordered = sorted(times.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {value:.1f}" for name, value in ordered)


def attribution(
    clips: Sequence[Clip], versions: dict[str, str], synthesisers: Sequence[str]
) -> str:
    """ATTRIBUTION.md: every source, its licence and what was taken from it."""
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
            taken[clip.target.package, "target voices"] += 1
    lines = [
        "# Sources of DebSpoof",
        "",
        "The clips are altered: cropped, filtered, levelled, noise added, coded; the",
        "spoofed ones are re-synthesised. Each keeps the licence of its source.",
        "Licences of the AMI and MFA recordings are as stated upstream. The texts come",
        "from the same packages, asterisk-core-sounds-LANG and fillets-ng-data.",
        "",
        "| package | version | licence | taken |",
        "| --- | --- | --- | --- |",
    ]
    for package in sorted(licences | dict.fromkeys(texts)):
        uses = [
            f"{n} {use}" for (name, use), n in sorted(taken.items()) if name == package
        ]
        if texts[package]:
            uses.append(f"texts of {texts[package]} synthesised clips")
        version = versions.get(package, "?")
        licence = LICENCES.get(package, licences.get(package))
        cell = f"{package} | {version} | {licence} | {', '.join(uses)}"
        lines.append(f"| {cell} |")
    lines += ["", "Synthesisers (licences: /usr/share/doc/NAME/copyright of those from"]
    lines += ["Debian, `pip show NAME` of the others):", ""]
    tools = (*sources.ENGINE_PACKAGES, *synthesisers)
    lines += [f"- {name} {versions.get(name, '')}".rstrip() for name in tools]
    return "\n".join(lines) + "\n"


def _use(clip: Clip) -> str:
    return "bona fide clips" if clip.label == "bonafide" else "re-synthesised clips"
