"""The formats of ``mldg export``: one entry for each, with what it is for."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mldg_jax.common import own_code
from mldg_jax.common.errors import UserError
from mldg_jax.common.files import check_folder


class Format(NamedTuple):
    """A form of export.

    Attributes:
      module: in ``mldg_jax.exporting``; imported when the format is asked for. It has
        ``export_run(run, folder, form, **options) -> str``, which returns the lines, of
        Python or of a shell, that use what it wrote.
      purpose: one line for ``--help``.
      options: names of the options that it takes.
      parts: of the model that it writes.
    """

    module: str
    purpose: str
    options: tuple[str, ...] = ()
    parts: tuple[str, ...] = ("frontend", "head")


FORMATS: Mapping[str, Format] = {
    "peft": Format(
        "front_end", "the adapters, for peft.PeftModel", parts=("frontend",)
    ),
    "merged": Format(
        "front_end",
        "the encoder with merged adapters, for transformers",
        parts=("frontend",),
    ),
    "onnx": Format(
        "onnx_detector",
        "the whole detector, for onnxruntime",
        ("quantise", "data_dir"),
    ),
    "hub": Format(
        "hub_detector",
        "a folder for a model hub: the whole detector for transformers and onnxruntime",
        ("data_dir",),
    ),
    "web": Format(
        "browser_page",
        "a page that scores recordings in the browser",
        ("single_file", "runtime", "quantise", "data_dir"),
    ),
}


def export_run(run: str | Path, folder: str | Path, form: str, **options: Any) -> str:
    """Exports a finished run.

    Args:
      run: a finished run.
      folder: where to write; created if it does not exist. An earlier export of the
        same form in it is replaced.
      form: a key of ``FORMATS``.
      **options: of the format; None for one that was not given.

    Returns:
      The lines, of Python or of a shell, that use the export.

    Raises:
      UserError: the format does not exist or does not take an option, the run does not
        exist or is not finished, or the folder cannot be written to, is a run folder or
        has a file that an export of this form did not write.
    """
    if form not in FORMATS:
        raise UserError(f"format {form!r}; it must be one of {', '.join(FORMATS)}")
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if name not in FORMATS[form].options:
            takers = [key for key, x in FORMATS.items() if name in x.options]
            raise UserError(
                f"--{name.replace('_', '-')} does not apply to --format {form}; "
                f"formats that take it: {', '.join(takers)}"
            )
    import jax  # here, because --help lists the formats

    from mldg_jax.common import run_folder

    check_folder(folder)  # before the run is loaded, which can take a while
    model = run_folder.read_config(run).model
    for part in FORMATS[form].parts:
        kind = getattr(model, part).get("kind")  # a baseline has none
        if own_code.is_own(kind):
            raise UserError(
                f"model.{part}.kind is {kind!r}, a class of your own, which --format "
                f"{form} cannot write: only the package's own parts can be exported"
            )
    if "head" in FORMATS[form].parts and model.head.get("kind") == "frame":
        raise UserError(
            f"model.head.kind is 'frame', which --format {form} cannot write: its "
            "formats have no scores of frames. --format merged exports the front-end; "
            "mldg score --segments scores frames"
        )
    module = importlib.import_module(f"mldg_jax.exporting.{FORMATS[form].module}")
    with jax.default_matmul_precision("highest"):  # merges and checks on any device
        return module.export_run(run, folder, form, **given)
