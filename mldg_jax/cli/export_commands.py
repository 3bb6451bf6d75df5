"""The command ``mldg export``."""

import argparse
import textwrap
from typing import Any

from mldg_jax.cli.arguments import add_command
from mldg_jax.exporting.formats import FORMATS, export_run

EXPORT = "Export a run: its adapters, its encoder or the whole detector."
EXPORT_DETAILS = """\
examples:
  mldg export runs/mldg out                    load with peft.PeftModel
  mldg export runs/mldg out --format merged    load with transformers

The command prints how to use the export; it is in out/README.md, too. The formats peft
and merged have the front-end alone: the back-end (the head) is in the run's
trainable.safetensors.
"""


def add(commands: Any) -> None:
    """Adds the command.

    Args:
      commands: subparsers of the main parser.
    """
    export = add_command(commands, "export", _export, EXPORT, EXPORT_DETAILS)
    export.add_argument("run", metavar="RUN", help="a finished run folder")
    export.add_argument("folder", metavar="FOLDER", help="where to write")
    purposes = "; ".join(f"{name}: {x.purpose}" for name, x in FORMATS.items())
    export.add_argument(
        "--format",
        choices=tuple(FORMATS),
        default="peft",
        help=f"{purposes}; default: %(default)s",
    )


def _export(arguments: argparse.Namespace) -> None:
    code = export_run(arguments.run, arguments.folder, arguments.format)
    print(f"wrote {arguments.folder}; to use it:\n\n{textwrap.indent(code, '    ')}")
