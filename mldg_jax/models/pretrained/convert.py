"""Key tables: other people's parameter names to ours and back, strictly.

A table is a list of rules ``(theirs, ours, layout)``. ``{}`` in both names stands for
the same number (a layer), so one rule serves all layers and both directions:

    ("encoder.layers.{}.fc1.weight", "params/layers_{}/mlp_in/kernel", "dense")

``ours`` starts with its Flax collection. Of several rules for one of our leaves
``to_ours`` takes whichever name is there (old and new spellings), ``to_theirs`` writes
the first.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatch
from typing import Any, NamedTuple

import numpy as np
from flax import traverse_util

from mldg_jax.common.errors import UserError

Rule = tuple[str, str, str]


class ArrayLayout(NamedTuple):
    """How an array is laid out there and here."""

    ours: Callable[[np.ndarray], np.ndarray]
    theirs: Callable[[np.ndarray], np.ndarray]


# Torch keeps (out, in, …); Flax kernels are (…, in, out).
LAYOUTS = {
    "same": ArrayLayout(lambda x: x, lambda x: x),
    "dense": ArrayLayout(lambda x: x.T, lambda x: x.T),
    "conv1d": ArrayLayout(
        lambda x: x.transpose(2, 1, 0), lambda x: x.transpose(2, 1, 0)
    ),
    "conv2d": ArrayLayout(
        lambda x: x.transpose(2, 3, 1, 0), lambda x: x.transpose(3, 2, 0, 1)
    ),
    # a 1 × 1 convolution is a dense layer
    "conv1x1": ArrayLayout(lambda x: x[:, :, 0, 0].T, lambda x: x.T[:, :, None, None]),
    # the gain of a positional convolution, one for each tap
    "taps": ArrayLayout(lambda x: x[0, 0], lambda x: x[None, None]),
}


class Table(NamedTuple):
    """Names of one format.

    Attributes:
      rules: see the module.
      ignored: shell patterns of their names that we have no use for.
      prefixes: prefixes that their names may carry; where one is found, names without
        it are another module's.
    """

    rules: Sequence[Rule]
    ignored: Sequence[str] = ()
    prefixes: Sequence[str] = ()


def to_ours(
    table: Table, state: Mapping[str, Any], expected: Mapping[str, Any]
) -> dict[str, Any]:
    """Renames and lays out another format's parameters.

    Args:
      table: the format.
      state: their names and arrays.
      expected: our variables, as arrays or ``jax.ShapeDtypeStruct``; what must be there
        and in which shape and dtype.

    Returns:
      Nested variables of the structure, shapes and dtypes of ``expected``.

    Raises:
      UserError: everything that is missing, unexpected or misshapen, in one report.
    """
    wanted: dict[str, Any] = traverse_util.flatten_dict(dict(expected), sep="/")
    found: dict[str, Any] = {}
    seen: set[str] = set()
    unexpected, misshapen = [], []
    for name, value in without_prefix(table, state).items():
        if any(fnmatch(name, pattern) for pattern in table.ignored):
            continue
        matched = translate(name, table.rules, 0, 1)
        if matched is None or matched[0] not in wanted:
            unexpected.append(name)
            continue
        path, layout = matched
        value = np.asarray(value)
        seen.add(path)
        needed = LAYOUTS[layout].theirs(np.empty(wanted[path].shape, bool)).shape
        if value.shape == needed:
            found[path] = LAYOUTS[layout].ours(value)
        else:
            misshapen.append(f"{name} {value.shape}, expected {needed}")
    missing = [
        translate(path, table.rules, 1, 0, path)[0]
        for path in wanted
        if path not in seen
    ]
    _report(missing, unexpected, misshapen, len(wanted))
    cast = {
        path: np.ascontiguousarray(found[path], leaf.dtype)
        for path, leaf in wanted.items()
    }
    return traverse_util.unflatten_dict(cast, sep="/")


def to_theirs(table: Table, variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Writes our variables under another format's names; the inverse of ``to_ours``.

    Raises:
      ValueError: a leaf without a rule.
    """
    state = {}
    for path, value in traverse_util.flatten_dict(dict(variables), sep="/").items():
        matched = translate(path, table.rules, 1, 0)
        if matched is None:
            raise ValueError(f"{path} has no name in this format")
        name, layout = matched
        state[name] = np.ascontiguousarray(LAYOUTS[layout].theirs(np.asarray(value)))
    return state


def depth(table: Table, state: Mapping[str, Any]) -> int:
    """Number of transformer layers in another format's parameters."""
    found = {-1}
    for name in without_prefix(table, state):
        matched = translate(name, table.rules, 0, 1)
        layer = matched and re.match(r"params/layers_(\d+)/", matched[0])
        if layer:
            found.add(int(layer[1]))
    return max(found) + 1


def without_prefix(table: Table, state: Mapping[str, Any]) -> Mapping[str, Any]:
    """Their names as the table has them."""
    for prefix in table.prefixes:
        if any(name.startswith(prefix) for name in state):
            return {
                name.removeprefix(prefix): value
                for name, value in state.items()
                if name.startswith(prefix)
            }
    return state


def translate(
    name: str, rules: Sequence[Rule], source: int, target: int, default: Any = None
) -> Any:
    """``(name in the other column, layout)`` of the first rule that fits."""
    for rule in rules:
        pattern = re.escape(rule[source]).replace(r"\{\}", r"(\d+)")
        match = re.fullmatch(pattern, name)
        if match:
            return rule[target].format(*match.groups()), rule[2]
    return None if default is None else (default, "same")


def _report(
    missing: list[str], unexpected: list[str], misshapen: list[str], total: int
) -> None:
    parts = [
        f"{len(names)} {what}: {', '.join(names)}"
        for what, names in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("misshapen", misshapen),
        )
        if names
    ]
    if parts:
        raise UserError(
            f"These weights do not fit the model ({total} arrays). {'; '.join(parts)}. "
            "Is it the checkpoint of another model, or another configuration?"
        )
