"""Error rates of a speaker verifier from its score file, for min t-DCF."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mldg_jax import metrics
from mldg_jax.errors import UserError
from mldg_jax.scorefiles import is_number, read_lines

CLASSES = ("target", "nontarget", "spoof")


def rates(
    path: str | Path, keys_path: str | Path | None = None, subset: str | None = None
) -> dict[str, float]:
    """The arguments of `metrics.min_tdcf` from the verifier's scores.

    Args:
      path: lines that end with a score. Those of ASVspoof 2019 also hold target,
        nontarget or spoof, in any column.
      keys_path: for the scores of 2021 (`speaker trial score`): the trial_metadata.txt
        of keys/LA/ASV, line for line the same trials.
      subset: of 2021, by default eval; "all" for all.

    Raises:
      UserError: a file that cannot be read, or lines that do not fit.
    """
    lines = [line.split() for line in read_lines(path)]
    keys = lines
    if keys_path is not None:
        keys = [line.split() for line in read_lines(keys_path)]
        _same_trials(path, lines, keys_path, keys)
    kinds = np.array([_kind(cells) for cells in keys])
    for number, (cells, kind) in enumerate(zip(lines, kinds, strict=True), 1):
        if not kind or not is_number(cells[-1]):
            raise UserError(
                f"{path}: entry {number:,} is {' '.join(cells)[:80]!r}, which has no "
                f"{', '.join(CLASSES)} or does not end with a score; the files of "
                "ASVspoof 2021 need --asv-keys keys/LA/ASV/trial_metadata.txt"
            )
    scores = np.array([float(cells[-1]) for cells in lines])
    if keys_path is not None and subset != "all":
        chosen = np.array([cells[-1] == (subset or "eval") for cells in keys])
        scores, kinds = scores[chosen], kinds[chosen]
    try:
        return metrics.asv_rates(*(scores[kinds == name] for name in CLASSES))
    except ValueError as error:
        raise UserError(f"{path}: {error} (of each of {', '.join(CLASSES)})") from None


def _kind(cells: Sequence[str]) -> str:
    return next((cell for cell in cells if cell in CLASSES), "")


def _same_trials(
    path: str | Path, lines: list[list[str]], keys_path: str | Path, keys: list
) -> None:
    trials, known = [x[1:2] for x in lines], [x[1:2] for x in keys]
    if trials != known:
        where = next(
            (i for i, (a, b) in enumerate(zip(trials, known, strict=False)) if a != b),
            min(len(lines), len(keys)),
        )
        raise UserError(
            f"{path} has {len(lines):,} trials and {keys_path} {len(keys):,}; they "
            f"differ from line {where + 1:,} on: give the two files of one archive"
        )
