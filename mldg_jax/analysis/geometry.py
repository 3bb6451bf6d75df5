"""The geometry of LoRA updates ΔW = scale · A @ B, without forming them.

With x @ W as in ``models.layers``, the columns of A (in, rank) span the directions that
an update reads from its input, and the rows of B (rank, out) those that it writes to
its output. The singular values of ΔW are those of a (rank, rank) matrix that follows
from the QR decompositions of the factors.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy.linalg import subspace_angles

from mldg_jax.analysis import parameter_names
from mldg_jax.common.errors import UserError


class Update(NamedTuple):
    """The update of one matrix as a product, ΔW = a @ b.

    Attributes:
      a: (in, rank) float64.
      b: (rank, out) float64, including the scale.
    """

    a: np.ndarray
    b: np.ndarray


class Spectra(NamedTuple):
    """Spectra of the updates of all adapted matrices; NaN for other matrices.

    Attributes:
      layers: layer indices, ascending.
      projections: names of the projections.
      singular: (layers, projections, rank) float64, singular values, descending.
      norm: (layers, projections) float64, Frobenius norm ‖ΔW‖.
      stable_rank: (layers, projections) float64 in [1, rank]; see ``stable_rank``.
      effective_rank: (layers, projections) float64 in [1, rank]; see
        ``effective_rank``.
    """

    layers: tuple[int, ...]
    projections: tuple[str, ...]
    singular: np.ndarray
    norm: np.ndarray
    stable_rank: np.ndarray
    effective_rank: np.ndarray


class Angles(NamedTuple):
    """Principal angles between two runs' updates.

    Attributes:
      layers: layer indices, ascending.
      projections: names of the projections.
      reads: (layers, projections, k) float64, angles between the left singular
        subspaces in degrees, in [0, 90], ascending. Runs of the same seed start from
        the same A, hence from angle 0.
      writes: (layers, projections, k) float64, angles between the right singular
        subspaces.
    """

    layers: tuple[int, ...]
    projections: tuple[str, ...]
    reads: np.ndarray
    writes: np.ndarray


def updates(trainable: Mapping[str, Any], scale: float) -> dict[tuple, Update]:
    """Returns the updates of a parameter tree.

    Args:
      trainable: parameters with adapters ``…/lora_a`` and ``…/lora_b``.
      scale: multiplier of A @ B; see ``lora.scale``.

    Returns:
      The update of every adapted matrix, by (layer, projection).

    Raises:
      UserError: there are no adapters.
    """
    factors: dict[tuple, dict] = {}
    arrays = jax.tree.leaves(trainable)
    for leaf, x in zip(parameter_names.leaves(trainable), arrays, strict=True):
        if leaf.factor in ("A", "B"):
            pair = factors.setdefault((leaf.layer, leaf.projection), {})
            pair[leaf.factor] = np.asarray(x, np.float64)
    if not factors:
        raise UserError(
            "the run has no adapters (lora.rank is 0), so there is no update to "
            "analyse: use a run whose method is erm, mldg or mldg2"
        )
    return {matrix: Update(x["A"], scale * x["B"]) for matrix, x in factors.items()}


def svd(update: Update) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Computes the singular value decomposition ΔW = u @ diag(s) @ vᵀ.

    Args:
      update: the update, in factors.

    Returns:
      u (in, k), s (k,) descending and v (out, k), with k ≤ rank.
    """
    left, r = np.linalg.qr(update.a)
    right, t = np.linalg.qr(update.b.T)
    u, s, vt = np.linalg.svd(r @ t.T, full_matrices=False)
    return left @ u, s, right @ vt.T


def stable_rank(singular: np.ndarray) -> float:
    """Computes the stable rank Σσ² / σ₁² (Rudelson and Vershynin 2007).

    Args:
      singular: (k,) singular values σ.

    Returns:
      The stable rank in [1, k]; NaN for a zero matrix.
    """
    top = singular.max(initial=0.0)
    return float((singular**2).sum() / top**2) if top else float("nan")


def effective_rank(singular: np.ndarray) -> float:
    """Computes the effective rank, exp of the entropy of σ / Σσ.

    Defined by Roy and Vetterli 2007.

    Args:
      singular: (k,) singular values σ.

    Returns:
      The effective rank in [1, k]; NaN for a zero matrix.
    """
    total = singular.sum()
    if not total:
        return float("nan")
    share = singular[singular > 0] / total
    return float(np.exp(-(share * np.log(share)).sum()))


def spectra(trainable: Mapping[str, Any], scale: float) -> Spectra:
    """Computes the spectra of all updates of a parameter tree.

    Args:
      trainable: parameters with adapters.
      scale: multiplier of A @ B.

    Returns:
      Singular values, padded with zeros to the largest rank, norms and ranks.

    Raises:
      UserError: there are no adapters.
    """
    by_matrix = updates(trainable, scale)
    rank = max(x.a.shape[1] for x in by_matrix.values())
    values = {}
    for matrix, update in by_matrix.items():
        s = svd(update)[1]
        padded = np.pad(s, (0, rank - len(s)))
        values[matrix] = (padded, np.linalg.norm(s), stable_rank(s), effective_rank(s))
    columns = [by_place({k: v[i] for k, v in values.items()}) for i in range(4)]
    layers, projections = columns[0][:2]
    return Spectra(layers, projections, *(x for _, _, x in columns))


def principal_angles(
    one: Mapping[tuple, Update], other: Mapping[tuple, Update], k: int | None = None
) -> Angles:
    """Computes the angles between the subspaces that two runs' updates read and write.

    Args:
      one: updates of the first run, from ``updates``.
      other: updates of the second run. Matrices that only one run adapts are ignored.
      k: compare the subspaces of the k largest singular values; None for all of them.

    Returns:
      The angles of every matrix.
    """
    reads, writes = {}, {}
    for matrix in one.keys() & other.keys():
        (u1, _, v1), (u2, _, v2) = svd(one[matrix]), svd(other[matrix])
        # scipy returns descending angles.
        reads[matrix] = np.degrees(subspace_angles(u1[:, :k], u2[:, :k]))[::-1]
        writes[matrix] = np.degrees(subspace_angles(v1[:, :k], v2[:, :k]))[::-1]
    layers, projections, reads = by_place(reads)
    return Angles(layers, projections, reads, by_place(writes)[2])


def by_place(values: Mapping[tuple, Any]) -> tuple[tuple, tuple, np.ndarray]:
    """Arranges values by layer and projection.

    Args:
      values: one value or array for each (layer, projection).

    Returns:
      The layers, the projections and an array (layers, projections, …) float64, NaN
      where ``values`` has no entry.
    """
    leaves = [
        parameter_names.Leaf("", layer, projection, "W", 0, 0)
        for layer, projection in values
    ]
    blocks = parameter_names.arrange(leaves, list(values.values()))
    return blocks.layers, blocks.projections, blocks.values[:, :, 0]
