"""Reading config files: ``path.py:argument`` and ``name=value`` overrides."""

import contextlib
import importlib.util
import logging
from collections.abc import Sequence
from pathlib import Path

import ml_collections
import yaml

from mldg_jax.common.config import Config
from mldg_jax.common.config_values import RENAMED, complete, old_names, with_values
from mldg_jax.common.errors import UserError

_log = logging.getLogger(__name__)

METHODS = ("frozen", "erm", "control", "mldg", "mldg2", "full")


def read_config_file(reference: str, overrides: Sequence[str] = ()) -> Config:
    """Returns the complete config that a config file and overrides make.

    Args:
      reference: ``"configs/debspoof.py:mldg"``; the part after the colon is the
        argument of ``get_config``.
      overrides: such as ``"optimizer.lr=1e-3"``; values are YAML.

    Raises:
      UserError: no such file, a wrong argument, an unknown name, or a value of the
        wrong type.
    """
    try:
        values = dict(_override(text) for text in overrides)
        nested = read(reference).to_dict()
        for old in old_names(nested, values):
            _log.warning(
                "config %s: %s is called %s now; the next release will not know the "
                "old name",
                *(reference, old, RENAMED[old]),
            )
        config = complete(nested)
        return with_values(config, values) if values else config
    except (ValueError, UserError) as error:
        raise UserError(f"config {reference}: {error}") from None


def read(reference: str) -> ml_collections.ConfigDict:
    """Returns what ``get_config`` of a config file says, for one that builds on it.

    Args:
      reference: see ``read_config_file``.

    Raises:
      UserError: no such file, or a wrong argument.
    """
    path, _, argument = reference.partition(":")
    if not Path(path).is_file():
        raise UserError(
            f"there is no config file {path}; the project's are in configs/, e.g. "
            "configs/debspoof.py:mldg"
        )
    spec = importlib.util.spec_from_file_location("mldg_config", path)
    if spec is None or spec.loader is None:
        raise UserError(f"the config file {path} is not a Python file (.py)")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    try:
        return module.get_config(argument) if argument else module.get_config()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"config {reference}: {error}") from None


def method_of(argument: str) -> tuple[str, bool]:
    """Parses the argument of a ``get_config``, such as ``"mldg"`` or ``"erm,smoke"``.

    Returns:
      One of ``METHODS``, by default mldg, and whether ``smoke`` is there.

    Raises:
      ValueError: another word, or two methods.
    """
    words = argument.split(",")
    method, *others = [word for word in words if word != "smoke"] or ["mldg"]
    if method not in METHODS or others:
        known = ", ".join(METHODS)
        raise ValueError(f"{argument!r}: the methods are {known}; the extra is smoke")
    return method, "smoke" in words


def _override(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise ValueError(f"override {text!r} is not of the form name=value")
    return name, value_of(value)


def value_of(text: str) -> object:
    """Returns what the text of an override stands for: YAML, numbers such as 1e-3."""
    return _with_numbers(yaml.safe_load(text) if text else "")


def _with_numbers(parsed: object) -> object:
    """YAML's value, in which 1e-3 is a number (YAML wants 1.0e-3) and lists tuples."""
    if isinstance(parsed, list):
        return tuple(_with_numbers(item) for item in parsed)
    if isinstance(parsed, str):
        with contextlib.suppress(ValueError):
            return float(parsed)
    return parsed
