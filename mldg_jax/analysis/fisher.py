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

The effective rank of √F̂ ∘ ΔW, the weighted update whose squared norm is the mass after
the merge, says whether few or many directions carry it (spectral entropy, Roy and
Vetterli 2007). arXiv 2607.22010 reports that MLDG concentrates it in query and key and
spreads it in out.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mldg_jax import lora
from mldg_jax.analysis import blocks, examples, geometry


class Mass(NamedTuple):
    """Fisher mass of an update by layer and projection; NaN where there is none.

    Attributes:
      layers, projections: what the leading axes are.
      factors: (layers, projections, 2) float64, nats²: of A and of B, before the merge.
      merged: (layers, projections), nats²: of ΔW, after the merge.
      effective_rank: (layers, projections): of √F̂ ∘ ΔW, in [1, min(in, out)].
    """

    layers: tuple[int, ...]
    projections: tuple[str, ...]
    factors: np.ndarray
    merged: np.ndarray
    effective_rank: np.ndarray


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
      batch: see ``examples.moments``.
      scale: what multiplies A @ B.
      chunk: examples at once. After the merge each takes the memory of all adapted
        kernels, for XLS-R 400 MB, beside twice that for the sums.

    Raises:
      UserError: there are no adapters.
    """
    found = geometry.updates(trainable, scale)
    before = examples.moments(make_loss(frozen), trainable, batch, chunk=chunk)
    moved = jax.tree.map(lambda x, y: jnp.square(x - y), trainable, initial)
    by_leaf = [
        float((np.asarray(f, np.float64) * np.asarray(d, np.float64)).sum())
        for f, d in zip(
            jax.tree.leaves(before.square), jax.tree.leaves(moved), strict=True
        )
    ]
    factors = blocks.arrange(blocks.leaves(trainable), by_leaf)

    kernels, rest = merged_split(trainable, frozen, scale)
    after = examples.moments(make_loss(rest), kernels, batch, chunk=chunk)
    merged, rank = {}, {}
    squares = jax.tree.leaves(after.square)
    for leaf, square in zip(blocks.leaves(kernels), squares, strict=True):
        place = leaf.layer, leaf.projection
        update = found[place]
        weighted = np.sqrt(np.asarray(square, np.float64)) * (update.a @ update.b)
        singular = np.linalg.svd(weighted, compute_uv=False)
        merged[place] = (singular**2).sum()
        rank[place] = geometry.effective_rank(singular)
    layers, projections, merged = geometry.by_place(merged)
    rank = geometry.by_place(rank)[2]
    return Mass(layers, projections, factors.values, merged, rank)


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
    names = {leaf.path.rpartition("/")[0] for leaf in blocks.leaves(adapters)}
    return lora.split(merged, [f"({'|'.join(sorted(names))})/kernel"])


def shares(values: np.ndarray) -> np.ndarray:
    """Parts of the whole: values divided by their sum, NaN left out."""
    return values / np.nansum(values)
