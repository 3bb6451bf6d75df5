"""Builds the notebooks: executes NAME.py and writes NAME.ipynb with the outputs.

    python notebooks/build.py [NAME…] [--smoke] [--prose] [--output FOLDER]

The same source and outputs always give the same file: it contains no times or paths,
and cells are numbered. Standard error (progress bars) is dropped. Audio players are
kept, as MP3, only in cells that begin with ``# %% tags=["publish-audio"]``: utterances
keep the licences of their sources, and not all of them may be copied.
"""

import argparse
import base64
import io
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import jupytext
import nbformat
import soundfile
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from mldg_jax.common.errors import UserError
from mldg_jax.common.files import replacing

HERE = Path(__file__).resolve().parent
TIMEOUT = 3600  # seconds a cell may take
PUBLISHED = "publish-audio"
PLAYER = re.compile(r"<audio.*?</audio>", re.DOTALL)
WAV = re.compile(r"data:audio/(?:x-)?wav;base64,([A-Za-z0-9+/=]+)")


def names(home: Path = HERE) -> list[str]:
    """Returns the sorted names of the notebooks in a folder.

    Args:
      home: the folder with the ``NN_*.py`` files.
    """
    return sorted(path.stem for path in home.glob("[0-9][0-9]_*.py"))


def read(text: Path) -> nbformat.NotebookNode:
    """Reads a notebook from its source file.

    Args:
      text: a ``.py`` file in jupytext's percent format.

    Returns:
      The notebook, with numbered cells and without outputs.
    """
    notebook = jupytext.read(text, fmt="py:percent")
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {
                "name": "python3",
                "display_name": "Python 3",
                "language": "python",
            },
            "language_info": {"name": "python"},
        }
    )
    for number, cell in enumerate(notebook.cells, 1):
        cell.id = f"cell-{number:02d}"
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def execute(notebook: nbformat.NotebookNode, *, smoke: bool) -> None:
    """Executes the cells of a notebook in the current folder, with this interpreter.

    Args:
      notebook: its cells get outputs and execution counts.
      smoke: sets ``MLDG_SMOKE`` for the cells: seconds instead of minutes.

    Raises:
      CellExecutionError: a cell fails.
    """
    metadata = notebook.metadata.copy()
    with tempfile.TemporaryDirectory() as own:
        # the user's own profile and kernels must not change the outputs
        settings = {name: own for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR")}
        # this repository's package takes precedence over an installed one
        path = [str(HERE.parent), os.environ.get("PYTHONPATH", "")]
        settings["PYTHONPATH"] = os.pathsep.join(filter(None, path))
        settings["MLDG_SMOKE"] = "1" if smoke else ""
        manager = AsyncKernelManager(
            kernel_name="python3",
            kernel_spec_manager=KernelSpecManager(kernel_dirs=[]),
            connection_file=f"{own}/kernel.json",
            transport="ipc",
            ip=f"{own}/kernel",
        )
        client = NotebookClient(
            notebook,
            km=manager,
            timeout=TIMEOUT,
            record_timing=False,
            resources={"metadata": {"path": str(Path.cwd())}},
        )
        client.execute(
            cleanup_kc=True,
            env={**os.environ, **settings},
            # only the kernel's complaints at shutdown, not the output of cells
            stderr=subprocess.DEVNULL,
        )
    notebook.metadata = metadata  # the kernel added its version


def tidy(notebook: nbformat.NotebookNode) -> None:
    """Drops standard error and audio players that may not be published.

    Args:
      notebook: executed; its outputs are changed in place.
    """
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        keep = PUBLISHED in cell.metadata.get("tags", ())
        cell.outputs = [x for x in cell.outputs if x.get("name") != "stderr"]
        for output in cell.outputs:
            data = output.get("data", {})
            if "text/html" in data:
                change = _as_mp3 if keep else _silenced
                data["text/html"] = PLAYER.sub(change, data["text/html"])


def _silenced(player: re.Match) -> str:
    return "<em>(run the notebook to listen)</em>"


def _as_mp3(player: re.Match) -> str:
    source = WAV.search(player[0])
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(source[1])))
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="MP3")
    uri = "data:audio/mpeg;base64," + base64.b64encode(file.getvalue()).decode()
    return f'<audio controls src="{uri}"></audio>'


def reuse(notebook: nbformat.NotebookNode, page: Path) -> None:
    """Copies the outputs of a page to the code cells of a notebook.

    Args:
      notebook: its code cells get outputs and execution counts.
      page: the ``.ipynb`` with the outputs.

    Raises:
      UserError: the page does not exist, or its code differs from the notebook's.
    """
    old = nbformat.read(page, as_version=4).cells if page.exists() else []
    old_code, new_code = (
        [cell for cell in cells if cell.cell_type == "code"]
        for cells in (old, notebook.cells)
    )
    if [cell.source for cell in old_code] != [cell.source for cell in new_code]:
        raise UserError(
            f"{page}: its code differs from the source file; run without --prose"
        )
    for new, executed in zip(new_code, old_code, strict=True):
        new.outputs, new.execution_count = executed.outputs, executed.execution_count


def make(text: Path, folder: Path, *, smoke: bool, prose: bool = False) -> Path:
    """Builds one notebook; the file is written atomically.

    Args:
      text: the source, a ``.py`` file.
      folder: where to write the ``.ipynb``.
      smoke: run on small data, in seconds.
      prose: keep the outputs of the existing ``.ipynb`` instead of executing the cells.

    Returns:
      The path of the notebook.

    Raises:
      CellExecutionError: a cell fails.
      UserError: with ``prose``, the code differs from that of the existing notebook.
    """
    notebook = read(text)
    path = folder / f"{text.stem}.ipynb"
    if prose:
        reuse(notebook, path)
    else:
        execute(notebook, smoke=smoke)
        tidy(notebook)
    nbformat.validate(notebook)
    with replacing(path) as part:
        part.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
    return path


def main(arguments: Sequence[str] | None = None, home: Path = HERE) -> int:
    """Builds the notebooks of a folder.

    Args:
      arguments: of the command line; default: ``sys.argv``.
      home: the folder with the source files.

    Returns:
      The exit status: 0, 1 if a cell failed, 2 if the user can fix the error.
    """
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    parser.add_argument(
        "--smoke", action="store_true", help="seconds instead of minutes; for tests"
    )
    parser.add_argument(
        "--output", type=Path, help="folder for the .ipynb; default: that of the .py"
    )
    parser.add_argument(
        "--prose", action="store_true", help="only the prose changed: keep the outputs"
    )
    given = parser.parse_args(arguments)
    available = names(home)
    unknown = sorted(set(given.names) - set(available))
    if unknown:
        parser.error(f"no notebook {unknown[0]!r}: there are {', '.join(available)}")
    if given.smoke and given.output is None:
        parser.error(
            "--smoke needs --output: it must not overwrite notebooks of real runs"
        )
    for name in given.names or available:
        print(f"{name}: running", flush=True)
        try:
            folder = given.output or home
            path = make(
                home / f"{name}.py", folder, smoke=given.smoke, prose=given.prose
            )
            print(path, flush=True)
        except UserError as error:
            print(error, file=sys.stderr)
            return 2
        except CellExecutionError as error:
            if error.ename == "UserError":
                print(f"{name}: {error.evalue}", file=sys.stderr)
                return 2
            print(f"{name}: a cell failed\n{error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
