"""The rules of the speech anti-spoofing arena for a submission, and its EER.

Written from the arena's documents, for version 4 of its schema (the package
speech-spoof-bench 0.3); none of its code is used. Its own check is the one that counts:
``speech-spoof-bench reproduce FILE --scoring``.
"""

import datetime
import hashlib
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

SCHEMA_VERSION = 4
BENCH_VERSION = "0.3.0"  # of the arena's package that these rules describe
EER = "eer_percent"
COUNTS = ("n_trials", "n_skipped")
MAX_SKIPPED = 0.05  # the arena stops a run with more utterances that cannot be scored
TOLERANCE = 1e-6  # of an error rate in percent, as the arena recomputes it


class TextRule(NamedTuple):
    """What an entry that is text must look like.

    Attributes:
      pattern: regular expression of the whole text.
      meaning: the same in words.
      is_required: whether the entry must be there.
    """

    pattern: str = r"(?s).*\S.*"
    meaning: str = "a text that is not empty"
    is_required: bool = True


_URL = TextRule(r"https?://[^\s/]+\.[^\s/]+(/\S*)?", "a web address, https://…")
_ID = r"[^/\s]+/[^/\s]+"
TEXTS: Mapping[str, TextRule] = {
    "system.name": TextRule(),
    "system.slug": TextRule(
        r"[a-z0-9][a-z0-9-]*", "lower-case letters, digits and hyphens, like my-system"
    ),
    "system.description": TextRule(r"(?s).*", "a text"),
    "system.code": _URL,
    "system.checkpoint": _URL,
    "system.paper.arxiv_id": TextRule(),
    "system.paper.url": _URL,
    "system.paper.bibtex": TextRule(),
    "dataset.id": TextRule(_ID, "a data set of the hub, ORG/NAME"),
    "dataset.revision": TextRule(),
    "dataset.split": TextRule(),
    "artifact.scores_url": TextRule(
        rf"https://huggingface\.co/{_ID}/resolve/[0-9a-f]{{7,40}}/\S+",
        "https://huggingface.co/ORG/NAME/resolve/COMMIT/… with the hash of a commit",
    ),
    "artifact.scores_sha256": TextRule(r"[0-9a-f]{64}", "64 hexadecimal digits"),
    "artifact.bench_version": TextRule(),
    "submitter.hf_username": TextRule(),
    "submitter.contact": TextRule(),
    "submitted_at": TextRule(r"\d{4}-\d{2}-\d{2}", "a date, YYYY-MM-DD"),
    "notes": TextRule(r"(?s).*", "a text", is_required=False),
}
_OPTIONAL = ("system.paper",)  # sections
_OTHERS = ("schema_version", "scores", "reproduction", "system.params_millions")


def problems_of(submission: Mapping[str, Any]) -> list[str]:
    """Lists what the arena would refuse in a submission.

    Args:
      submission: content of the YAML file.

    Returns:
      A message for each problem, with the entry, its value and what it must be.
    """
    problems = []
    if submission.get("schema_version") != SCHEMA_VERSION:
        value = submission.get("schema_version")
        problems.append(f"schema_version is {value!r}; it must be {SCHEMA_VERSION}")
    problems += _text_problems(submission, TEXTS) + _unknown(submission)
    problems += _score_problems(submission.get("scores"))
    params = _get(submission, "system.params_millions")
    if params is not None and not (_is_number(params) and params >= 0):
        problems.append(f"system.params_millions is {params!r}; it must be ≥ 0")
    if submission.get("reproduction"):
        problems.append("reproduction is filled in by the arena; leave it out")
    return problems


def system_problems(system: Any) -> list[str]:
    """Lists what the arena would refuse in the description of a system.

    Args:
      system: the section ``system`` of a submission.

    Returns:
      As ``problems_of``.
    """
    if not isinstance(system, Mapping):
        return [f"system is {system!r}; it must be a section"]
    rules = {name: x for name, x in TEXTS.items() if name.startswith("system.")}
    content = {"system": system}
    return _text_problems(content, rules) + _unknown(content)


def file_problems(
    submission: Mapping[str, Any], scores_txt: bytes, labels: Mapping[str, bool]
) -> list[str]:
    """Lists where a submission contradicts its scores and the labels of the data set.

    Args:
      submission: content of the YAML file, without ``problems_of``.
      scores_txt: the file of scores.
      labels: whether an utterance is bona fide, for all of the data set.

    Returns:
      A message for each problem.
    """
    digest = hashlib.sha256(scores_txt).hexdigest()
    problems, scores = [], {}
    if digest != submission["artifact"]["scores_sha256"]:
        problems.append(f"scores_sha256 is not that of the file, {digest}")
    for number, line in enumerate(scores_txt.decode().splitlines(), 1):
        match = re.fullmatch(r"(\S+) (-?\d+\.\d{6})", line)
        if match is None or match[1] in scores:
            problems.append(
                f"line {number} of the scores is {line!r}; it must be 'utterance "
                "score' with six decimals, each utterance once"
            )
        else:
            scores[match[1]] = float(match[2])
    unknown = sorted(scores.keys() - labels.keys())
    if unknown:
        problems.append(f"{len(unknown)} scored utterances, such as {unknown[0]}, are "
                        "not in the data set")  # fmt: skip
    claimed = submission["scores"]
    skipped = len(labels.keys() - scores.keys())
    for name, count in zip(COUNTS, (len(labels), skipped), strict=True):
        if claimed[name] != count:
            problems.append(f"{name} is {claimed[name]}; the files have {count}")
    if skipped > MAX_SKIPPED * len(labels):
        problems.append(
            f"{skipped} of {len(labels)} utterances have no score; at most "
            f"{MAX_SKIPPED:.0%} may be skipped"
        )
    classes = [
        [x for name, x in scores.items() if name in labels and labels[name] == real]
        for real in (True, False)
    ]
    if all(classes):
        value = interpolated_eer(*map(np.array, classes))
        if abs(value - claimed[EER]) > TOLERANCE:
            problems.append(f"{EER} is {claimed[EER]}; the scores give {value}")
    else:
        problems.append("the scores must have bona fide and spoof utterances")
    return problems


def interpolated_eer(bonafide: np.ndarray, spoof: np.ndarray) -> float:
    """Computes the EER as the arena does: interpolated between thresholds.

    The thresholds are the distinct scores; at or above one, an utterance is accepted.
    Between the first two where the false alarms stop exceeding the misses, both rates
    are joined by straight lines, and the EER is where these cross. The EER of ASVspoof
    (``metrics.eer``) is not interpolated: on small sets, they differ by up to a point.

    Args:
      bonafide, spoof: (n,) and (m,) finite scores, higher for bona fide.

    Returns:
      The rate in percent.
    """
    thresholds = np.unique(np.concatenate([bonafide, spoof]))
    miss = np.searchsorted(np.sort(bonafide), thresholds) / len(bonafide)
    false_alarm = 1 - np.searchsorted(np.sort(spoof), thresholds) / len(spoof)
    excess = false_alarm - miss  # 1 at the lowest threshold, and decreasing
    after = int(np.argmax(excess <= 0))
    if excess[after] > 0:  # at no threshold, as if all scores are equal
        return 50.0 * float(false_alarm[-1] + miss[-1])
    share = excess[after - 1] / (excess[after - 1] - excess[after])
    crossing = miss[after - 1] + share * (miss[after] - miss[after - 1])
    return 100.0 * float(crossing)


def _get(content: Any, name: str) -> Any:
    """Returns an entry by its dotted name; None if it is not there."""
    for part in name.split("."):
        content = content.get(part) if isinstance(content, Mapping) else None
    return content


def _text_problems(content: Any, rules: Mapping[str, TextRule]) -> list[str]:
    problems = []
    for name, rule in rules.items():
        section, value = name.rpartition(".")[0], _get(content, name)
        if section in _OPTIONAL and _get(content, section) is None:
            continue
        if value is None and not rule.is_required:
            continue
        value = value.isoformat() if isinstance(value, datetime.date) else value
        if not isinstance(value, str) or not re.fullmatch(rule.pattern, value):
            problems.append(f"{name} is {value!r}; it must be {rule.meaning}")
    return problems


def _unknown(content: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Returns a message for each entry that no rule is about."""
    known, problems = (*TEXTS, *_OTHERS), []
    for key, value in content.items():
        name = f"{prefix}{key}"
        if name in known:
            continue
        if not any(x.startswith(f"{name}.") for x in known):
            problems.append(f"{name} is not an entry of a submission; remove it")
        elif isinstance(value, Mapping):
            problems += _unknown(value, f"{name}.")
    return problems


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value)


def _score_problems(scores: Any) -> list[str]:
    """Returns the problems of the section with the error rates."""
    if not isinstance(scores, Mapping):
        return [f"scores is {scores!r}; it must be a section"]
    problems = [
        f"scores.{name} is {scores.get(name)!r}; it must be a whole number, ≥ 0"
        for name in COUNTS
        if not isinstance(scores.get(name), int) or scores[name] < 0
    ]
    if EER not in scores:
        problems.append(f"scores.{EER} is missing")
    problems += [
        f"scores.{name} is {value!r}; it must be a number"
        for name, value in scores.items()
        if not _is_number(value)
    ]
    return problems
