"""Conversion between configs and nested values, with names and types checked."""

import dataclasses
import difflib
import json
import math
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from flax import traverse_util

from mldg_jax.common.config import Config
from mldg_jax.common.errors import UserError

LARGEST = 10**6  # attribute of a module
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
"""Entries renamed since 0.1: old name → new name. Accepted for one release."""

MOVED = {
    "optimizer.ema": "ema_decay",
    "optimizer.averaging": "ema_decay",
    "episode.samples": "crop_samples",
}
"""Names that are looked for in another section: the name → the entry."""


def complete(values: Mapping[str, Any]) -> Config:
    """Completes nested values with the defaults.

    Args:
      values: values of a config file or of config.json, nested by section; missing
        entries get their default, and old names (``RENAMED``) are accepted.

    Returns:
      The complete config.

    Raises:
      UserError: an unknown name or a value of the wrong type.
    """
    return _section(Config, _renamed(values), "")


def old_names(*several: Mapping[str, Any]) -> list[str]:
    """Returns the entries that have been renamed.

    Args:
      *several: mappings of values, nested or by dotted name.

    Returns:
      The old dotted names, each a key of ``RENAMED``.
    """
    return [
        name
        for name in RENAMED
        if any(name in values or _get(values, name)[1] for values in several)
    ]


def to_dict(config: Config) -> dict[str, Any]:
    """Converts a config to nested dictionaries.

    Args:
      config: any config.

    Returns:
      Dictionaries that hold JSON types only; ``complete`` is the inverse.
    """
    return json.loads(json.dumps(dataclasses.asdict(config)))


def flat_config(config: Config) -> dict[str, Any]:
    """Flattens a config.

    Args:
      config: any config.

    Returns:
      JSON values by dotted name, e.g. ``"optimizer.lr"``.
    """
    return traverse_util.flatten_dict(to_dict(config), keep_empty_nodes=True, sep=".")


def with_values(config: Config, values: Mapping[str, Any]) -> Config:
    """Returns a copy of a config with some values replaced.

    A new kind of front-end or head does not inherit the attributes of the old one, see
    ``dropped_attributes``.

    Args:
      config: the config to copy.
      values: new values by dotted name, e.g. ``{"optimizer.lr": 1e-3}``.

    Returns:
      The new config.

    Raises:
      UserError: an unknown name or a value of the wrong type.
    """
    nested = dataclasses.asdict(config)
    for name in dropped_attributes(config, values):
        _, part, attribute = name.split(".")
        nested["model"][part].pop(attribute)
    for name, value in values.items():
        *sections, last = RENAMED.get(name, name).split(".")
        section = nested
        for part in sections:
            if not isinstance(section.get(part), dict):
                raise UserError(_unknown(name, _names(config)))
            section = section[part]
        section[last] = value
    return complete(nested)


def dropped_attributes(config: Config, values: Mapping[str, Any]) -> list[str]:
    """Returns the attributes that a new kind of front-end or head does not inherit.

    They were chosen for the module of the old kind; one of the same name in the new
    module may mean something else, and would replace its default.

    Args:
      config: the config that ``values`` change.
      values: new values by dotted name.

    Returns:
      Dotted names, e.g. ``["model.head.dim"]``: the attributes that the config has for
      a part whose ``kind`` the values change, without those that the values set.
    """
    dropped = []
    for part in ("frontend", "head"):
        attributes = getattr(config.model, part)
        old = attributes.get("kind")
        if values.get(f"model.{part}.kind", old) != old:
            names = [f"model.{part}.{x}" for x in attributes if x != "kind"]
            dropped += [name for name in names if name not in values]
    return dropped


def _renamed(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the values under their current names, copying the sections that change.

    If both names are present, the old one wins: a config file written for the last
    release sets it on top of the values of this release's base config.
    """
    for old, new in RENAMED.items():
        value, is_present = _get(values, old)
        if is_present:
            *section, last = new.split(".")
            old_last = old.split(".")[-1]
            if section:
                renamed = {**values[section[0]], last: value}
                del renamed[old_last]
                values = {**values, section[0]: renamed}
            else:
                values = {k: v for k, v in values.items() if k != old_last}
                values = {**values, last: value}
    if _get(values, "episode.domains")[0] == "voice":  # the name in 0.1
        values = {**values, "episode": {**values["episode"], "domains": "speaker"}}
    return values


def _get(values: Any, name: str) -> tuple[Any, bool]:
    """Returns the nested value of a dotted name, and whether it is present."""
    for part in name.split("."):
        if not isinstance(values, Mapping) or part not in values:
            return None, False
        values = values[part]
    return values, True


def _section(kind: type, values: Any, prefix: str) -> Any:
    if not isinstance(values, Mapping):
        raise UserError(f"{prefix[:-1]} is {values!r}; it must be a section")
    hints = typing.get_type_hints(kind, include_extras=True)
    for name in values:
        if name not in hints:
            raise UserError(_unknown(prefix + name, [prefix + x for x in hints]))
    return kind(
        **{name: _value(hints[name], x, prefix + name) for name, x in values.items()}
    )


def _value(hint: Any, value: Any, name: str) -> Any:
    """Converts a value to its field's type, e.g. a list to a tuple, 1 to 1.0."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _section(hint, value, name + ".")
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        number, within = _value(arguments[0], value, name), arguments[1]
        if not within.least <= number <= within.most:
            raise UserError(
                f"{name} is {number!r}; it must be {within.least:,} … {within.most:,}"
            )
        return number
    if origin in (types.UnionType, typing.Union):
        options = [x for x in arguments if x is not type(None)]
        return None if value is None else _value(options[0], value, name)
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_value(arguments[0], x, name) for x in value)
    if origin is Mapping and isinstance(value, Mapping):
        return {k: _value(arguments[1], x, f"{name}.{k}") for k, x in value.items()}
    if hint is Any:
        return _attribute(value, name)
    if hint is float and type(value) in (int, float) and math.isfinite(value):
        return float(value)
    if origin is None and type(value) is hint and hint is not float:
        return value
    if origin is Literal and isinstance(value, str) and value in arguments:
        return value
    raise UserError(f"{name} is {_shown(value)}; it must be {_description(hint)}")


def _attribute(value: Any, name: str) -> Any:
    """Checks an attribute of a module: text, a number of moderate size, or a list."""
    if isinstance(value, list | tuple):
        return tuple(_attribute(x, name) for x in value)
    if isinstance(value, str | bool) or value is None:
        return value
    if isinstance(value, int | float) and abs(value) <= LARGEST:  # not NaN either
        return value
    raise UserError(
        f"{name} is {_shown(value)}; it must be text, true, false, a number of at most "
        f"{LARGEST:,} or a list of these"
    )


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 80 else f"{text[:76]} …"


def _description(hint: Any) -> str:
    names = {
        int: "a whole number",
        float: "a number",
        str: "text",
        bool: "true or false",
    }
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return _description(arguments[0])
    if origin is Literal:
        return " or ".join(arguments)
    if origin is tuple:
        return f"a list ({_description(arguments[0])} each), e.g. [] or [a, b]"
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
    # The last part decides: optimizer.ema is as long as optimizer.lr, and unlike it.
    last = name.rpartition(".")[2]
    likeness = {
        other: (
            last == other.rpartition(".")[2],
            last == other,  # steps itself rather than selection.steps
            difflib.SequenceMatcher(None, name, other).ratio(),
        )
        for other in dict.fromkeys([*known, *_names(Config())])
        if difflib.get_close_matches(last, [other.rpartition(".")[2]])
    }
    close = MOVED.get(name) or max(likeness, key=likeness.__getitem__, default="")
    hint = f"did you mean {close}?" if close else f"known are {', '.join(known)}"
    return f"config entry {name!r} is not known; {hint}"
