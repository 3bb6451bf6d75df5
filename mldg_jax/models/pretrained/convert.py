"""Strict conversion of parameters between another format's names and ours.

A key table is a list of rules ``(theirs, ours, layout)``. ``{}`` stands for the same
number (a layer) in both names, so one rule serves all layers and both directions:

    ("encoder.layers.{}.fc1.weight", "params/layers_{}/mlp_in/kernel", "dense")

``ours`` starts with the Flax collection. If several rules lead to the same leaf (old
and new spellings), ``to_ours`` accepts any of them and ``to_theirs`` writes the first.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from fnmatch import fnmatch
from typing import Any, NamedTuple

import numpy as np
from flax import traverse_util

from mldg_jax.common.errors import UserError

Rule = tuple[str, str, str]


class ArrayLayout(NamedTuple):
    """Conversions of an array between their layout and ours."""

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
    # a convolution over time with one tap is a dense layer too
    "tap": ArrayLayout(lambda x: x[:, :, 0].T, lambda x: x.T[:, :, None]),
    # the gain of a positional convolution, one for each tap
    "taps": ArrayLayout(lambda x: x[0, 0], lambda x: x[None, None]),
}


class Table(NamedTuple):
    """The parameter names of one format.

    Attributes:
      rules: see the module's docstring.
      ignored: shell patterns of names in that format that are skipped.
      prefixes: prefixes that the names may have; if any name has one, names without it
        belong to another module and are skipped.
    """

    rules: Sequence[Rule]
    ignored: Sequence[str] = ()
    prefixes: Sequence[str] = ()


def to_ours(
    table: Table, state: Mapping[str, Any], expected: Mapping[str, Any]
) -> dict[str, Any]:
    """Converts another format's parameters to our variables.

    Args:
      table: the format.
      state: arrays by name in that format.
      expected: our variables as arrays or ``jax.ShapeDtypeStruct``: the leaves, shapes
        and dtypes that the result must have.

    Returns:
      Nested variables with the structure, shapes and dtypes of ``expected``.

    Raises:
      UserError: arrays are missing, unexpected or misshapen; one report names them all.
    """
    names = fitting(table, expected, {k: np.shape(v) for k, v in state.items()})
    wanted: dict[str, Any] = traverse_util.flatten_dict(dict(expected), sep="/")
    stripped = without_prefix(table, {name: name for name in state})
    converted: dict[str, Any] = {}
    for name, whole in stripped.items():
        if whole in names:
            path, layout = translate(name, table.rules, 0, 1)
            value = LAYOUTS[layout].ours(np.asarray(state[whole]))
            converted[path] = np.ascontiguousarray(value, wanted[path].dtype)
    return traverse_util.unflatten_dict(
        {path: converted[path] for path in wanted}, sep="/"
    )


def fitting(
    table: Table, expected: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]
) -> set[str]:
    """Checks the shapes of another format's parameters before they are read.

    Args:
      table: the format.
      expected: as for ``to_ours``.
      shapes: the shape of every array, by name in that format.

    Returns:
      The names of the arrays that our variables are made of.

    Raises:
      UserError: arrays are missing, unexpected or misshapen; one report names them all.
    """
    wanted: dict[str, Any] = traverse_util.flatten_dict(dict(expected), sep="/")
    used: dict[str, str] = {}
    unexpected, misshapen = [], []
    named = without_prefix(table, {name: (name, shapes[name]) for name in shapes})
    for name, (whole, shape) in named.items():
        if any(fnmatch(name, pattern) for pattern in table.ignored):
            continue
        matched = translate(name, table.rules, 0, 1)
        if matched is None or matched[0] not in wanted:
            unexpected.append(name)
            continue
        path, layout = matched
        used[path] = whole
        # broadcast: a shape without its memory
        ours = np.broadcast_to(np.empty((), bool), wanted[path].shape)
        needed = LAYOUTS[layout].theirs(ours).shape
        if tuple(shape) != needed:
            misshapen.append(f"{name} {tuple(shape)}, expected {needed}")
    missing = [
        translate(path, table.rules, 1, 0, path)[0]
        for path in wanted
        if path not in used
    ]
    _report(missing, unexpected, misshapen, len(wanted))
    return set(used.values())


def to_theirs(table: Table, variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Converts our variables to another format; the inverse of ``to_ours``.

    Args:
      table: the format.
      variables: nested variables, starting with the Flax collection.

    Returns:
      Arrays by name in that format, contiguous.

    Raises:
      ValueError: no rule covers one of the leaves.
    """
    state = {}
    for path, value in traverse_util.flatten_dict(dict(variables), sep="/").items():
        matched = translate(path, table.rules, 1, 0)
        if matched is None:
            raise ValueError(f"{path} has no name in this format")
        name, layout = matched
        state[name] = np.ascontiguousarray(LAYOUTS[layout].theirs(np.asarray(value)))
    return state


def depth(table: Table, names: Collection[str]) -> int:
    """Counts the transformer layers in another format's parameters.

    Args:
      table: the format.
      names: of the arrays in that format.

    Returns:
      The number of layers.
    """
    numbers = {-1}
    for name in without_prefix(table, dict.fromkeys(names)):
        matched = translate(name, table.rules, 0, 1)
        layer = matched and re.match(r"params/layers_(\d+)/", matched[0])
        if layer:
            numbers.add(int(layer[1]))
    return max(numbers) + 1


def without_prefix(table: Table, state: Mapping[str, Any]) -> Mapping[str, Any]:
    """Strips the prefix from the names of another format's parameters.

    Args:
      table: the format.
      state: arrays by name in that format.

    Returns:
      The arrays that have the first of the table's prefixes in use, by name without
      it; ``state`` itself if no name has a prefix.
    """
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
    """Translates a name by the first rule that matches it.

    Args:
      name: a name from the ``source`` column.
      rules: the rules of a table.
      source: column of ``name``: 0 for theirs, 1 for ours.
      target: column to translate to.
      default: name to return if no rule matches.

    Returns:
      ``(name in the target column, layout)``. If no rule matches, ``(default,
      "same")``, or None without a default.
    """
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
        f"{len(names)} {problem}: {', '.join(names)}"
        for problem, names in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("misshapen", misshapen),
        )
        if names
    ]
    if parts:
        raise UserError(
            f"These weights do not fit the model ({total} arrays). {'; '.join(parts)}. "
            "Check that the checkpoint belongs to this model and configuration"
        )
