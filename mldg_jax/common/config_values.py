"""Configs out of nested values and back: defaults added, names and types checked."""

import dataclasses
import difflib
import json
import types
import typing
from collections.abc import Mapping
from typing import Any

from mldg_jax.common.config import Config
from mldg_jax.common.errors import UserError

RENAMED = {
    "arm": "method",
    "averaging": "ema_decay",
    "prefixes": "feature_cache",
    "samples": "crop_samples",
    "episode.attacks": "episode.attacks_per_episode",
    "episode.examples": "episode.examples_per_attack",
    "episode.meta_test": "episode.num_meta_test",
    "episode.without": "episode.exclude",
    "selection.meta_test": "selection.num_meta_test",
    "selection.without": "selection.held_out",
}
"""Entries that 0.1 called otherwise: old name → name. Accepted for one release."""


def complete(values: Mapping[str, Any]) -> Config:
    """Returns the config that nested values and the defaults make.

    Args:
      values: as of a config file or of config.json; what is missing has its default,
        and names of the last release (``RENAMED``) are understood.

    Raises:
      UserError: an unknown name or a value of another type; it says which.
    """
    return _section(Config, _renamed(values), "")


def old_names(*several: Mapping[str, Any]) -> list[str]:
    """Returns the entries that are called otherwise now.

    Args:
      several: values, nested or by dotted name.

    Returns:
      Dotted names, each a key of ``RENAMED``.
    """
    return [
        name
        for name in RENAMED
        if any(name in values or _get(values, name)[1] for values in several)
    ]


def to_dict(config: Config) -> dict[str, Any]:
    """Returns a config as nested dictionaries of what JSON knows."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def with_values(config: Config, values: Mapping[str, Any]) -> Config:
    """Returns a copy of a config with other values.

    Args:
      config: stays as it is.
      values: by dotted name, e.g. ``{"optimizer.lr": 1e-3}``.

    Raises:
      UserError: as ``complete``.
    """
    nested = dataclasses.asdict(config)
    for name, value in values.items():
        *sections, last = RENAMED.get(name, name).split(".")
        section = nested
        for part in sections:
            if not isinstance(section.get(part), dict):
                raise UserError(_unknown(name, _names(config)))
            section = section[part]
        section[last] = value
    return complete(nested)


def _renamed(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The values under the names of today, in copies of the sections that change.

    Where both names are there the old one wins: a config file of the last release sets
    it on top of what this release's base says.
    """
    for old, new in RENAMED.items():
        value, there = _get(values, old)
        if there:
            *section, last = new.split(".")
            before = old.split(".")[-1]
            if section:
                inner = {**values[section[0]], last: value}
                del inner[before]
                values = {**values, section[0]: inner}
            else:
                values = {k: v for k, v in values.items() if k != before}
                values = {**values, last: value}
    if _get(values, "episode.domains")[0] == "voice":  # as 0.1 said
        values = {**values, "episode": {**values["episode"], "domains": "speaker"}}
    return values


def _get(values: Any, name: str) -> tuple[Any, bool]:
    """The nested value of a dotted name, and whether there is one."""
    for part in name.split("."):
        if not isinstance(values, Mapping) or part not in values:
            return None, False
        values = values[part]
    return values, True


def _section(kind: type, values: Any, prefix: str) -> Any:
    if not isinstance(values, Mapping):
        raise UserError(f"{prefix[:-1]} is {values!r}; it must be a section")
    hints = typing.get_type_hints(kind)
    for name in values:
        if name not in hints:
            raise UserError(_unknown(prefix + name, [prefix + x for x in hints]))
    return kind(
        **{name: _value(hints[name], x, prefix + name) for name, x in values.items()}
    )


def _value(hint: Any, value: Any, name: str) -> Any:
    """A value as its field has it: lists as tuples, whole numbers as floats."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _section(hint, value, name + ".")
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:
        options = [x for x in arguments if x is not type(None)]
        return None if value is None else _value(options[0], value, name)
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_value(arguments[0], x, name) for x in value)
    if origin is Mapping and isinstance(value, Mapping):
        return {k: _value(arguments[1], x, f"{name}.{k}") for k, x in value.items()}
    if hint is Any:
        return tuple(value) if isinstance(value, list) else value
    if hint is float and type(value) in (int, float):
        return float(value)
    if origin is None and type(value) is hint:
        return value
    raise UserError(f"{name} is {value!r}; it must be {_described(hint)}")


def _described(hint: Any) -> str:
    names = {
        **{int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    }
    if typing.get_origin(hint) is tuple:
        return f"a list ({names[typing.get_args(hint)[0]]} each), e.g. [] or [a, b]"
    return names.get(hint, "a section")


def _names(config: Config) -> list[str]:
    return [
        f"{section.name}.{name}" if name else section.name
        for section in dataclasses.fields(config)
        for name in (
            [x.name for x in dataclasses.fields(getattr(config, section.name))]
            if dataclasses.is_dataclass(getattr(config, section.name))
            else [""]
        )
    ]


def _unknown(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
    return f"config entry {name!r} is not known; {hint}"
