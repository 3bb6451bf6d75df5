"""Averages of parameters: over the steps of a run (SMA, SWAD) and over runs (DiWA).

* SMA, the uniform average of the iterates from a step on (Arpit et al. 2022, "Ensemble
  of averages", arXiv 2110.10832): ``init`` and ``update``. An ensemble of averages is
  the mean of the logits of several such runs.
* SWAD, the average over a valley of the validation loss: ``training.swad`` chooses the
  segments, ``weighted_average`` averages them.
* DiWA, the average of several runs (Rame et al. 2022, arXiv 2205.09739):
  ``average_runs``.

BatchNorm statistics of an average are measured anew, by ``batch_stats_of``.

Trees are pytrees of NumPy or JAX arrays; results keep their kind and dtype.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from mldg_jax import lora


class Uniform(NamedTuple):
    """State of a uniform average.

    Attributes:
      average: mean of the iterates so far, a tree like the parameters.
      count: () int32, number of iterates in the average.
    """

    average: Any
    count: Any


def init(trainable: Any) -> Uniform:
    """Returns the average of one iterate.

    Args:
      trainable: the initial parameters θ_0; they are copied.

    Returns:
      The state after step 0.
    """
    return Uniform(jax.tree.map(lambda x: x.copy(), trainable), np.ones((), np.int32))


def update(
    state: Uniform,
    trainable: Any,
    step: Any,
    start: Any,
    *,
    include_before_start: bool = False,
) -> Uniform:
    """Adds an iterate to the uniform average.

        average_n = θ_n                              n ≤ start
        average_n = mean(θ_start, …, θ_n)            n > start

    Works under ``jax.jit``, with ``step`` and ``start`` traced. The parameters are
    averaged as they are trained: LoRA factors separately, like the EMA.

    Args:
      state: the state after step n − 1.
      trainable: θ_n, a tree of arrays of any shapes.
      step: n, the number of updates behind ``trainable``, ≥ 1.
      start: number of the first iterate in the average; 0 is the initial parameters.
      include_before_start: begin with θ_{start − 1}, as the authors' code does.

    Returns:
      The state after step n.
    """
    return extend(state, trainable, step > start - include_before_start)


def extend(state: Uniform, trainable: Any, continues: Any) -> Uniform:
    """Adds an iterate to a running mean, or starts a new one with it.

    Args:
      state: the mean so far.
      trainable: φ, a tree like ``state.average``.
      continues: () bool, False to start anew; traced under ``jax.jit``.

    Returns:
      The mean with φ.
    """
    count = state.count * continues + 1

    def mean(average, x):
        xp = jnp if isinstance(continues, jax.Array) else x.__array_namespace__()
        average = xp.where(continues, average, x)
        return (average + (x - average) / count).astype(x.dtype)

    return Uniform(jax.tree.map(mean, state.average, trainable), count)


def weighted_average(trees: Iterable[Any], weights: Iterable[float]) -> Any:
    """Returns Σ_i w_i · tree_i / Σ_i w_i.

    Args:
      trees: trees of arrays with the same structure and shapes. They are read one at a
        time, so they may come from a generator that loads them.
      weights: a number ≥ 0 for each tree; a tree of weight 0 does not matter, whatever
        its values.

    Returns:
      A tree of the same structure; the average of equal trees is exactly that tree.

    Raises:
      ValueError: a negative or non-finite weight, none above 0, or another number of
        weights than of trees.
    """
    average, total = None, 0.0
    for tree, weight in zip(trees, map(float, weights), strict=True):
        if not 0 <= weight < float("inf"):
            raise ValueError(f"a weight is {weight}; it must be finite and at least 0")
        if not weight:
            continue
        total += weight
        average = tree if average is None else _towards(average, tree, weight / total)
    if not total:
        raise ValueError("all weights are 0; at least one must be above 0")
    return average


def _towards(start: Any, end: Any, share: float) -> Any:
    """Moves from one tree towards another by a share of the distance."""
    return jax.tree.map(lambda a, b: (a + (b - a) * share).astype(a.dtype), start, end)


def average_runs(
    trainables: Sequence[Mapping[str, Any]],
    scales: Sequence[float],
    *,
    scale: float = 1.0,
) -> dict[str, Any]:
    """Returns the average of the merged models of several runs, as adapters.

    DiWA averages weights. With adapters these are W + s_i · A_i @ B_i, so the products
    are averaged. Averaging factors instead would give mean(A) @ mean(B), which has the
    terms A_i @ B_j of different runs: runs of different seeds start from different A,
    and any A @ R, R⁻¹ @ B is the same model, so these terms are noise. (Only if all
    runs end with the same A, or the same B, do both agree.) The mean of products is
    kept exactly as a product of larger rank instead of a dense matrix:

        1/n · Σ_i s_i · A_i @ B_i = scale · [A_1 … A_n] @ [c_1 B_1; …; c_n B_n]
        c_i = s_i / (n · scale)

    Parameters that are not factors are averaged as they are. This is meaningful only
    if the runs share their initial values, the head's included (DiWA starts all runs
    from one head); the hidden units of heads with different initial values do not
    correspond.

    Args:
      trainables: nested dictionaries of arrays, one per run; ``…/lora_a`` (in, rank_i)
        and ``…/lora_b`` (rank_i, out) are adapters; the ranks of runs may differ.
        Statistics may be in the trees, but see ``batch_stats_of``.
      scales: each run's factor of A @ B, see ``lora.scale``.
      scale: the factor with which the result will be used. With equal scales s and
        ranks, ``scale=s`` suits a model of n times the rank and n times the alpha (√n
        times for rank-stabilised LoRA, see ``lora.scale``).

    Returns:
      The average: ``…/lora_a`` (in, Σ rank_i), ``…/lora_b`` (Σ rank_i, out), for
      ``lora.merge(frozen, average, scale=scale)``; other leaves keep their shapes.

    Raises:
      ValueError: no runs, runs with different parameters, another number of scales
        than of runs, or ``scale`` is 0.
    """
    runs: list[dict[str, Any]] = [
        traverse_util.flatten_dict(dict(tree), sep="/") for tree in trainables
    ]
    if not runs or len(runs) != len(scales) or not scale:
        raise ValueError(
            f"there are {len(runs)} runs, {len(scales)} scales and a scale of {scale}; "
            "give at least one run, one scale per run, and a scale that is not 0"
        )
    for flat in runs:
        for path in sorted(flat.keys() ^ runs[0].keys()):
            raise ValueError(f"only some of the runs have the parameter {path}")
    shares = [float(s) / (len(runs) * scale) for s in scales]
    average = {}
    for path in runs[0]:
        leaves, name = [flat[path] for flat in runs], path.rpartition("/")[2]
        concatenate = leaves[0].__array_namespace__().concatenate
        if name == lora.A:
            average[path] = concatenate(leaves, axis=1)
        elif name == lora.B:
            scaled = [b * share for b, share in zip(leaves, shares, strict=True)]
            average[path] = concatenate(scaled, axis=0)
        else:
            average[path] = weighted_average(leaves, [1.0] * len(leaves))
    return traverse_util.unflatten_dict(average, sep="/")


def batch_stats_of(
    update_stats: Callable[[Any, Any, Any], Any],
    trainable: Any,
    batch_stats: Any,
    batches: Iterable[Any],
    *,
    momentum: float,
) -> Any:
    """Measures the BatchNorm statistics of parameters that were not trained with any.

    Returns the mean over batches of each batch's statistics, in training mode: what
    ``update_stats`` moves towards. Its step from the mean of n − 1 batches, times
    1 / ((1 − momentum) · n), leads to the mean of n.

    Args:
      update_stats: ``(trainable, batch_stats, batch) -> batch_stats``, a training-mode
        update ``s + (1 − momentum) · (new − s)`` in which ``new`` does not depend on
        s: for a ``models.loss`` the ``batch_stats`` of its aux. Compile it.
      trainable: the average.
      batch_stats: statistics of the right shapes, for instance of one of the averaged
        models. Leaves that ``update_stats`` does not change stay as they are (those of
        ``models.pooling`` are no running statistics).
      batches: at least one; read once.
      momentum: weight of the old statistics in ``update_stats``, in [0, 1).

    Returns:
      A tree like ``batch_stats``.

    Raises:
      ValueError: no batches, or a momentum outside [0, 1).
    """
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum is {momentum}; it must be in [0, 1)")
    mean, number = batch_stats, 0
    for number, batch in enumerate(batches, 1):
        # Old statistics may be far larger than new ones; replacing them a second time
        # removes their rounding error, which could make a variance negative.
        for _ in range(2 if number == 1 else 1):
            updated = update_stats(trainable, mean, batch)
            mean = _towards(mean, updated, 1 / ((1 - momentum) * number))
    if not number:
        raise ValueError("there are no batches; statistics need at least one")
    return mean
