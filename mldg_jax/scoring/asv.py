"""Error rates of speaker verifiers from a score file, for min t-DCF, and a-DCF."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy import ndarray as Array

from mldg_jax.common.columns import is_number
from mldg_jax.common.errors import UserError
from mldg_jax.metrics import class_scores, eer, require
from mldg_jax.scoring.score_files import read_lines

# a-DCF1 of Shim et al. 2024: priors and costs of (target, nontarget, spoof).
A_DCF_PRIORS, A_DCF_COSTS = (0.9, 0.05, 0.05), (1.0, 10.0, 20.0)


def asv_rates(target: Array, nontarget: Array, spoof: Array) -> dict[str, float]:
    """Computes the three error rates for ``metrics.min_tdcf`` from a verifier's scores.

    As in the challenges, the threshold is that of the verifier's own EER (target
    against nontarget); a trial is accepted at or above it.

    Args:
      target, nontarget, spoof: (n,) scores of each class, higher for target.

    Returns:
      ``asv_pfa``, ``asv_pmiss`` and ``asv_pmiss_spoof``, fractions.
    """
    threshold = eer(target, nontarget)[1]
    target, nontarget, spoof = map(class_scores, (target, nontarget, spoof))
    return {
        "asv_pfa": float(np.mean(nontarget >= threshold)),
        "asv_pmiss": float(np.mean(target < threshold)),
        "asv_pmiss_spoof": float(np.mean(spoof < threshold)),
    }


def a_dcf(
    target: Array,
    nontarget: Array,
    spoof: Array,
    priors: tuple[float, float, float] = A_DCF_PRIORS,
    costs: tuple[float, float, float] = A_DCF_COSTS,
) -> float:
    """Computes the smallest architecture-agnostic detection cost of a verifier.

    The verifier is spoof-aware: one score decides on speaker and spoof at once. Shim et
    al. 2024, a-DCF: an architecture agnostic metric … (arXiv 2403.01355), equations 5
    to 7. A trial is rejected at or below the threshold; among equal scores target is
    rejected first, then nontarget.

    Args:
      target, nontarget, spoof: (n,) scores of each class, higher for target.
      priors: probabilities of the three classes, which sum to 1.
      costs: of rejecting a target, accepting a nontarget and accepting a spoof.

    Returns:
      The cost, normalised by the better trivial decision, in [0, 1].

    Raises:
      ValueError: the priors do not sum to 1, or scores are invalid.
    """
    require(abs(sum(priors) - 1) < 1e-9, f"priors are {priors}, must sum to 1")
    classes = [class_scores(scores) for scores in (target, nontarget, spoof)]
    order = np.argsort(np.concatenate(classes), kind="stable")
    kind = np.repeat(np.arange(3), [len(scores) for scores in classes])[order]
    weights = [p * c for p, c in zip(priors, costs, strict=True)]
    miss, accept_nontarget, accept_spoof = (
        np.r_[0, np.cumsum(kind == i)] / len(classes[i]) for i in range(3)
    )
    cost = (
        weights[0] * miss
        + weights[1] * (1 - accept_nontarget)
        + weights[2] * (1 - accept_spoof)
    )
    return float(cost.min() / min(weights[0], weights[1] + weights[2]))


CLASSES = ("target", "nontarget", "spoof")


def rates(
    path: str | Path, keys_path: str | Path | None = None, subset: str | None = None
) -> dict[str, float]:
    """Computes the arguments of ``metrics.min_tdcf`` from a verifier's score file.

    Args:
      path: lines that end with a score. Those of ASVspoof 2019 also hold target,
        nontarget or spoof, in any column.
      keys_path: for the scores of 2021 (``speaker trial score``), the
        trial_metadata.txt of keys/LA/ASV, with the same trials line for line.
      subset: subset of 2021; "eval" if None, "all" for all.

    Returns:
      ``asv_pfa``, ``asv_pmiss`` and ``asv_pmiss_spoof``, fractions.

    Raises:
      UserError: a file cannot be read, or its lines do not fit the format.
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
                f"{path}: entry {number:,} is {' '.join(cells)[:80]!r}, which names "
                f"none of {', '.join(CLASSES)} or does not end with a score; files of "
                "ASVspoof 2021 need --asv-keys keys/LA/ASV/trial_metadata.txt"
            )
    scores = np.array([float(cells[-1]) for cells in lines])
    if keys_path is not None and subset != "all":
        chosen = np.array([cells[-1] == (subset or "eval") for cells in keys])
        scores, kinds = scores[chosen], kinds[chosen]
    try:
        return asv_rates(*(scores[kinds == name] for name in CLASSES))
    except ValueError as error:
        raise UserError(
            f"{path}: {error} (it needs scores of each of {', '.join(CLASSES)})"
        ) from None


def _kind(cells: Sequence[str]) -> str:
    """Returns the class that a line names, or ""."""
    return next((cell for cell in cells if cell in CLASSES), "")


def _same_trials(
    path: str | Path, lines: list[list[str]], keys_path: str | Path, keys: list
) -> None:
    """Raises ``UserError`` unless scores and keys list the same trials."""
    trials, trials_of_keys = [x[1:2] for x in lines], [x[1:2] for x in keys]
    if trials != trials_of_keys:
        first_difference = next(
            (
                i
                for i, (a, b) in enumerate(zip(trials, trials_of_keys, strict=False))
                if a != b
            ),
            min(len(lines), len(keys)),
        )
        raise UserError(
            f"{path} has {len(lines):,} trials and {keys_path} {len(keys):,}; they "
            f"differ from line {first_difference + 1:,} on: use scores and keys of the "
            "same archive"
        )
