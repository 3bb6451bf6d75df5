"""Where an update matters to the loss: its mass under the empirical Fisher matrix.

For a parameter array with update Δ and F̂ = mean over examples of the squared gradient
(true labels), the mass is

    Σ F̂ ∘ Δ²,

in nats²: the mean over examples of how far the update moves their loss, to first order
and as if every entry did so by itself. It is taken twice:

* before the merge, of the factors: Δ is what training changed of A and of B (B starts
  at zero, so its Δ is B);
* after the merge, of the kernels: Δ is ΔW = scale · A @ B, and gradients are those of
  the merged kernel W₀ + ΔW. This one does not depend on how ΔW is factored.

The weighted update √F̂ ∘ Δ has the mass as its squared norm; its effective rank says
whether few or many directions carry it (spectral entropy, Roy and Vetterli 2007). arXiv
2607.22010 reports that MLDG concentrates it in query and key and spreads it in out.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from mldg_jax import lora
from mldg_jax.analysis import example_gradients, geometry, parameter_names


class Mass(NamedTuple):
    """Fisher mass of an update by layer and projection; NaN where there is none.

    Attributes:
      layers, projections: what the leading axes are.
      factors: (layers, projections, 2) float64, nats²: of A and of B, before the merge.
      factors_rank: (layers, projections, 2): effective rank of √F̂ ∘ ΔA and √F̂ ∘ ΔB,
        in [1, rank].
      merged: (layers, projections), nats²: of ΔW, after the merge.
      merged_rank: (layers, projections): of √F̂ ∘ ΔW, in [1, min(in, out)].
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
    """Fisher mass of an update, before and after the merge.

    Args:
      make_loss: ``frozen -> loss_fn``, e.g. ``losses.evaluation`` with a detector and
        statistics; it is also given the split in which the merged kernels are trained.
      trainable: the trained parameters, adapters among them.
      initial: what training started from.
      frozen: the other parameters.
      batch: see ``example_gradients.moments``.
      scale: what multiplies A @ B.
      chunk: examples at once. After the merge each takes the memory of all adapted
        kernels, for XLS-R 400 MB, beside twice that for the sums.

    Raises:
      UserError: there are no adapters.
    """
    found = geometry.updates(trainable, scale)
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
        place = leaf.layer, leaf.projection
        merged[place] = _weigh(square, found[place].a @ found[place].b)
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
    """The mass of a matrix's update, and over how many directions it is spread."""
    weighted = np.sqrt(np.asarray(fisher, np.float64)) * np.asarray(update, np.float64)
    singular = np.linalg.svd(weighted, compute_uv=False)
    return float((singular**2).sum()), geometry.effective_rank(singular)


def merged_split(
    trainable: Mapping[str, Any], frozen: Mapping[str, Any], scale: float
) -> tuple[dict, dict]:
    """The merged model with its adapted kernels as what is trained.

    Returns:
      ``(kernels, rest)``: every kernel W₀ + ΔW, and all other parameters, the head's
      among them.
    """
    adapters, head = lora.split(trainable, [rf".*/({lora.A}|{lora.B})"])
    merged = lora.join(lora.merge(frozen, adapters, scale=scale), head)
    names = {leaf.path.rpartition("/")[0] for leaf in parameter_names.leaves(adapters)}
    return lora.split(merged, [f"({'|'.join(sorted(names))})/kernel"])


def shares(values: np.ndarray) -> np.ndarray:
    """Parts of the whole: values divided by their sum, NaN left out."""
    return values / np.nansum(values)
