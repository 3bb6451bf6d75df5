"""The commands ``mldg configs`` and ``mldg configs copy``."""

import argparse
import textwrap
from typing import Any

from mldg_jax.cli.arguments import add_command

LIST = "List the presets that --config takes, or copy one to edit it."
COPY = "Copy a preset to a file, to edit it."
COPY_DETAILS = """\
An existing file is not replaced. A file takes the same methods after the colon as the
preset.

example:
  mldg configs copy debspoof mine.py
  mldg train --config mine.py:mldg --workdir runs/mine
"""


def add(commands: Any) -> None:
    """Adds the commands.

    Args:
      commands: subparsers of the main parser.
    """
    configs = add_command(commands, "configs", _list, LIST)
    actions = configs.add_subparsers(metavar="ACTION")
    add_command(actions, "list", _list, "List the presets, as without an action.")
    copy = add_command(actions, "copy", _copy, COPY, COPY_DETAILS)
    copy.add_argument("name", metavar="NAME", help="name of the preset")
    copy.add_argument(
        "destination",
        nargs="?",
        metavar="DEST",
        help="the new file or a folder; default: my_NAME.py",
    )


def _list(arguments: argparse.Namespace) -> None:
    del arguments
    from mldg_jax.common import presets
    from mldg_jax.training.config_files import METHODS

    names = presets.names()
    width = max(map(len, names))
    for name in names:
        print(f"{name:<{width}}  {presets.summary(name)}")
    methods = f"methods, the word after the colon: {', '.join(METHODS)}; add ,smoke for"
    print("\n" + textwrap.fill(f"{methods} a run of seconds", 88))
    print(f"\nuse:   mldg train --config {names[0]}:mldg --workdir runs/mine")
    print(f"edit:  mldg configs copy {names[0]} mine.py")
    print(f"files: {presets.folder()}")


def _copy(arguments: argparse.Namespace) -> None:
    from mldg_jax.common import presets

    destination = arguments.destination or f"my_{arguments.name}.py"
    path = presets.copy(arguments.name, destination)
    print(f"wrote {path}; to use it: mldg train --config {path}:mldg --workdir RUN")
