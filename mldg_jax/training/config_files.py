"""Reads config files and presets, ``path.py:argument`` or ``preset:argument``.

Values are overridden with ``name=value``.
"""

import contextlib
import importlib.util
import logging
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ml_collections
import yaml

from mldg_jax.common import presets
from mldg_jax.common.config import Config
from mldg_jax.common.config_values import (
    RENAMED,
    complete,
    dropped_attributes,
    flat_config,
    old_names,
    with_values,
)
from mldg_jax.common.errors import UserError

_log = logging.getLogger(__name__)

METHODS = (
    *("frozen", "erm", "control", "mldg", "mldg2", "full"),
    # each with the objective of its name, see ``mldg_jax.objectives``
    *("sam", "sagm", "coral", "mmd", "vrex", "irm", "group_dro", "fish", "fishr"),
    "mixup",
)
PLAIN = METHODS[METHODS.index("sam") :]
"""Methods that are the objective of their name with its defaults."""


def read_config_file(reference: str, overrides: Sequence[str] = ()) -> Config:
    """Reads a config file and applies overrides and defaults.

    Args:
      reference: file or preset, and method, e.g. ``"my_config.py:mldg"`` or
        ``"debspoof:mldg"``; the part after the colon is passed to the file's
        ``get_config``.
      overrides: assignments with YAML values, e.g. ``"optimizer.lr=1e-3"``.

    Returns:
      The complete config. A new kind of front-end or head has only the attributes that
      the overrides set; the log names the others.

    Raises:
      UserError: a missing file, an argument that ``get_config`` refuses, an unknown
        name, or a value of the wrong type.
    """
    try:
        values = dict(_override(text) for text in overrides)
        nested = read(reference).to_dict()
        for old in old_names(nested, values):
            _log.warning(
                "config %s: %s is now called %s; the next release will not accept the "
                "old name",
                *(reference, old, RENAMED[old]),
            )
        config = complete(nested)
        _report_dropped(reference, config, values)
        return with_values(config, values) if values else config
    except (ValueError, UserError) as error:
        raise _about(reference, error) from None


def _report_dropped(reference: str, config: Config, values: dict[str, Any]) -> None:
    """Logs which attributes of the config file are not those of another kind."""
    dropped = dropped_attributes(config, values)
    if dropped:
        flat = flat_config(config)
        _log.info(
            "config %s: dropped %s, chosen for another kind: the defaults of the "
            "new one apply unless you set them",
            *(reference, ", ".join(f"{name}={flat[name]}" for name in dropped)),
        )


def _about(reference: str, error: Exception) -> UserError:
    """Returns an error that names the config, once."""
    prefix = f"config {reference}: "
    return UserError(prefix + str(error).removeprefix(prefix))


def read(reference: str) -> ml_collections.ConfigDict:
    """Calls ``get_config`` of a config file, for config files that build on another.

    Args:
      reference: see ``read_config_file``.

    Returns:
      The file's own values, without defaults.

    Raises:
      UserError: a missing file, or an argument that ``get_config`` refuses.
    """
    name, _, argument = reference.partition(":")
    path = str(_find(name))
    spec = importlib.util.spec_from_file_location("mldg_config", path)
    if spec is None or spec.loader is None:
        raise UserError(f"the config file {path} is not a Python file (.py)")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        config = module.get_config(argument) if argument else module.get_config()
    except (UserError, ValueError) as error:  # what ``method_of`` says, for one
        raise _about(reference, error) from None
    except (Exception, SystemExit) as error:
        raise UserError(f"config {reference}: {_described(error, path)}") from None
    if not isinstance(config, ml_collections.ConfigDict):
        raise UserError(
            f"config {reference}: get_config returned {type(config).__name__}; it must "
            "be an ml_collections.ConfigDict"
        )
    return config


def _find(name: str) -> Path:
    """Finds a config file: a path, or else the name of a preset.

    Raises ``UserError`` if there is neither.
    """
    preset = presets.find(name)
    if preset is None:
        if not Path(name).is_file():
            raise UserError(presets.unknown(name))
        return Path(name)
    clash = next((x for x in (name, f"{name}.py") if Path(x).is_file()), None)
    if clash and not preset.samefile(clash):
        _log.warning(
            "config %s: this is the preset, not the file %s in this folder; for the "
            "file, write ./%s",
            *(name, clash, clash),
        )
    return preset


def _described(error: BaseException, path: str) -> str:
    """Returns what a config file raised, with the line of the file."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == path]
    line = error.lineno if isinstance(error, SyntaxError) else (lines or [None])[-1]
    where = f"line {line}: " if line else ""
    return f"{where}{type(error).__name__}: {error}"


def method_of(argument: str) -> tuple[str, bool]:
    """Parses the argument of a config file's ``get_config``.

    Args:
      argument: comma-separated words, e.g. ``"mldg"`` or ``"erm,smoke"``.

    Returns:
      One of ``METHODS`` (mldg if none is given), and whether ``smoke`` is given.

    Raises:
      ValueError: an unknown word, or two methods.
    """
    words = argument.split(",")
    method, *others = [word for word in words if word != "smoke"] or ["mldg"]
    if method not in METHODS or others:
        known = ", ".join(METHODS)
        raise ValueError(
            f"{argument!r}: give one of the methods {known}; add ',smoke' for a run of "
            "seconds"
        )
    return method, "smoke" in words


def _override(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise ValueError(f"override {text!r} is not of the form name=value")
    return name, value_of(value)


def varied(text: str) -> tuple[str, list[Any]]:
    """Parses values to try.

    Args:
      text: ``NAME=V1,V2,…``, values as in an override.

    Returns:
      The dotted name and its values.

    Raises:
      UserError: the text does not have this form.
    """
    name, equals, values = text.partition("=")
    if not equals:
        raise UserError(f"--vary {text}: give NAME=V,…, e.g. objective.beta=0.5,1,2")
    return name, [value_of(value) for value in values.split(",")]


def value_of(text: str) -> object:
    """Parses the value of an override.

    Args:
      text: YAML; numbers like 1e-3 are accepted too.

    Returns:
      The value, with lists as tuples; "" for an empty text.

    Raises:
      ValueError: the text is not YAML, or asks for a Python object.
    """
    try:
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise ValueError("it has an alias (*name)")
        return _with_numbers(yaml.safe_load(text) if text else "")
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        reason = getattr(error, "problem", None) or str(error)
        raise ValueError(f"{text[:60]!r} is not a value in YAML: {reason}") from None


def _with_numbers(parsed: object) -> object:
    """Converts 1e-3, a string in YAML (which wants 1.0e-3), and lists to tuples."""
    if isinstance(parsed, list):
        return tuple(_with_numbers(item) for item in parsed)
    if isinstance(parsed, str):
        with contextlib.suppress(ValueError):
            return float(parsed)
    return parsed
