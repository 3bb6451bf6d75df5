"""Finds problems of a score file, each with its fix."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.stats import mannwhitneyu

from mldg_jax import metrics
from mldg_jax.data.corpus import BONAFIDE
from mldg_jax.scoring import key_files, score_files
from mldg_jax.scoring.findings import Finding, count, first
from mldg_jax.scoring.key_files import Keys
from mldg_jax.scoring.score_files import NO_LABEL, Scores
from mldg_jax.scoring.unmatched import explaining_swap, wrong_split

DEEPEST = 8  # folders that a name is compared with
TIED_EER = 0.001  # largest effect of ties on the EER that is not reported
NO_NEWLINE = (
    "the last line does not end with a newline, so its score may be cut off",
    "Compare that line with the detector's output, and end it with a newline",
)
LARGEST = 1e30  # of a score; sums and products of larger ones may overflow
CHANCE = 0.001  # p-value above which scores and labels may be unrelated


def check(
    path: str | Path,
    keys_path: str | Path,
    *,
    format: str = "auto",
    subset: str | None = None,
) -> tuple[str, list[Finding]]:
    """Looks for everything that would make an evaluation wrong.

    Args:
      path: the score file.
      keys_path: the keys, see ``key_files``.
      format: of the score file, see ``score_files.read``.
      subset: see ``key_files.subset``.

    Returns:
      A line that describes the two files, and the findings.

    Raises:
      UserError: a file cannot be read, or the keys have no known format.
    """
    with explaining_swap(path, keys_path):
        scores, problems = score_files.parse(path, format)
        everything = key_files.read(keys_path)
    keys = key_files.subset(everything, subset)
    findings, rows = (
        _malformed(problems, len(scores.score)),
        np.full(len(keys.label), -1),
    )
    if len(scores.score):
        rows, mismatches = match(scores, everything, keys)
        findings += mismatches
    if not scores.ended and not problems:
        findings.append(Finding("no final newline", *NO_NEWLINE))
    has_score = rows >= 0
    score, label = scores.score[rows[has_score]], keys.label[has_score]
    finite = np.abs(score) <= LARGEST  # (not NaN either)
    findings += judge(score[finite], label[finite])
    real = int(np.sum(keys.label == BONAFIDE))
    which = ""
    if len(keys.label) < len(everything.label):
        which = f" of subset {keys.columns['subset'][0]}"
    summary = (
        f"{path}: {scores.format}, {len(scores.score):,} scores; {keys_path}: "
        f"{keys.format}, {len(keys.label):,} trials{which} ({real:,} bona fide, "
        f"{len(keys.label) - real:,} spoof)"
    )
    return summary, findings


def match(
    scores: Scores, everything: Keys, keys: Keys, option: str = "--subset"
) -> tuple[np.ndarray, list[Finding]]:
    """Finds the score of every trial, by name.

    If the two files have no name in common, extensions are ignored in both, and as few
    leading folders as it takes, as long as that keeps trials distinct: data/0.wav
    matches 0, and FakeAVCeleb_v1.2/A/b.mp3 matches A/b.mp4. Where more trials match so,
    a score belongs to the longest trial that its path ends with: x/a.wav and x/y/b.wav
    match a and y/b.

    Args:
      scores: of a score file.
      everything: all trials of the keys; scores of other subsets are not extra.
      keys: the trials that should be scored.
      option: of the command line that chooses the subset, for a finding.

    Returns:
      (trials,) int, the row of each trial in the score file, −1 if it has none; and the
      findings: wrong split, names, columns, truncated, missing, extra, duplicate, not
      finite, too large, other labels. Findings that are not notes rule out an
      evaluation.
    """
    names, known, wanted = (x.utterance.tolist() for x in (scores, everything, keys))
    trials = set(known)
    if not any(name in trials for name in names):
        names, known, wanted = _without_folders(names, known, wanted)
        trials = set(known)
    row_of = dict(zip(reversed(names), reversed(range(len(names))), strict=True))
    rows = np.array([row_of.get(name, -1) for name in wanted], np.intp)
    if not np.any(rows >= 0):
        return rows, [wrong_split(names, everything, known, wanted, option)]
    findings = _missing(wanted, rows)
    if extra := [name for name in row_of if name not in trials]:
        findings.append(
            Finding(
                "extra",
                f"{count(len(extra), 'utterance is', 'utterances are')} scored but "
                f"not in the keys ({first(extra)})",
                "Remove them, or use the keys of the set that was scored",
            )
        )
    if len(row_of) < len(names):
        again = [name for i, name in enumerate(names) if row_of[name] != i]
        findings.append(
            Finding(
                "duplicate",
                f"{count(len(again), 'line repeats', 'lines repeat')} an utterance "
                f"({first(again)})",
                "Keep one score per utterance; were two runs appended to one file?",
            )
        )
    return rows, findings + _values(scores, rows, keys)


def judge(score: np.ndarray, label: np.ndarray) -> list[Finding]:
    """Looks for signs that scores are not what they should be.

    Args:
      score: (trials,) finite.
      label: (trials,) 1 bona fide, 0 spoof.

    Returns:
      The findings: constant, inverted, shuffled, tied.
    """
    bonafide, spoof = score[label == BONAFIDE], score[label != BONAFIDE]
    if not bonafide.size or not spoof.size:
        return []
    values, rank = np.unique(score, return_inverse=True)
    if values.size == 1:
        return [
            Finding(
                "constant",
                f"every score is {values[0]:g}",
                "Check the detector's output before it is written",
            )
        ]
    findings = []
    rate = metrics.eer(bonafide, spoof)[0]
    if 0.25 < rate < 0.75 and mannwhitneyu(bonafide, spoof).pvalue > CHANCE:
        findings.append(
            Finding(
                "shuffled",
                f"the EER is {100 * rate:.2f} %, no better than chance: the detector "
                "has learned too little or the trials are too few, or scores and "
                "utterances are unrelated",
                "If it should do better, write each score next to the utterance it was "
                "computed from (the usual cause is a data loader that shuffles)",
            )
        )
    elif rate > 0.5:
        findings.append(
            Finding(
                "inverted",
                f"the EER is {100 * rate:.2f} %, above 50 %: higher scores mean spoof",
                "Negate the scores; higher must mean bona fide",
            )
        )
    # metrics.eer rejects bona fide first among equals; these ranks reject it last.
    kindest = 2 * rank + (label == BONAFIDE)
    best = metrics.eer(kindest[label == BONAFIDE], kindest[label != BONAFIDE])[0]
    if rate - best > TIED_EER:
        findings.append(
            Finding(
                "tied",
                f"{score.size:,} scores have only {values.size:,} distinct values; the "
                f"EER is {100 * best:.2f} to {100 * rate:.2f} % depending on how ties "
                "are broken",
                "Write more digits, and scores instead of decisions",
            )
        )
    return findings


def _without_folders(
    names: list[str], known: list[str], wanted: list[str]
) -> tuple[list[str], list[str], list[str]]:
    """Shortens names of scores, all trials and wanted trials so that they match."""
    found = names, known, wanted
    paths = [[_parts(x) for x in group] for group in found]
    matched: set[str] = set()
    for depth in range(DEEPEST, 0, -1):
        scored, every, some = ([_tail(x, depth) for x in group] for group in paths)
        distinct = set(every)
        if len(distinct) == len(known) and not distinct.isdisjoint(scored):
            found, matched = (scored, every, some), distinct.intersection(scored)
            break
    if matched.issuperset(found[2]):
        return found
    # Paths of several depths: a score belongs to the trial that its path ends with.
    whole = [_tail(x, DEEPEST) for x in paths[1]]
    trials = set(whole)
    ends = [
        next((t for d in range(DEEPEST, 0, -1) if (t := _tail(x, d)) in trials), name)
        for name, x in zip(names, paths[0], strict=True)
    ]
    if len(trials) == len(known) and len(trials.intersection(ends)) > len(matched):
        found = ends, whole, [_tail(x, DEEPEST) for x in paths[2]]
    return found


def _parts(name: str) -> tuple[str, ...]:
    """Returns the parts of a path, without the extension."""
    path = Path(name)
    return (*path.parts[:-1], path.stem)


def _tail(parts: tuple[str, ...], depth: int) -> str:
    """Returns the last parts of a path."""
    return "/".join(parts[-depth:])


def _malformed(problems: Sequence[str], lines: int) -> list[Finding]:
    """Returns the finding on lines that cannot be read."""
    if not problems:
        return []
    problem = f"{len(problems):,} of {lines + len(problems):,} lines cannot be read"
    fix = "Write those lines again; an incomplete last line means that a job was killed"
    if not lines:
        fix = "Write the whole file in one of the formats of `mldg evaluate --help`"
    return [Finding("malformed", f"{problem} ({problems[0]})", fix)]


def _missing(wanted: list[str], rows: np.ndarray) -> list[Finding]:
    """Returns the finding on trials without a score."""
    unscored = np.flatnonzero(rows < 0)
    if not unscored.size:
        return []
    last = np.flatnonzero(rows >= 0)[-1]
    problem = f"{unscored.size:,} of {len(wanted):,} trials have no score"
    names = [wanted[i] for i in unscored[:4]]
    if unscored[0] > last:
        return [
            Finding(
                "truncated",
                f"{problem}, all of them after {wanted[last]}",
                "The scoring stopped early; run it again to the end",
            )
        ]
    return [Finding("missing", f"{problem} ({first(names)})", "Score them as well")]


def _values(scores: Scores, rows: np.ndarray, keys: Keys) -> list[Finding]:
    """Returns the findings on scores, labels and order of the trials with a score."""
    with_score = np.flatnonzero(rows >= 0)
    score, findings = scores.score[rows[with_score]], []
    large = with_score[np.isfinite(score) & (np.abs(score) > LARGEST)]
    if large.size:
        findings.append(
            Finding(
                "too large",
                f"{count(large.size, 'score is', 'scores are')} beyond ±{LARGEST:g} "
                f"({first(keys.utterance[large])})",
                "Divide all scores by one number",
            )
        )
    bad = with_score[~np.isfinite(score)]
    if bad.size:
        kinds = "NaN" if np.isnan(scores.score[rows[bad]]).all() else "NaN or infinite"
        findings.append(
            Finding(
                "not finite",
                f"{count(bad.size, 'score is', 'scores are')} {kinds} "
                f"({first(keys.utterance[bad])})",
                "Check those recordings (empty or silent?) and score them again",
            )
        )
    if scores.label is not None:
        own = scores.label[rows[with_score]]
        differing = with_score[(own != keys.label[with_score]) & (own != NO_LABEL)]
        if differing.size:
            findings.append(
                Finding(
                    "other labels",
                    f"{count(differing.size, 'trial has', 'trials have')} a different "
                    f"label in the keys ({first(keys.utterance[differing])})",
                    "Use the keys of the set that was scored",
                )
            )
    if np.any(np.diff(rows[with_score]) < 0):
        findings.append(
            Finding(
                "shuffled lines",
                "the trials are not in the order of the keys",
                "No action needed: scores are joined by name, as in the challenges",
                note=True,
            )
        )
    return findings
