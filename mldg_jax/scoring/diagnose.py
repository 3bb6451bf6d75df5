"""What is wrong with a score file, and how to mend it."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.stats import mannwhitneyu

from mldg_jax import metrics
from mldg_jax.data.corpus import BONAFIDE
from mldg_jax.scoring import key_files, score_files
from mldg_jax.scoring.key_files import Keys
from mldg_jax.scoring.score_files import Scores

TIED_EER = 0.001  # how much ties may move the EER
CHANCE = 0.001  # a p-value above it: scores and labels may well be unrelated


class Finding(NamedTuple):
    """One thing that is wrong, or (a note) only looks it.

    Attributes:
      name: a word or two, e.g. "missing".
      problem: what was found, with numbers.
      fix: what to do.
      note: true if it changes no result.
    """

    name: str
    problem: str
    fix: str
    note: bool = False

    def __str__(self) -> str:
        return f"{self.name}: {self.problem}. {self.fix}"


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
      keys_path: the key file, see `key_files`.
      format: of the score file, see `score_files.read`.
      subset: see `key_files.subset`.

    Returns:
      A line on what the two files are, and the findings.

    Raises:
      UserError: a file cannot be read, or the key file is no key file.
    """
    scores, problems = score_files.parse(path, format)
    everything = key_files.read(keys_path)
    keys = key_files.subset(everything, subset)
    rows, found = match(scores, everything, keys)
    found = _malformed(problems, len(scores.score)) + found
    there = rows >= 0
    score, label = scores.score[rows[there]], keys.label[there]
    finite = np.isfinite(score)
    found += judge(score[finite], label[finite])
    real = int(np.sum(keys.label == BONAFIDE))
    which = ""
    if len(keys.label) < len(everything.label):
        which = f" of subset {keys.columns['subset'][0]}"
    summary = (
        f"{path}: {scores.format}, {len(scores.score):,} scores; {keys_path}: "
        f"{keys.format}, {len(keys.label):,} trials{which} ({real:,} bona fide, "
        f"{len(keys.label) - real:,} spoof)"
    )
    return summary, found


def match(
    scores: Scores, everything: Keys, keys: Keys
) -> tuple[np.ndarray, list[Finding]]:
    """Finds the score of every trial, by name.

    Where no name of the two files agrees, folders and extensions of both are left
    away, if that keeps trials apart: data/0.wav is 0.

    Args:
      scores: of a file.
      everything: of the key file; scores of its other subsets are not extra.
      keys: the trials that are to be scored.

    Returns:
      (trials,) the place of each trial in the score file, -1 where there is none, and
      what is wrong: wrong split, truncated, missing, extra, duplicate, not finite,
      other labels. The findings that are no notes make an evaluation impossible.
    """
    names, known, wanted = (x.utterance.tolist() for x in (scores, everything, keys))
    trials = set(known)
    if not any(name in trials for name in names):
        stems = [[Path(x).stem for x in its] for its in (names, known, wanted)]
        if len(set(stems[1])) == len(known):
            (names, known, wanted), trials = stems, set(stems[1])
    places = dict(zip(reversed(names), reversed(range(len(names))), strict=True))
    rows = np.array([places.get(name, -1) for name in wanted], np.intp)
    if not np.any(rows >= 0):
        return rows, [_wrong_split(names, everything, known, wanted)]
    found = _missing(wanted, rows)
    if extra := [name for name in places if name not in trials]:
        found.append(
            Finding(
                "extra",
                f"{_count(len(extra), 'utterance is', 'utterances are')} scored and no "
                f"trial of the key file ({_first(extra)})",
                "Drop them, or give the key file of the set that was scored",
            )
        )
    if len(places) < len(names):
        again = [name for i, name in enumerate(names) if places[name] != i]
        found.append(
            Finding(
                "duplicate",
                f"{_count(len(again), 'line repeats', 'lines repeat')} an utterance "
                f"({_first(again)})",
                "Keep one score an utterance: were two runs appended to one file?",
            )
        )
    return rows, found + _values(scores, rows, keys)


def judge(score: np.ndarray, label: np.ndarray) -> list[Finding]:
    """What scores look like that are not what they should be.

    Args:
      score: (trials,) finite.
      label: (trials,) 1 bona fide, 0 spoof.

    Returns:
      Findings: constant, inverted, shuffled, tied.
    """
    bonafide, spoof = score[label == BONAFIDE], score[label != BONAFIDE]
    if not bonafide.size or not spoof.size:
        return []
    values, place = np.unique(score, return_inverse=True)
    if values.size == 1:
        return [
            Finding(
                "constant",
                f"every score is {values[0]:g}",
                "Look at the detector's output before it was written",
            )
        ]
    found = []
    rate = metrics.eer(bonafide, spoof)[0]
    if 0.25 < rate < 0.75 and mannwhitneyu(bonafide, spoof).pvalue > CHANCE:
        found.append(
            Finding(
                "shuffled",
                f"the EER is {100 * rate:.2f} %, no better than chance: scores and "
                "utterances seem to have nothing to do with each other",
                "Write each score beside the utterance it was computed from (a data "
                "loader that shuffles is the usual cause)",
            )
        )
    elif rate > 0.5:
        found.append(
            Finding(
                "inverted",
                f"the EER is {100 * rate:.2f} %, over 50 %: higher scores go with "
                "spoof",
                "Write the negative of each score; higher must mean bona fide",
            )
        )
    # Bona fide is rejected first among equals; here it comes last.
    kindest = 2 * place + (label == BONAFIDE)
    best = metrics.eer(kindest[label == BONAFIDE], kindest[label != BONAFIDE])[0]
    if rate - best > TIED_EER:
        found.append(
            Finding(
                "tied",
                f"{score.size:,} scores have only {values.size:,} values; the EER is "
                f"{100 * best:.2f} to {100 * rate:.2f} % depending on which of two "
                "equals comes first",
                "Write more digits, and scores instead of decisions",
            )
        )
    return found


def _malformed(problems: Sequence[str], lines: int) -> list[Finding]:
    if not problems:
        return []
    found = f"{len(problems):,} of {lines + len(problems):,} lines cannot be read"
    fix = "Write those lines again; a last line that is cut means a killed job"
    return [Finding("malformed", f"{found} ({problems[0]})", fix)]


def _wrong_split(
    names: list[str], everything: Keys, known: list[str], wanted: list[str]
) -> Finding:
    scored = set(names)
    inside = np.array([name in scored for name in known])
    if inside.any():
        others = sorted(set(everything.columns["subset"][inside]))
        return Finding(
            "wrong split",
            f"no trial of the chosen subset has a score; those of {', '.join(others)} "
            "have",
            f"Score the right subset, or choose with --subset {others[0]}",
        )
    return Finding(
        "wrong split",
        f"no trial of the key file has a score: scores are of {_first(names)}, keys of "
        f"{_first(wanted)}",
        "Give the key file of the set that was scored",
    )


def _missing(wanted: list[str], rows: np.ndarray) -> list[Finding]:
    lacking = np.flatnonzero(rows < 0)
    if not lacking.size:
        return []
    last = np.flatnonzero(rows >= 0)[-1]
    what = f"{lacking.size:,} of {len(wanted):,} trials have no score"
    names = [wanted[i] for i in lacking[:4]]
    if lacking[0] > last:
        return [
            Finding(
                "truncated",
                f"{what}, missing are all after {wanted[last]}",
                "The scoring was cut short: run it again to its end",
            )
        ]
    return [Finding("missing", f"{what} ({_first(names)})", "Score them too")]


def _values(scores: Scores, rows: np.ndarray, keys: Keys) -> list[Finding]:
    there = np.flatnonzero(rows >= 0)
    score, found = scores.score[rows[there]], []
    bad = there[~np.isfinite(score)]
    if bad.size:
        kinds = "NaN" if np.isnan(scores.score[rows[bad]]).all() else "NaN or infinite"
        found.append(
            Finding(
                "not finite",
                f"{_count(bad.size, 'score is', 'scores are')} {kinds} "
                f"({_first(keys.utterance[bad])})",
                "Look at those recordings (empty? silent?) and score them again",
            )
        )
    if scores.label is not None:
        other = there[scores.label[rows[there]] != keys.label[there]]
        if other.size:
            found.append(
                Finding(
                    "other labels",
                    f"{_count(other.size, 'trial has', 'trials have')} another key in "
                    f"the key file ({_first(keys.utterance[other])})",
                    "Give the key file of the set that was scored",
                )
            )
    if np.any(np.diff(rows[there]) < 0):
        found.append(
            Finding(
                "shuffled lines",
                "the trials are in another order than in the key file",
                "Nothing to do: scores are joined by name, here and in the challenges",
                note=True,
            )
        )
    return found


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def _first(names: Iterable[str]) -> str:
    """The first three names."""
    shown = [str(name) for name, _ in zip(names, range(4), strict=False)]
    return ", ".join(shown[:3]) + (", …" if len(shown) > 3 else "")
