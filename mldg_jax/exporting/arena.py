"""Prepares a submission to the speech anti-spoofing arena; uploads nothing.

The arena (github.com/lab260ru/speech_spoof_bench) ranks systems by their scores of
public data sets. A submission is a file of scores in a model repository of the hub, and
a YAML file that describes it in a pull request to the repository of the data set. The
YAML names the commit of the scores, so it is written after they have been uploaded.
"""

import dataclasses
import datetime
import hashlib
import importlib.metadata
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import yaml

from mldg_jax.common import text_files
from mldg_jax.common.errors import UserError
from mldg_jax.common.files import check_folder, check_output, write_text
from mldg_jax.data.schema import BONAFIDE
from mldg_jax.exporting import arena_model, arena_rules
from mldg_jax.exporting.arena_rules import BENCH_VERSION, COUNTS, EER, SCHEMA_VERSION
from mldg_jax.models.pretrained import hub
from mldg_jax.scoring import hub_scorer, key_files, score_files

log = logging.getLogger(__name__)

SCORES, SYSTEM = "scores.txt", "system.yaml"


@dataclasses.dataclass(frozen=True)
class ArenaRequest:
    """What to prepare.

    Attributes:
      sources: a run (or another detector, see ``hub_scorer.load``), a score file, or
        one of each.
      folder: where to write.
      keys: labels of all utterances of the data set; needed for scores.
      dataset: the data set's name on the hub, ORG/NAME.
      revision: commit of the data set that was scored.
      split: of the data set.
      system: YAML file that describes the system; "" for ``system.yaml`` in ``folder``.
      model_repo: model repository on the hub that gets the scores, ORG/NAME.
      commit: commit of ``model_repo`` that has the scores; "" before they are uploaded.
      username: of the submitter on the hub.
      contact: e.g. a mail address.
    """

    sources: Sequence[str]
    folder: str
    keys: str = ""
    dataset: str = ""
    revision: str = ""
    split: str = "test"
    system: str = ""
    model_repo: str = ""
    commit: str = ""
    username: str = ""
    contact: str = ""


def prepare(request: ArenaRequest, today: datetime.date) -> str:
    """Writes what of a submission can be written now.

    Args:
      request: what to prepare.
      today: date of the submission.

    Returns:
      What was written, and the commands to run next.

    Raises:
      UserError: an input is missing or the arena would refuse it.
    """
    folder = Path(request.folder)
    runs = [x for x in request.sources if _is_detector(x)]
    scored = [x for x in request.sources if x not in runs]
    if len(runs) > 1 or len(scored) > 1:
        raise UserError(
            f"{', '.join(request.sources)}: give one run, one score file, or one of "
            "each"
        )
    _check(request, has_scores=bool(scored))
    check_folder(folder)
    report: list[str] = []
    if runs:
        report += arena_model.write(runs[0], folder, request.dataset)
        report += _draft_system(runs[0], folder, request)
    if not scored:
        return "\n".join(report)
    labels = read_labels(request.keys)
    text, counts = _scores(scored[0], labels)
    path = folder / SCORES
    if not (path.exists() and path.read_text(encoding="utf-8") == text):
        check_output(path, [scored[0], request.keys])
        write_text(path, text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    report.append(
        f"{path}: {counts['n_trials'] - counts['n_skipped']:,} scores "
        f"({counts['n_skipped']:,} skipped), {len(text.encode()):,} bytes, sha256 "
        f"{digest}\n  EER of the arena {counts[EER]:.4f} %"
    )
    if counts[EER] > 50:
        log.warning("the EER is above 50 %%: check that a higher score is bona fide")
    if not request.commit:
        return "\n".join([*report, *_upload_steps(request, path)])
    submission = _submission(request, counts, digest, today)
    slug = submission["system"]["slug"]
    _require(
        arena_rules.file_problems(submission, text.encode(), labels), "the submission"
    )
    document = folder / f"{slug}.yaml"
    write_text(document, yaml.safe_dump(submission, sort_keys=False))
    return "\n".join([*report, *_pull_request_steps(request, document, slug)])


def read_labels(path: str) -> dict[str, bool]:
    """Reads the labels of a data set.

    Args:
      path: ``data/labels.parquet`` of the arena's data set (label 0 is bona fide
        there), or keys in any format of ``mldg evaluate``.

    Returns:
      Whether an utterance is bona fide, by its name.

    Raises:
      UserError: the file cannot be read.
    """
    if Path(path).suffix != ".parquet":
        keys = key_files.subset(key_files.read(path))
        return dict(
            zip(keys.utterance.tolist(), (keys.label == BONAFIDE).tolist(), strict=True)
        )
    try:
        table = pyarrow.parquet.read_table(path, columns=["utterance_id", "label"])
        names, codes = (table.column(i).to_pylist() for i in (0, 1))
    except (OSError, ValueError, KeyError) as error:  # pyarrow's errors are these
        raise UserError(
            f"{path} cannot be read as the arena's labels.parquet, with the columns "
            f"utterance_id and label ({str(error).splitlines()[0][:200]})"
        ) from None
    labels = {str(name): code == 0 for name, code in zip(names, codes, strict=True)}
    if len(labels) != len(names) or not set(codes) <= {0, 1}:
        raise UserError(f"{path} lists an utterance twice, or a label is not 0 or 1")
    return labels


def read_system(path: Path) -> dict[str, Any]:
    """Reads the description of a system.

    Args:
      path: YAML with a section ``system`` and, if wanted, ``notes``: the format that
        the arena's own command takes, too.

    Returns:
      The content.

    Raises:
      UserError: the file cannot be read, or the arena would refuse it.
    """
    try:
        content = yaml.safe_load(text_files.read_text(path))
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(content, dict) or set(content) - {"system", "notes"}:
        raise UserError(f"{path} must have a section 'system' and at most 'notes'")
    _require(arena_rules.system_problems(content.get("system")), str(path))
    return content


def _is_detector(source: str) -> bool:
    return source.startswith(hub_scorer.HUB) or Path(source).is_dir()


def _check(request: ArenaRequest, *, has_scores: bool) -> None:
    """Refuses a request that lacks what it needs, before anything is written."""
    needed = ["keys"] if has_scores else []
    if request.commit:
        needed += ["dataset", "revision", "model_repo", "username", "contact"]
        if not has_scores:
            raise UserError("--commit is of a submission of scores: give a score file")
    for name in needed:
        if not getattr(request, name):
            option = name.replace("_", "-")
            raise UserError(f"--{option} is missing; a submission of scores needs it")
    for name in ("dataset", "model_repo"):
        value = getattr(request, name)
        if value and not hub.is_name(value):
            option = name.replace("_", "-")
            raise UserError(f"--{option} is {value!r}; it must be ORG/NAME")


def _scores(path: str, labels: Mapping[str, bool]) -> tuple[str, dict[str, Any]]:
    """Returns the text of scores.txt and the section ``scores``, which is of the text.

    Utterances are sorted. Names that are paths, as ``mldg score`` writes them, become
    those of the files without suffix if the labels have these.
    """
    table = score_files.read(path)
    names, scores = [str(x) for x in table.utterance], table.score
    if not any(name in labels for name in names):
        names = [Path(name).stem for name in names]
    for problem in (
        [f"{x} is scored twice" for x in _repeated(names)]
        or [f"{x} is not in the keys" for x in names if x not in labels]
        or [f"{x} has a blank in its name" for x in names if len(x.split()) != 1]
        or [f"the score of {names[i]} is {scores[i]}; it must be finite"
            for i in np.flatnonzero(~np.isfinite(scores))]
    )[:1]:  # fmt: skip
        raise UserError(f"{path}: {problem}; `mldg check` explains more")
    rows = sorted(zip(names, scores.tolist(), strict=True))
    text = "".join(f"{name} {score:.6f}\n" for name, score in rows)
    # The arena computes from what the file has: six decimals.
    rounded = {name: float(f"{score:.6f}") for name, score in rows}
    classes = [
        np.array([x for name, x in rounded.items() if labels[name] == real])
        for real in (True, False)
    ]
    if not all(len(x) for x in classes):
        raise UserError(f"{path} must have scores of bona fide and of spoof utterances")
    counts = zip(COUNTS, (len(labels), len(labels) - len(rows)), strict=True)
    section = {EER: arena_rules.interpolated_eer(*classes), **dict(counts)}
    skipped = section["n_skipped"]
    if skipped > arena_rules.MAX_SKIPPED * len(labels):
        raise UserError(
            f"{path}: {skipped:,} of {len(labels):,} utterances have no score; the "
            f"arena accepts at most {arena_rules.MAX_SKIPPED:.0%}: score the others"
        )
    return text, section


def _repeated(names: Sequence[str]) -> list[str]:
    seen: set[str] = set()
    return [name for name in names if name in seen or seen.add(name)]


def _submission(
    request: ArenaRequest, counts: dict[str, Any], digest: str, today: datetime.date
) -> dict[str, Any]:
    """Returns the content of the YAML file, once the rules are met."""
    path = Path(request.system or Path(request.folder) / SYSTEM)
    content = read_system(path)
    submission = {
        "schema_version": SCHEMA_VERSION,
        "system": content["system"],
        "dataset": {
            "id": request.dataset,
            "revision": request.revision,
            "split": request.split,
        },
        "scores": counts,
        "artifact": {
            "scores_url": (
                f"https://huggingface.co/{request.model_repo}/resolve/"
                f"{request.commit}/{_remote(request)}"
            ),
            "scores_sha256": digest,
            "bench_version": _bench_version(),
        },
        "submitter": {"hf_username": request.username, "contact": request.contact},
        "submitted_at": today.isoformat(),
    }
    if "notes" in content:
        submission["notes"] = content["notes"]
    _require(arena_rules.problems_of(submission), "the submission")
    return submission


def _require(problems: list[str], name: str) -> None:
    if problems:
        raise UserError(f"{name}: {'; '.join(problems)}")


def _bench_version() -> str:
    try:
        return importlib.metadata.version("speech-spoof-bench")
    except importlib.metadata.PackageNotFoundError:
        return BENCH_VERSION


def _remote(request: ArenaRequest) -> str:
    return f".eval_results/{request.dataset or 'ORG/DATASET'}/{SCORES}"


def _draft_system(run: str, folder: Path, request: ArenaRequest) -> list[str]:
    """Writes a description to fill in, unless there is one."""
    path = folder / SYSTEM
    if request.system or path.exists():
        return []
    write_text(path, arena_model.system_draft(run, request.model_repo))
    return [f"{path}: describes the system; replace every TODO"]


def _upload_steps(request: ArenaRequest, path: Path) -> list[str]:
    repo = request.model_repo or "ORG/MODEL"
    return [
        "",
        "next, upload the scores, and give the hash of the commit that this makes:",
        f"  hf upload {repo} {path} {_remote(request)} --repo-type model",
        "  mldg submit --arena … --commit HASH",
    ]


def _pull_request_steps(request: ArenaRequest, path: Path, slug: str) -> list[str]:
    return [
        f"{path}: the submission; it meets the rules of schema {SCHEMA_VERSION}",
        "",
        "next, repeat the arena's own check, then open the pull request:",
        f"  speech-spoof-bench reproduce {path} --scoring --no-local",
        f"  hf upload {request.dataset} {path} submissions/{slug}.yaml --repo-type "
        "dataset --create-pr",
    ]
