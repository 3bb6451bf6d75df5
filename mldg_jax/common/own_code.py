"""Code of the user's own that a config names: ``PACKAGE.MODULE:NAME``.

A run's config.json holds the same text, so the run can be loaded wherever the module
can be imported. It is imported as Python imports any module, from installed packages
and PYTHONPATH; nothing is imported from a run folder, which may be somebody else's.
"""

import functools
import importlib
import importlib.util
import logging
import sysconfig
import traceback
from collections.abc import Collection
from pathlib import Path
from typing import Any

from mldg_jax.common.errors import UserError

PACKAGE = Path(__file__).resolve().parents[1]
LIBRARIES = ("jax", "jaxlib", "flax", "numpy", "optax", "einops")

log = logging.getLogger(__name__)

RUN_FILES = ("trainable.safetensors", "metrics.jsonl")  # a run folder has one of them


def is_own(kind: object) -> bool:
    """Returns True for text of the form ``PACKAGE.MODULE:NAME``.

    Args:
      kind: value of a config entry.
    """
    return isinstance(kind, str) and ":" in kind


def refusal(setting: str, kind: object, known: Collection[str]) -> UserError:
    """Returns the error for a name that is neither known nor of the user's own.

    Args:
      setting: dotted name of the config entry.
      kind: its value.
      known: the names of this package.
    """
    return UserError(
        f"{setting} is {kind!r}; it must be one of {', '.join(known)}, or code of your "
        "own as PACKAGE.MODULE:NAME"
    )


@functools.cache
def find(setting: str, kind: str) -> Any:
    """Imports what a config entry names, and logs where from.

    Args:
      setting: dotted name of the config entry, for messages.
      kind: ``PACKAGE.MODULE:NAME``.

    Returns:
      The object.

    Raises:
      UserError: it is not a valid name, its module cannot be imported or is in a run
        folder, or the module does not have it.
    """
    module_name, _, name = kind.partition(":")
    if not all(x.isidentifier() for x in [*module_name.split("."), name]):
        raise UserError(
            f"{setting} is {kind!r}; code of your own is named PACKAGE.MODULE:NAME, "
            "e.g. my_package.my_module:MyHead"
        )
    _refuse_run_folder(setting, kind, module_name.split(".")[0])
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise _broken(setting, kind, error) from error
        raise UserError(
            f"{setting} is {kind!r}, but Python finds no module {error.name!r}: "
            "install its package, or put the folder that contains it on PYTHONPATH"
        ) from None
    except Exception as error:
        raise _broken(setting, kind, error) from error
    if not hasattr(module, name):
        raise UserError(f"{setting} is {kind!r}, but {module.__file__} has no {name}")
    log.info("%s: %s of %s", setting, kind, module.__file__)
    return getattr(module, name)


def raised_at(error: BaseException) -> str:
    """Finds the line of the user's own code that an error comes from.

    Args:
      error: any error.

    Returns:
      ``" at FILE, line N"``: the innermost frame outside this package, Python and the
      libraries that call the user's code; empty if there is none.
    """
    if isinstance(error, SyntaxError) and error.filename:
        return f" at {error.filename}, line {error.lineno}"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not (frame.filename.startswith("<") or _is_library(frame.filename))
    ]
    return f" at {frames[-1].filename}, line {frames[-1].lineno}" if frames else ""


def _is_library(filename: str) -> bool:
    path = Path(filename).resolve()
    if PACKAGE in path.parents:
        return True
    if "site-packages" in path.parts:
        # An installed package of the user's own is none of these.
        after = path.parts[path.parts.index("site-packages") + 1 :]
        return after[0] in LIBRARIES
    return Path(sysconfig.get_path("stdlib")).resolve() in path.parents


def _broken(setting: str, kind: str, error: Exception) -> UserError:
    return UserError(
        f"{setting} is {kind!r}, whose module cannot be imported: "
        f"{type(error).__name__}: {error}{raised_at(error)}"
    )


def _refuse_run_folder(setting: str, kind: str, package: str) -> None:
    """Refuses a module that lies in a run folder; does not import it."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return
    places = [*(spec.submodule_search_locations or ()), spec.origin] if spec else []
    for place in map(Path, filter(None, places)):
        for folder in place.resolve().parents:
            if any((folder / name).is_file() for name in RUN_FILES):
                raise UserError(
                    f"{setting} is {kind!r}, which Python finds at {place}, in the run "
                    f"folder {folder}; code is not imported from there: move it to a "
                    "package of its own"
                )
