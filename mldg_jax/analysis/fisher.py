"""Which parts of an update matter to the loss: mass under the empirical Fisher matrix.

Let Δ be the update of a parameter array and F̂ the squared gradient, averaged over
examples (with their true labels). The mass is

    Σ F̂ ∘ Δ²,

in nats²: the mean squared change of an example's loss, to first order, if the entries
of Δ acted independently. It is computed twice:

* before the merge, for the factors: Δ is the change of A and of B since the start of
  training (B starts at zero, so its Δ is B);
* after the merge, for the kernels: Δ is ΔW = scale · A @ B, and the gradients are those
  of the merged kernel W₀ + ΔW. This mass does not depend on how ΔW is factored.

The squared norm of the weighted update √F̂ ∘ Δ is the mass. Its effective rank
(spectral entropy, Roy and Vetterli 2007) tells how many directions carry the mass.
arXiv 2607.22010 reports that MLDG concentrates it in query and key and spreads it in
out.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from mldg_jax import lora
from mldg_jax.analysis import example_gradients, geometry, parameter_names


class Mass(NamedTuple):
    """Fisher mass of an update by layer and projection; NaN for other matrices.

    Attributes:
      layers: layer indices, ascending.
      projections: names of the projections.
      factors: (layers, projections, 2) float64, mass of A and of B before the merge,
        nats².
      factors_rank: (layers, projections, 2) float64, effective rank of √F̂ ∘ ΔA and of
        √F̂ ∘ ΔB, in [1, rank].
      merged: (layers, projections) float64, mass of ΔW after the merge, nats².
      merged_rank: (layers, projections) float64, effective rank of √F̂ ∘ ΔW, in
        [1, min(in, out)].
    """

    layers: tuple[int, ...]
    projections: tuple[str, ...]
    factors: np.ndarray
    factors_rank: np.ndarray
    merged: np.ndarray
    merged_rank: np.ndarray


def mass(
    make_loss: Callable[[Any], Callable],
    trainable: Mapping[str, Any],
    initial: Mapping[str, Any],
    frozen: Mapping[str, Any],
    batch: Any,
    *,
    scale: float,
    chunk: int = 1,
) -> Mass:
    """Computes the Fisher mass of an update, before and after the merge.

    Args:
      make_loss: ``frozen -> loss_fn``, e.g. ``losses.evaluation`` with a detector and
        statistics. It is called twice: with ``frozen``, and with the parameters that
        remain when the merged kernels are the trainable ones.
      trainable: the trained parameters, including adapters.
      initial: the trainable parameters at the start of training.
      frozen: the other parameters.
      batch: the examples; see ``example_gradients.moments``.
      scale: multiplier of A @ B.
      chunk: number of examples computed at once. After the merge, each needs the memory
        of all adapted kernels (400 MB for XLS-R), and the two sums twice that.

    Returns:
      The mass and effective ranks of every adapted matrix.

    Raises:
      UserError: there are no adapters.
    """
    updates = geometry.updates(trainable, scale)
    before = example_gradients.moments(make_loss(frozen), trainable, batch, chunk=chunk)
    moved = jax.tree.map(lambda x, y: x - y, trainable, initial)
    by_leaf = [
        _weigh(f, d) if leaf.factor else (0.0, 0.0)
        for leaf, f, d in zip(
            parameter_names.leaves(trainable),
            jax.tree.leaves(before.square),
            jax.tree.leaves(moved),
            strict=True,
        )
    ]
    factors = parameter_names.arrange(parameter_names.leaves(trainable), by_leaf).values

    kernels, rest = merged_split(trainable, frozen, scale)
    after = example_gradients.moments(make_loss(rest), kernels, batch, chunk=chunk)
    merged = {}
    squares = jax.tree.leaves(after.square)
    for leaf, square in zip(parameter_names.leaves(kernels), squares, strict=True):
        matrix = leaf.layer, leaf.projection
        merged[matrix] = _weigh(square, updates[matrix].a @ updates[matrix].b)
    layers, projections, values = geometry.by_place(merged)
    return Mass(
        layers,
        projections,
        factors[..., 0],
        factors[..., 1],
        values[..., 0],
        values[..., 1],
    )


def _weigh(fisher: Any, update: Any) -> tuple[float, float]:
    """Returns the mass of a matrix's update and its effective rank."""
    weighted = np.sqrt(np.asarray(fisher, np.float64)) * np.asarray(update, np.float64)
    singular = np.linalg.svd(weighted, compute_uv=False)
    return float((singular**2).sum()), geometry.effective_rank(singular)


def merged_split(
    trainable: Mapping[str, Any], frozen: Mapping[str, Any], scale: float
) -> tuple[dict, dict]:
    """Merges the adapters and separates the merged kernels from all other parameters.

    Args:
      trainable: the trained parameters, including adapters.
      frozen: the other parameters.
      scale: multiplier of A @ B.

    Returns:
      ``(kernels, rest)``: the kernels W₀ + ΔW, and all other parameters, including the
      head's.
    """
    adapters, head = lora.split(trainable, [rf".*/({lora.A}|{lora.B})"])
    merged = lora.join(lora.merge(frozen, adapters, scale=scale), head)
    names = {leaf.path.rpartition("/")[0] for leaf in parameter_names.leaves(adapters)}
    return lora.split(merged, [f"({'|'.join(sorted(names))})/kernel"])


def shares(values: np.ndarray) -> np.ndarray:
    """Divides values by their sum, ignoring NaN.

    Args:
      values: non-negative, of any shape.

    Returns:
      Shares of the total; NaN where ``values`` is.
    """
    return values / np.nansum(values)
