"""The config files that come with the package: ``debspoof`` for configs/debspoof.py.

Their home is the folder ``configs/`` of the source tree. A wheel has a copy of it as
``mldg_jax/presets`` (see setup.py); in a checkout, installed or not, the folder itself
is read.
"""

import ast
from pathlib import Path

from mldg_jax.common.errors import UserError
from mldg_jax.common.files import check_output, write_text

_PACKAGE = Path(__file__).parents[1]


def folder() -> Path:
    """Returns the folder of the presets, in a checkout or an installed wheel."""
    checkout = _PACKAGE.parent / "configs"
    # site-packages may have a "configs" of another package beside this one
    in_checkout = (_PACKAGE.parent / "setup.cfg").is_file() and checkout.is_dir()
    return checkout if in_checkout else _PACKAGE / "presets"


def names() -> list[str]:
    """Lists the presets.

    Returns:
      Names without ".py", sorted.
    """
    return sorted(
        path.stem for path in folder().glob("*.py") if not path.stem.startswith("_")
    )


def find(name: str) -> Path | None:
    """Finds the file of a preset.

    Args:
      name: e.g. "debspoof".

    Returns:
      The file, or None if no preset has this name.
    """
    return folder() / f"{name}.py" if name in names() else None


def summary(name: str) -> str:
    """Returns the first line of a preset's docstring.

    Args:
      name: of an existing preset.
    """
    tree = ast.parse((folder() / f"{name}.py").read_text("utf-8"))
    return (ast.get_docstring(tree) or "").partition("\n")[0]


def copy(name: str, destination: str | Path) -> Path:
    """Copies a preset, to be edited.

    Args:
      name: of the preset.
      destination: the new file, or an existing folder for it.

    Returns:
      The new file.

    Raises:
      UserError: there is no such preset, the file exists or cannot be written, or its
        name does not end in .py.
    """
    source = find(name)
    if source is None:
        raise UserError(unknown(name))
    target = Path(destination)
    if target.is_dir():
        target /= source.name
    if target.suffix != ".py":
        raise UserError(f"{target}: the name of a config file must end in .py")
    check_output(target)
    if target.exists():
        raise UserError(
            f"{target} exists and is not replaced: delete it, or give another name, "
            f"e.g. mldg configs copy {name} my_{name}.py"
        )
    write_text(target, source.read_text("utf-8"))
    return target


def unknown(name: str) -> str:
    """Returns the message for a name that is neither a file nor a preset.

    Args:
      name: what the user gave, without the method.
    """
    example = Path(name).stem if find(Path(name).stem) else "debspoof"
    return (
        f"there is no config file or preset {name!r}; the presets are "
        f"{', '.join(names())}, as in --config {example}:mldg; to edit one: mldg "
        f"configs copy {example} my_config.py"
    )
