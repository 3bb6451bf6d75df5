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


def complete(values: Mapping[str, Any]) -> Config:
    """Returns the config that nested values and the defaults make.

    Args:
      values: as of a config file or of config.json; what is missing has its default.

    Raises:
      UserError: an unknown name or a value of another type; it says which.
    """
    return _section(Config, values, "")


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
        *sections, last = name.split(".")
        section = nested
        for part in sections:
            if not isinstance(section.get(part), dict):
                raise UserError(_unknown(name, _names(config)))
            section = section[part]
        section[last] = value
    return complete(nested)


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
