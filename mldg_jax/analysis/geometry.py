"""The geometry of LoRA updates ΔW = scale · A @ B, without forming them.

With x @ W as in ``models.layers``, A (in, rank) spans what an update reads of its
input, B (rank, out) what it writes. The singular values of ΔW are those of a matrix
(rank, rank), from QR decompositions of the factors.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy.linalg import subspace_angles

from mldg_jax.analysis import parameter_names
from mldg_jax.common.errors import UserError


class Update(NamedTuple):
    """One matrix's update in factors, ΔW = a @ b.

    Attributes:
      a: (in, rank) float64.
      b: (rank, out) float64, the scale included.
    """

    a: np.ndarray
    b: np.ndarray


class Spectra(NamedTuple):
    """Spectra of the updates of every adapted matrix; NaN where there is none.

    Attributes:
      layers, projections: what the leading axes are.
      singular: (layers, projections, rank) float64, singular values, descending.
      norm: (layers, projections) Frobenius norm ‖ΔW‖.
      stable_rank: (layers, projections) ‖ΔW‖² / σ₁², in [1, rank]; see ``stable_rank``.
      effective_rank: (layers, projections), in [1, rank]; see ``effective_rank``.
    """

    layers: tuple[int, ...]
    projections: tuple[str, ...]
    singular: np.ndarray
    norm: np.ndarray
    stable_rank: np.ndarray
    effective_rank: np.ndarray


class Angles(NamedTuple):
    """Principal angles between two runs' updates, in degrees, ascending.

    Attributes:
      layers, projections: what the leading axes are.
      reads: (layers, projections, k) float64, between the left singular subspaces,
        in [0, 90]. Runs of the same seed start from the same A, so from angle 0.
      writes: (layers, projections, k), between the right singular subspaces.
    """

    layers: tuple[int, ...]
    projections: tuple[str, ...]
    reads: np.ndarray
    writes: np.ndarray


def updates(trainable: Mapping[str, Any], scale: float) -> dict[tuple, Update]:
    """The updates of a parameter tree, by (layer, projection).

    Args:
      trainable: with adapters ``…/lora_a`` and ``…/lora_b``.
      scale: what multiplies A @ B, see ``lora.scale``.

    Raises:
      UserError: there are no adapters.
    """
    found: dict[tuple, dict] = {}
    arrays = jax.tree.leaves(trainable)
    for leaf, x in zip(parameter_names.leaves(trainable), arrays, strict=True):
        if leaf.factor in ("A", "B"):
            pair = found.setdefault((leaf.layer, leaf.projection), {})
            pair[leaf.factor] = np.asarray(x, np.float64)
    if not found:
        raise UserError(
            "the run has no adapters (lora.rank is 0), so there is no update to look "
            "at: give a run whose method is erm, mldg or mldg2"
        )
    return {place: Update(x["A"], scale * x["B"]) for place, x in found.items()}


def svd(update: Update) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ΔW = u @ diag(s) @ vᵀ: u (in, k), s (k,) descending, v (out, k), k ≤ rank."""
    left, r = np.linalg.qr(update.a)
    right, t = np.linalg.qr(update.b.T)
    u, s, vt = np.linalg.svd(r @ t.T, full_matrices=False)
    return left @ u, s, right @ vt.T


def stable_rank(singular: np.ndarray) -> float:
    """Σσ² / σ₁² (Rudelson and Vershynin 2007); NaN for a zero matrix."""
    top = singular.max(initial=0.0)
    return float((singular**2).sum() / top**2) if top else float("nan")


def effective_rank(singular: np.ndarray) -> float:
    """exp of the entropy of σ / Σσ (Roy and Vetterli 2007); NaN for a zero matrix."""
    total = singular.sum()
    if not total:
        return float("nan")
    share = singular[singular > 0] / total
    return float(np.exp(-(share * np.log(share)).sum()))


def spectra(trainable: Mapping[str, Any], scale: float) -> Spectra:
    """Spectra of all updates; arguments and errors as ``updates``."""
    found = updates(trainable, scale)
    rank = max(x.a.shape[1] for x in found.values())
    values = {}
    for place, update in found.items():
        s = svd(update)[1]
        padded = np.pad(s, (0, rank - len(s)))
        values[place] = (padded, np.linalg.norm(s), stable_rank(s), effective_rank(s))
    columns = [by_place({k: v[i] for k, v in values.items()}) for i in range(4)]
    layers, projections = columns[0][:2]
    return Spectra(layers, projections, *(x for _, _, x in columns))


def principal_angles(
    one: Mapping[tuple, Update], other: Mapping[tuple, Update], k: int | None = None
) -> Angles:
    """Angles between the subspaces that two runs' updates read and write.

    Args:
      one, other: from ``updates``, of the same matrices.
      k: only the subspaces of the k largest singular values; all of the rank if None.
    """
    reads, writes = {}, {}
    for place in one.keys() & other.keys():
        (u1, _, v1), (u2, _, v2) = svd(one[place]), svd(other[place])
        reads[place] = np.degrees(subspace_angles(u1[:, :k], u2[:, :k]))[::-1]
        writes[place] = np.degrees(subspace_angles(v1[:, :k], v2[:, :k]))[::-1]
    layers, projections, reads = by_place(reads)
    return Angles(layers, projections, reads, by_place(writes)[2])


def by_place(values: Mapping[tuple, Any]) -> tuple[tuple, tuple, np.ndarray]:
    """Arranges values by (layer, projection).

    Returns:
      The layers, the projections and (layers, projections, …) float64, NaN where there
      is no value.
    """
    made = [
        parameter_names.Leaf("", layer, projection, "W", 0, 0)
        for layer, projection in values
    ]
    found = parameter_names.arrange(made, list(values.values()))
    return found.layers, found.projections, found.values[:, :, 0]
