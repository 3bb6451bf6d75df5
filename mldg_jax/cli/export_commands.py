"""The commands ``mldg export`` and ``mldg serve``."""

import argparse
import textwrap
import webbrowser
from typing import Any

from mldg_jax.cli.arguments import add_command, add_data_dir
from mldg_jax.exporting.formats import FORMATS, export_run

EXPORT = "Export a run: its adapters, its encoder or the whole detector."
EXPORT_DETAILS = """\
examples:
  mldg export runs/mldg out                    load with peft.PeftModel
  mldg export runs/mldg out --format merged    load with transformers
  mldg export runs/mldg out --format onnx      load with onnxruntime
  mldg export runs/mldg out --format hub       publish, or mldg_jax.load("out")
  mldg export runs/mldg out --format web       a page for any web server
  mldg export runs/mldg page.html --format web --single-file

The command prints how to use the export; it is in out/README.md, too. The formats peft
and merged have the front-end alone: the back-end (the head) is in the run's
trainable.safetensors. The others have the whole detector, with its calibration. An ONNX
model is written only if its scores equal those of mldg score, and so is a page, which
runs it in the browser with onnxruntime-web. That is fetched from the npm registry once
(33 MB, checksums compared) and kept in ~/.cache/mldg_jax.
"""
SERVE = "Open a run as a page in the browser, on this machine."
SERVE_DETAILS = """\
examples:
  mldg serve runs/mldg
  mldg serve runs/mldg --port 8080 --no-open

Drop a recording on the page, or record one: it is scored in the browser. Only browsers
of this machine can open the page; Ctrl-C ends it. To publish it, see `mldg export
--format web`.
"""
_RUNTIME = (
    "the tarball or folder of onnxruntime-web, for a machine without a network; "
    "default: fetched once from the npm registry (npm_config_registry)"
)


def add(commands: Any) -> None:
    """Adds the command.

    Args:
      commands: subparsers of the main parser.
    """
    export = add_command(commands, "export", _export, EXPORT, EXPORT_DETAILS)
    export.add_argument("run", metavar="RUN", help="a finished run folder")
    export.add_argument(
        "folder",
        metavar="FOLDER",
        help="where to write; the HTML file with --single-file",
    )
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
        help="of --format onnx and web: smaller weights; prints how much scores change",
    )
    export.add_argument(
        "--single-file",
        action="store_const",
        const=True,
        help="of --format web: one HTML file, which opens from disk",
    )
    export.add_argument(
        "--runtime", metavar="PATH", help=f"of --format web: {_RUNTIME}"
    )
    add_data_dir(export)
    serve = add_command(commands, "serve", _serve, SERVE, SERVE_DETAILS)
    serve.add_argument(
        "run",
        metavar="RUN",
        help="a finished run folder, or the folder of an exported page",
    )
    serve.add_argument(
        "--port",
        type=int,
        default=8000,
        help="of 127.0.0.1; 0: any free one; default: %(default)s",
    )
    serve.add_argument("--no-open", action="store_true", help="do not open the browser")
    serve.add_argument("--runtime", metavar="PATH", help=_RUNTIME)


def _export(arguments: argparse.Namespace) -> None:
    form = arguments.format
    names = ("quantise", "single_file", "runtime")
    options = {name: getattr(arguments, name) for name in names}
    if "data_dir" in FORMATS[form].options:
        options["data_dir"] = arguments.data_dir
    code = export_run(arguments.run, arguments.folder, form, **options)
    print(f"wrote {arguments.folder}; to use it:\n\n{textwrap.indent(code, '    ')}")


def _serve(arguments: argparse.Namespace) -> None:
    from mldg_jax.exporting.page_server import serve_run

    def opened(address: str) -> None:
        print(f"{arguments.run} is at {address} for this machine; Ctrl-C ends it")
        if not arguments.no_open:
            webbrowser.open(address)

    serve_run(arguments.run, arguments.port, runtime=arguments.runtime, opened=opened)
