"""Counts the floating-point operations of a program from its jaxpr.

XLA's cost analysis counts the body of a loop once, whatever its length, which makes it
useless for programs with scans. Here every multiplication and every addition of matrix
products and convolutions is one operation, as in the peak rates that chip makers
publish. Elementwise work (normalisation, softmax, GELU, dropout, the optimiser) is not
counted.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from jax.extend import core
from jax.interpreters import partial_eval

CALLS = (
    "jit", "closed_call", "custom_jvp_call", "custom_vjp_call", "remat2", "shard_map"
)  # fmt: skip
REGIONS = ("scan", "while", "cond", "remat2")  # the compiler does not merge equal ones


def count_flops(
    jaxpr: core.ClosedJaxpr,
    platform: str,
    *,
    branch: Callable[[list[int]], int] = max,
) -> int:
    """Counts the operations of matrix products and convolutions in a program.

    Dead code does not count, and equal computations on equal values count once, since
    the compiler drops the one and merges the other. The body of a scan counts once per
    iteration; recomputation (``jax.checkpoint``) counts each time. Under ``pmap`` or
    ``shard_map`` the count is for one device. Multiplications by the zeros of padding
    and dilation do not count, as in XLA.

    Args:
      jaxpr: a program from ``jax.make_jaxpr``.
      platform: "cpu", "gpu" or "tpu"; selects branches of ``lax.platform_dependent``.
      branch: reduces the counts of the branches of any other ``cond``: ``max`` for the
        most expensive branch, ``min`` for the cheapest.

    Returns:
      The number of operations in one run.

    Raises:
      ValueError: such work inside a ``while`` loop, whose length is unknown.
    """
    live, _ = partial_eval.dce_jaxpr(jaxpr.jaxpr, [True] * len(jaxpr.jaxpr.outvars))
    return _Region(platform, branch).count(live)


class _Region:
    """A part of a program within which the compiler merges equal computations.

    Values are numbered; equal values get equal numbers.

    Attributes:
      platform, branch: see ``count_flops``.
      numbers: iterator over unused numbers.
      seen: operation and numbers of its inputs → numbers of its outputs.
    """

    def __init__(self, platform: str, branch: Callable[[list[int]], int]):
        self.platform, self.branch = platform, branch
        self.numbers = itertools.count()
        self.seen: dict[Any, list[int]] = {}

    def count(self, jaxpr: core.Jaxpr) -> int:
        """Returns the operations of a jaxpr whose inputs are all different."""
        return self._walk(jaxpr, [next(self.numbers) for _ in jaxpr.invars])[0]

    def _walk(self, jaxpr: core.Jaxpr, inputs: list[Any]) -> tuple[int, list[Any]]:
        """Returns the operations of a jaxpr and its outputs' numbers."""
        known = dict(zip(jaxpr.invars, inputs, strict=True))

        def number(variable):
            if isinstance(variable, core.Literal):
                return str(variable)
            if variable not in known:  # a constant of the jaxpr
                known[variable] = next(self.numbers)
            return known[variable]

        total = 0
        for equation in jaxpr.eqns:
            arguments = [number(x) for x in equation.invars]
            body = self._called(equation)
            if body is not None:
                # The first argument of a cond is the branch's index, not an input.
                inputs_of_body = arguments[len(arguments) - len(body.invars) :]
                flops, outputs = self._walk(body, inputs_of_body)
            else:
                flops, outputs = self._evaluate(equation, arguments)
            total += flops
            known.update(zip(equation.outvars, outputs, strict=True))
        return total, [number(x) for x in jaxpr.outvars]

    def _called(self, equation: core.JaxprEqn) -> core.Jaxpr | None:
        """Returns the body of a call that the compiler inlines; None for others."""
        name, params = equation.primitive.name, equation.params
        if name == "cond" and params.get("branches_platforms"):
            # lax.platform_dependent, whose default branch has None for its platforms.
            pairs = zip(params["branches"], params["branches_platforms"], strict=True)
            return next(
                branch.jaxpr
                for branch, platforms in pairs
                if platforms is None or self.platform in platforms
            )
        # Recomputation ("differentiated") must not be merged with the first pass.
        if name in CALLS and not params.get("differentiated"):
            return next(iter(core.jaxprs_in_params(params)))
        return None

    def _evaluate(
        self, equation: core.JaxprEqn, arguments: list[Any]
    ) -> tuple[int, list[int]]:
        """Returns an equation's operations, 0 if merged, and its outputs' numbers."""
        key = (equation.primitive.name, str(equation.params), *arguments)
        if equation.primitive.name in REGIONS:
            key = object()  # equal to no other key
        flops = 0 if key in self.seen else self._operations(equation)
        fresh = [next(self.numbers) for _ in equation.outvars]
        return flops, self.seen.setdefault(key, fresh)

    def _operations(self, equation: core.JaxprEqn) -> int:
        name, params = equation.primitive.name, equation.params
        if name == "dot_general":
            return _matmul(equation)
        if name == "conv_general_dilated":
            return _convolution(equation)
        inner = core.jaxprs_in_params(params)
        bodies = [_Region(self.platform, self.branch).count(x) for x in inner]
        if name == "cond":
            return self.branch(bodies)
        if name == "while" and any(bodies):
            raise ValueError("a while loop holds matrix products of unknown number")
        return sum(bodies) * (params["length"] if name == "scan" else 1)


def _shapes(equation: core.JaxprEqn) -> tuple[list[Any], Any]:
    """Returns the shapes of an equation's inputs and of its first output."""
    avals: list[Any] = [x.aval for x in (*equation.invars, equation.outvars[0])]
    *inputs, output = [aval.shape for aval in avals]
    return inputs, output


def _matmul(equation: core.JaxprEqn) -> int:
    (contracted, _), _ = equation.params["dimension_numbers"]
    (lhs, _), out = _shapes(equation)
    return 2 * math.prod(lhs[axis] for axis in contracted) * math.prod(out)


def _convolution(equation: core.JaxprEqn) -> int:
    params, ((lhs, rhs), out) = equation.params, _shapes(equation)
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
    """Counts the pairs of output and kernel tap along one axis that meet an input."""
    position = np.arange(out)[:, None] * stride + np.arange(width) * rhs_dilation
    position = position - padding[0]
    is_inside = (position >= 0) & (position <= (size - 1) * lhs_dilation)
    return int((is_inside & (position % lhs_dilation == 0)).sum())
