"""Makes notebooks: NAME.py, text, is executed and becomes NAME.ipynb with its outputs.

    python notebooks/build.py [NAME…] [--smoke] [--prose] [--output FOLDER]

The same text and the same outputs give the same file: no times, no paths, cells
numbered; what a cell writes to standard error (progress bars) is left out. Players of
sound are kept, as MP3, only in cells that begin with ``# %% tags=["publish-audio"]``:
clips keep their sources' licences, and not all may be copied.
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
    """The notebooks of a folder, in their order."""
    return sorted(path.stem for path in home.glob("[0-9][0-9]_*.py"))


def read(text: Path) -> nbformat.NotebookNode:
    """The notebook of a text: its cells, numbered, without outputs."""
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
    """Runs the cells in the current folder, with this interpreter.

    Raises:
      CellExecutionError: a cell fails.
    """
    metadata = notebook.metadata.copy()
    with tempfile.TemporaryDirectory() as own:
        # the reader's own profile and kernels must not change what comes out
        settings = {name: own for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR")}
        # this repository's package, also where another one is installed
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
            # not of the cells: what the kernel complains about when it is ended
            stderr=subprocess.DEVNULL,
        )
    notebook.metadata = metadata  # the kernel added its version


def tidy(notebook: nbformat.NotebookNode) -> None:
    """Drops what is written to standard error and players that may not be copied."""
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
    """Gives code cells the outputs that they have in a page.

    Raises:
      UserError: there is no page, or its code is not that of the notebook.
    """
    old = nbformat.read(page, as_version=4).cells if page.exists() else []
    made, new = (
        [cell for cell in cells if cell.cell_type == "code"]
        for cells in (old, notebook.cells)
    )
    if [cell.source for cell in made] != [cell.source for cell in new]:
        raise UserError(f"{page}: not made of this code; run it without --prose")
    for cell, its in zip(new, made, strict=True):
        cell.outputs, cell.execution_count = its.outputs, its.execution_count


def make(text: Path, folder: Path, *, smoke: bool, prose: bool = False) -> Path:
    """Executes one notebook and writes it, whole or not at all."""
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
    """Makes the notebooks of a folder.

    Returns:
      The exit status: 0, 1 if a cell failed, 2 if the user can mend it.
    """
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    parser.add_argument(
        "--smoke", action="store_true", help="seconds instead of minutes; for tests"
    )
    parser.add_argument(
        "--output", type=Path, help="where the .ipynb go; default: beside the .py"
    )
    parser.add_argument(
        "--prose", action="store_true", help="only the prose is new: keep the outputs"
    )
    given = parser.parse_args(arguments)
    there = names(home)
    unknown = sorted(set(given.names) - set(there))
    if unknown:
        parser.error(f"no notebook {unknown[0]!r}: there are {', '.join(there)}")
    if given.smoke and given.output is None:
        parser.error(
            "--smoke needs --output: beside the .py are notebooks of real runs"
        )
    for name in given.names or there:
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
