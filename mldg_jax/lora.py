"""The parameter split: which leaves are frozen, which are trained, and LoRA.

Pure functions on nested dictionaries of arrays (Flax ``params``). Nothing here knows
a model: leaves are named by their path, ``"encoder/layers_0/attention/query/kernel"``,
and chosen by regular expressions that must match the whole path.

Low-rank adaptation (Hu et al. 2022, arXiv 2106.09685) of a kernel W (in, out) is
``W + scale · A @ B`` with A (in, rank), B (rank, out) and ``scale = alpha / rank``.
A starts Kaiming-uniform, B at zero (the convention of ``peft``), so a fresh adapter
changes nothing.

Two ways to apply adapters:

* a model whose dense layers take the factors (``models.layers.LoRADense``) reads them
  from ``join(frozen, adapters)`` and computes ``x @ W + scale · (x @ A) @ B``: no
  gradient of W is ever formed;
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
    """Returns a predicate: does any pattern match the whole path?"""
    compiled = [re.compile(p) for p in patterns]
    return lambda path: any(p.fullmatch(path) for p in compiled)


def split(params: Params, patterns: Iterable[str]) -> tuple[dict, dict]:
    """Splits a parameter tree in two by path.

    Args:
      params: nested dictionary of arrays.
      patterns: regular expressions; a leaf whose whole path matches one is selected.

    Returns:
      ``(selected, rest)``, two nested dictionaries without empty branches;
      ``join(selected, rest)`` is the input.

    Raises:
      ValueError: a pattern matches no leaf (a typing error would otherwise silently
        freeze what should be trained).
    """
    patterns, flat = list(patterns), _flat(params)
    for pattern in patterns:
        if not any(re.fullmatch(pattern, path) for path in flat):
            raise ValueError(
                f"pattern {pattern!r} matches none of the {len(flat)} parameters "
                f"(the first is {next(iter(flat), 'nothing')!r}); patterns must match "
                "the whole path"
            )
    chosen = matcher(patterns)
    return (
        _nest({k: v for k, v in flat.items() if chosen(k)}),
        _nest({k: v for k, v in flat.items() if not chosen(k)}),
    )


def join(*trees: Params) -> dict:
    """Unites nested dictionaries that share no leaf.

    Raises:
      ValueError: two trees hold the same path.
    """
    united: dict[str, Any] = {}
    for tree in trees:
        flat = _flat(tree)
        both = sorted(united.keys() & flat.keys())
        if both:
            raise ValueError(f"{len(both)} paths are in two trees, first {both[0]!r}")
        united.update(flat)
    return _nest(united)


def init(
    key: jax.Array, params: Params, targets: Iterable[str], *, rank: int
) -> dict[str, Any]:
    """Makes fresh adapters for every targeted kernel.

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
      ValueError: rank < 1, a target that is no matrix or not named ``kernel``, or a
        pattern without a match.
    """
    if rank < 1:
        raise ValueError(f"rank is {rank}; it must be at least 1")
    flat = _flat(split(params, targets)[0])
    adapters = {}
    for path, part in zip(flat, jax.random.split(key, len(flat)), strict=True):
        kernel = flat[path]
        owner, _, name = path.rpartition("/")
        if name != "kernel" or kernel.ndim != 2:
            raise ValueError(
                f"{path} has shape {kernel.shape}; LoRA targets must be matrices named "
                "'kernel': narrow the pattern"
            )
        bound = kernel.shape[0] ** -0.5
        shape = (kernel.shape[0], rank)
        a = jax.random.uniform(part, shape, kernel.dtype, -bound, bound)
        adapters[f"{owner}/{A}"] = a
        adapters[f"{owner}/{B}"] = jnp.zeros((rank, kernel.shape[1]), kernel.dtype)
    return _nest(adapters)


def scale(rank: int, alpha: float, *, rank_stabilised: bool = False) -> float:
    """What multiplies A @ B: alpha / rank, or alpha / √rank (rsLoRA).

    Rank-stabilised scaling is Kalajdzievski 2023 (arXiv 2312.03732). Rank 0 (no
    adapters) gives 1.
    """
    if not rank:
        return 1.0
    return alpha / (rank**0.5 if rank_stabilised else rank)


def merge(params: Params, adapters: Params, *, scale: float) -> dict[str, Any]:
    """Returns ``params`` with ``kernel + scale · A @ B`` at every adapted kernel.

    Differentiable in both arguments.

    Raises:
      ValueError: an adapter without its kernel or with other shapes.
    """
    flat, factors = dict(_flat(params)), _flat(adapters)
    for path, a in factors.items():
        owner, _, name = path.rpartition("/")
        if name != A:
            continue
        b, kernel = factors[f"{owner}/{B}"], flat.get(f"{owner}/kernel")
        if kernel is None or kernel.shape != (a.shape[0], b.shape[1]):
            found = "missing" if kernel is None else kernel.shape
            raise ValueError(
                f"adapter {owner} is for a kernel {(a.shape[0], b.shape[1])}; the "
                f"parameters' kernel is {found}: adapters of another model?"
            )
        flat[f"{owner}/kernel"] = kernel + scale * (a @ b)
    return _nest(flat)


def unmerge(params: Params, adapters: Params, *, scale: float) -> dict[str, Any]:
    """Undoes ``merge`` (exact up to the rounding of one addition)."""
    return merge(params, adapters, scale=-scale)


def count(tree: Params) -> int:
    """Number of scalar parameters in a tree."""
    return sum(x.size for x in jax.tree.leaves(tree))
