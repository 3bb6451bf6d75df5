"""The command ``mldg export``."""

import argparse
import textwrap
from typing import Any

from mldg_jax.cli.arguments import add_command, add_data_dir
from mldg_jax.exporting.formats import FORMATS, export_run

EXPORT = "Export a run: its adapters, its encoder or the whole detector."
EXPORT_DETAILS = """\
examples:
  mldg export runs/mldg out                    load with peft.PeftModel
  mldg export runs/mldg out --format merged    load with transformers
  mldg export runs/mldg out --format onnx      load with onnxruntime

The command prints how to use the export; it is in out/README.md, too. The formats peft
and merged have the front-end alone: the back-end (the head) is in the run's
trainable.safetensors. The format onnx has the whole detector, with its calibration; it
is written only if its scores equal those of mldg score.
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
    export.add_argument(
        "--quantise",
        choices=("int8", "fp16"),
        help="of --format onnx: smaller weights; prints how much scores change",
    )
    add_data_dir(export)


def _export(arguments: argparse.Namespace) -> None:
    form, options = arguments.format, {"quantise": arguments.quantise}
    if "data_dir" in FORMATS[form].options:
        options["data_dir"] = arguments.data_dir
    code = export_run(arguments.run, arguments.folder, form, **options)
    print(f"wrote {arguments.folder}; to use it:\n\n{textwrap.indent(code, '    ')}")
