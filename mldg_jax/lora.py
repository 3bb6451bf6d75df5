"""Splits parameters into frozen and trained leaves, and adds low-rank adapters (LoRA).

Pure functions on nested dictionaries of arrays (Flax ``params``). They do not depend on
a model: a leaf is named by its path, ``"encoder/layers_0/attention/query/kernel"``, and
selected by regular expressions that must match the whole path.

Low-rank adaptation (Hu et al. 2022, arXiv 2106.09685) of a kernel W (in, out) is
``W + scale · A @ B`` with A (in, rank), B (rank, out) and ``scale = alpha / rank``.
A starts Kaiming-uniform, B at zero (the convention of ``peft``), so new adapters do not
change the model.

There are two ways to apply adapters:

* a model whose dense layers take the factors (``models.layers.LoRADense``) reads them
  from ``join(frozen, adapters)`` and computes ``x @ W + scale · (x @ A) @ B``, so the
  gradient with respect to W is never computed;
* any other Flax model is given ``merge(frozen, adapters, scale=scale)``.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util

Params = Mapping[str, Any]

A, B = "lora_a", "lora_b"


def _flat(params: Params) -> dict[str, Any]:
    return traverse_util.flatten_dict(dict(params), sep="/")


def _nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    return traverse_util.unflatten_dict(dict(flat), sep="/")


def matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Returns a predicate that matches paths against regular expressions.

    Args:
      patterns: regular expressions.

    Returns:
      ``path -> bool``, true if any pattern matches the whole path.
    """
    compiled = [re.compile(p) for p in patterns]
    return lambda path: any(p.fullmatch(path) for p in compiled)


def split(params: Params, patterns: Iterable[str]) -> tuple[dict, dict]:
    """Splits a parameter tree in two by path.

    Args:
      params: nested dictionary of arrays.
      patterns: regular expressions; a leaf is selected if one matches its whole path.

    Returns:
      ``(selected, rest)``, two nested dictionaries without empty branches;
      ``join(selected, rest)`` restores the input.

    Raises:
      ValueError: a pattern matches no leaf (a typo would otherwise silently freeze
        parameters that should be trained).
    """
    patterns, flat = list(patterns), _flat(params)
    for pattern in patterns:
        if not any(re.fullmatch(pattern, path) for path in flat):
            raise ValueError(
                f"pattern {pattern!r} matches none of the {len(flat)} parameters "
                f"(the first is {next(iter(flat), 'nothing')!r}); patterns must match "
                "the whole path"
            )
    is_selected = matcher(patterns)
    return (
        _nest({k: v for k, v in flat.items() if is_selected(k)}),
        _nest({k: v for k, v in flat.items() if not is_selected(k)}),
    )


def join(*trees: Params) -> dict:
    """Joins nested dictionaries that have no leaf in common.

    Args:
      *trees: nested dictionaries of arrays.

    Returns:
      One nested dictionary with all leaves.

    Raises:
      ValueError: a path occurs in more than one tree.
    """
    joined: dict[str, Any] = {}
    for tree in trees:
        flat = _flat(tree)
        shared = sorted(joined.keys() & flat.keys())
        if shared:
            raise ValueError(
                f"{len(shared)} paths occur in more than one tree (the first is "
                f"{shared[0]!r}); join trees that have no leaf in common"
            )
        joined.update(flat)
    return _nest(joined)


def init(
    key: jax.Array, params: Params, targets: Iterable[str], *, rank: int
) -> dict[str, Any]:
    """Initialises adapters for every targeted kernel.

    Args:
      key: PRNG key.
      params: the model's parameters; only paths, shapes and dtypes are read.
      targets: regular expressions of kernel paths, e.g.
        ``".*/attention/(query|key|value|out)/kernel"``.
      rank: inner dimension, ≥ 1.

    Returns:
      For each target ``…/kernel`` (in, out): ``…/lora_a`` (in, rank), uniform within
      ± 1/√in (Kaiming-uniform with a = √5, as in ``peft``), and ``…/lora_b``
      (rank, out), zero.

    Raises:
      ValueError: the rank is below 1, a target is not a matrix named ``kernel``, or a
        pattern matches no leaf.
    """
    if rank < 1:
        raise ValueError(f"rank is {rank}; it must be at least 1")
    flat = _flat(split(params, targets)[0])
    adapters = {}
    for path, subkey in zip(flat, jax.random.split(key, len(flat)), strict=True):
        kernel = flat[path]
        owner, _, name = path.rpartition("/")
        if name != "kernel" or kernel.ndim != 2:
            raise ValueError(
                f"{path} has shape {kernel.shape}; LoRA targets must be matrices named "
                "'kernel': narrow the pattern"
            )
        bound = kernel.shape[0] ** -0.5
        shape = (kernel.shape[0], rank)
        a = jax.random.uniform(subkey, shape, kernel.dtype, -bound, bound)
        adapters[f"{owner}/{A}"] = a
        adapters[f"{owner}/{B}"] = jnp.zeros((rank, kernel.shape[1]), kernel.dtype)
    return _nest(adapters)


def scale(rank: int, alpha: float, *, rank_stabilised: bool = False) -> float:
    """Returns the factor that multiplies A @ B.

    Args:
      rank: rank of the adapters; 0 for no adapters.
      alpha: scaling numerator.
      rank_stabilised: divide by √rank instead of rank (rsLoRA, Kalajdzievski 2023,
        arXiv 2312.03732).

    Returns:
      alpha / rank or alpha / √rank; 1 for rank 0.
    """
    if not rank:
        return 1.0
    return alpha / (rank**0.5 if rank_stabilised else rank)


def merge(params: Params, adapters: Params, *, scale: float) -> dict[str, Any]:
    """Returns the parameters with the adapters added to their kernels.

    Differentiable with respect to both trees.

    Args:
      params: nested dictionary of arrays.
      adapters: ``…/lora_a`` (in, rank) and ``…/lora_b`` (rank, out), as from ``init``.
      scale: factor of A @ B.

    Returns:
      ``params`` with ``kernel + scale · A @ B`` in place of every adapted kernel.

    Raises:
      ValueError: an adapter's kernel is missing or has a different shape.
    """
    flat, factors = dict(_flat(params)), _flat(adapters)
    for path, a in factors.items():
        owner, _, name = path.rpartition("/")
        if name != A:
            continue
        b, kernel = factors[f"{owner}/{B}"], flat.get(f"{owner}/kernel")
        if kernel is None or kernel.shape != (a.shape[0], b.shape[1]):
            actual = "is missing" if kernel is None else f"has shape {kernel.shape}"
            raise ValueError(
                f"adapter {owner} fits a kernel of shape {(a.shape[0], b.shape[1])}, "
                f"but the parameters' kernel {actual}; were the adapters made for "
                "another model?"
            )
        with jax.default_matmul_precision("highest"):
            flat[f"{owner}/kernel"] = kernel + scale * (a @ b)
    return _nest(flat)


def unmerge(params: Params, adapters: Params, *, scale: float) -> dict[str, Any]:
    """Reverses ``merge``, exactly up to the rounding of one addition.

    Args:
      params: the result of ``merge``.
      adapters: the adapters that were merged.
      scale: the scale they were merged with.

    Returns:
      The parameters before ``merge``.

    Raises:
      ValueError: as for ``merge``.
    """
    return merge(params, adapters, scale=-scale)


def count(tree: Params) -> int:
    """Counts the scalar parameters of a tree.

    Args:
      tree: nested dictionary of arrays.

    Returns:
      The sum of the leaves' sizes.
    """
    return sum(x.size for x in jax.tree.leaves(tree))
