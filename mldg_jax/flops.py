"""Floating-point operations of a program, counted from its jaxpr.

XLA's own cost analysis counts the body of a loop once, whatever its length, which makes
it useless for a program with scans. Here every multiplication and every addition of
matrix products and convolutions is one operation, as in the peak rates that chip makers
publish. Elementwise work (normalisation, softmax, GELU, dropout, the optimiser) is not
counted.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jax.extend import core
from jax.interpreters import partial_eval

CALLS = (
    "jit", "closed_call", "custom_jvp_call", "custom_vjp_call", "remat2", "shard_map"
)  # fmt: skip
REGIONS = ("scan", "while", "cond", "remat2")  # two equal ones are not merged


def count_flops(jaxpr: core.ClosedJaxpr, platform: str) -> int:
    """Operations of matrix products and convolutions in one run of a program.

    Counted is what is left when the compiler has dropped what no output depends on and
    merged what is computed twice from the same values. Loops count as often as they
    run, recomputation (``jax.checkpoint``) counts each time. Under ``pmap`` or
    ``shard_map`` the count is of one device. Zeros that a convolution pads or dilates
    with do not count, as in XLA.

    Args:
      jaxpr: from ``jax.make_jaxpr``.
      platform: "cpu", "gpu" or "tpu": which branch of ``lax.platform_dependent`` runs.
        Of any other branching the dearest branch counts.

    Raises:
      ValueError: such work inside a ``while`` loop, whose length is unknown.
    """
    live, _ = partial_eval.dce_jaxpr(jaxpr.jaxpr, [True] * len(jaxpr.jaxpr.outvars))
    return _count(live, platform)


def _count(jaxpr: core.Jaxpr, platform: str) -> int:
    numbers = itertools.count()
    return _walk(jaxpr, [next(numbers) for _ in jaxpr.invars], platform, {}, numbers)[0]


def _walk(
    jaxpr: core.Jaxpr,
    inputs: Sequence[Any],
    platform: str,
    seen: dict[Any, list[int]],
    numbers: Iterator[int],
) -> tuple[int, list[Any]]:
    """Counts a jaxpr by value numbering: equal values have equal numbers.

    Args:
      jaxpr: what to count.
      inputs: the numbers of its inputs.
      platform: as for ``count_flops``.
      seen: operation and numbers of its inputs → numbers of its outputs.
      numbers: unused numbers.

    Returns:
      The operations, and the numbers of the outputs.
    """
    known = dict(zip(jaxpr.invars, inputs, strict=True))

    def number(variable):
        if isinstance(variable, core.Literal):
            return str(variable)
        if variable not in known:  # a constant of the jaxpr
            known[variable] = next(numbers)
        return known[variable]

    total = 0
    for equation in jaxpr.eqns:
        arguments = [number(x) for x in equation.invars]
        called = _called(equation, platform)
        if called is not None:
            # A branching has its index in front.
            own = arguments[len(arguments) - len(called.invars) :]
            flops, outputs = _walk(called, own, platform, seen, numbers)
        else:
            key = (equation.primitive.name, str(equation.params), *arguments)
            if equation.primitive.name in REGIONS:
                key = object()
            flops = 0 if key in seen else _operations(equation, platform)
            outputs = seen.setdefault(key, [next(numbers) for _ in equation.outvars])
        total += flops
        known.update(zip(equation.outvars, outputs, strict=True))
    return total, [number(x) for x in jaxpr.outvars]


def _called(equation: core.JaxprEqn, platform: str) -> core.Jaxpr | None:
    """The body that the compiler sees in place of a call, if the equation is one."""
    name, params = equation.primitive.name, equation.params
    if name == "cond" and params.get("branches_platforms"):
        return _platform_branch(params, platform)
    # What is to be recomputed is kept apart from its first computation.
    if name in CALLS and not params.get("differentiated"):
        return next(iter(core.jaxprs_in_params(params)))
    return None


def _platform_branch(params: dict, platform: str) -> core.Jaxpr:
    """Of ``lax.platform_dependent``, whose default has None for its platforms."""
    pairs = zip(params["branches"], params["branches_platforms"], strict=True)
    return next(
        branch.jaxpr for branch, here in pairs if here is None or platform in here
    )


def _operations(equation: core.JaxprEqn, platform: str) -> int:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        return _matmul(equation)
    if name == "conv_general_dilated":
        return _convolution(equation)
    bodies = [_count(inner, platform) for inner in core.jaxprs_in_params(params)]
    if name == "cond":
        return max(bodies)
    if name == "while" and any(bodies):
        raise ValueError("a while loop holds matrix products; its length is unknown")
    return sum(bodies) * (params["length"] if name == "scan" else 1)


def _matmul(equation: core.JaxprEqn) -> int:
    (contracted, _), _ = equation.params["dimension_numbers"]
    shape = equation.invars[0].aval.shape
    inner = math.prod(shape[axis] for axis in contracted)
    return 2 * inner * equation.outvars[0].aval.size


def _convolution(equation: core.JaxprEqn) -> int:
    params, (lhs, rhs) = equation.params, (x.aval.shape for x in equation.invars)
    out = equation.outvars[0].aval.shape
    numbers = params["dimension_numbers"]
    batch, features = (out[axis] for axis in numbers.out_spec[:2])
    channels = rhs[numbers.rhs_spec[1]]  # of one group
    taps = math.prod(
        _taps(lhs[i], rhs[j], out[k], *window)
        for i, j, k, *window in zip(
            numbers.lhs_spec[2:],
            numbers.rhs_spec[2:],
            numbers.out_spec[2:],
            params["window_strides"],
            params["padding"],
            params["lhs_dilation"],
            params["rhs_dilation"],
            strict=True,
        )
    )
    return 2 * batch * features * channels * taps


def _taps(
    size: int,
    width: int,
    out: int,
    stride: int,
    padding: tuple[int, int],
    lhs_dilation: int,
    rhs_dilation: int,
) -> int:
    """Pairs of an output and a tap along one axis that meet a value of the input."""
    place = np.arange(out)[:, None] * stride + np.arange(width) * rhs_dilation
    place = place - padding[0]
    inside = (place >= 0) & (place <= (size - 1) * lhs_dilation)
    return int((inside & (place % lhs_dilation == 0)).sum())
