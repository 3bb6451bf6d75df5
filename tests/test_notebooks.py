"""Tests that notebooks and sources agree and that they run on small data, offline."""

import re
import subprocess
import sys

import nbformat
import pytest

from notebooks import build
from tests.data import small_debspoof

NAMES = build.names()
LARGEST = 1_500_000  # bytes; the repository keeps every version


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """Returns a working folder with both sizes of DebSpoof under data/."""
    folder = tmp_path_factory.mktemp("notebooks")
    for size in ("small", "full"):
        small_debspoof.make(folder / "data", size)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_text_and_page_are_a_pair(name):
    """After an edit of the source, run ``make notebooks``."""
    text = build.read(build.HERE / f"{name}.py")
    page = nbformat.read(build.HERE / f"{name}.ipynb", as_version=4)
    nbformat.validate(page)
    fields = ("id", "cell_type", "source", "metadata")
    assert [{k: cell[k] for k in fields} for cell in page.cells] == [
        {k: cell[k] for k in fields} for cell in text.cells
    ]
    assert page.metadata == text.metadata


@pytest.mark.parametrize("name", NAMES)
def test_page_is_one_whole_run(name):
    path = build.HERE / f"{name}.ipynb"
    cells = [x for x in nbformat.read(path, 4).cells if x.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {x.output_type for cell in cells for x in cell.outputs}
    assert "error" not in kinds and "display_data" in kinds
    assert not any(x.get("name") == "stderr" for cell in cells for x in cell.outputs)
    assert path.stat().st_size < LARGEST


@pytest.mark.parametrize("name", NAMES)
def test_sound_is_published_where_a_cell_says_so(name):
    for cell in nbformat.read(build.HERE / f"{name}.ipynb", 4).cells:
        sounds = str(cell.get("outputs", "")).count("data:audio")
        assert not sounds or build.PUBLISHED in cell.metadata["tags"]


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name):
    text = "".join(
        cell.source
        for cell in build.read(build.HERE / f"{name}.py").cells
        if cell.cell_type == "markdown"
    )
    for file in re.findall(r"\]\(((?!http)[^)#]+)", text):
        assert (build.HERE / file).exists()


@pytest.mark.parametrize("name", NAMES)
def test_it_runs_on_small_data(name, home, tmp_path):
    done = run(home, name, "--smoke", "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    page = nbformat.read(tmp_path / f"{name}.ipynb", as_version=4)
    assert [cell.source for cell in page.cells] == [
        cell.source for cell in build.read(build.HERE / f"{name}.py").cells
    ]


def test_the_documentation_says_what_a_notebook_printed():
    """Compares the largest eigenvalues of three methods."""
    cells = nbformat.read(build.HERE / "02_meta_gradient.ipynb", 4).cells
    tables = [
        output.data["text/markdown"]
        for cell in cells
        for output in cell.get("outputs", ())
        if "text/markdown" in output.get("data", {})
    ]
    (table,) = (table for table in tables if "largest eigenvalue" in table)
    rows = [line.split("|")[1:-1] for line in table.splitlines()[2:5]]
    column = [x.strip() for x in table.splitlines()[0].split("|")[1:-1]]
    cells = [row[column.index("largest eigenvalue")] for row in rows]
    erm, short, long = (round(float(cell.split("±")[0])) for cell in cells)
    text = " ".join((build.HERE.parent / "docs/analysis.md").read_text().split())
    assert f"largest eigenvalue {erm} for ERM, {short} and {long} with" in text


def test_a_cell_that_fails_is_shown_and_nothing_is_written(
    tmp_path, monkeypatch, capsys
):
    (tmp_path / "05_wrong.py").write_text("# %%\nprint('before')\n# %%\n1 / 0\n")
    assert make(tmp_path) == 1
    shown = capsys.readouterr().err
    assert "1 / 0" in shown and "ZeroDivisionError" in shown
    assert not list(tmp_path.glob("*.ipynb"))


def test_what_the_reader_can_mend_is_one_line(tmp_path, capsys):
    text = "from mldg_jax import UserError\nraise UserError('build it first')\n"
    (tmp_path / "05_wrong.py").write_text(f"# %%\n{text}")
    assert make(tmp_path) == 2
    assert capsys.readouterr().err == "05_wrong: build it first\n"


def test_the_same_run_is_the_same_file_without_private_sound(tmp_path):
    """Checks that standard error is dropped and that only published players remain."""
    player = "Audio(np.sin(np.arange(8000) / 5), rate=16000)"
    cells = [
        "import sys\nimport numpy as np\nfrom IPython.display import Audio",
        "print('out')\nprint('progress', file=sys.stderr)",
        player,
    ]
    text = "".join(f"# %%\n{cell}\n\n" for cell in cells)
    (tmp_path / "05_sound.py").write_text(
        f'{text}# %% tags=["{build.PUBLISHED}"]\n{player}\n'
    )
    assert make(tmp_path) == 0
    path = tmp_path / "05_sound.ipynb"
    first, *_ = path.read_text(), path.unlink()
    assert make(tmp_path) == 0
    assert path.read_text() == first
    cells = nbformat.reads(first, as_version=4).cells
    assert [x.name for x in cells[1].outputs] == ["stdout"]
    assert "run the notebook to listen" in cells[2].outputs[0].data["text/html"]
    assert "data:audio/mpeg;base64," in cells[3].outputs[0].data["text/html"]
    assert "data:audio/wav" not in first


def test_new_prose_keeps_the_outputs_of_the_same_code(tmp_path, capsys):
    text, path = tmp_path / "05_prose.py", tmp_path / "05_prose.ipynb"
    text.write_text("# %% [markdown]\n# old\n\n# %%\nprint(6 * 7)\n")
    assert make(tmp_path) == 0
    text.write_text(
        text.read_text().replace("old", "new") + "\n# %% [markdown]\n# end\n"
    )
    assert make(tmp_path, "--prose") == 0
    cells = nbformat.read(path, as_version=4).cells
    assert [cell.source for cell in cells] == ["new", "print(6 * 7)", "end"]
    assert cells[1].outputs[0].text == "42\n" and cells[1].execution_count == 1

    before = path.read_text()
    text.write_text(text.read_text().replace("6 * 7", "6 * 8"))
    assert make(tmp_path, "--prose") == 2
    assert "without --prose" in capsys.readouterr().err and path.read_text() == before


@pytest.mark.parametrize(
    ("arguments", "words"), [(["99_x"], "there are 01_"), (["--smoke"], "--output")]
)
def test_wrong_arguments(arguments, words, capsys):
    with pytest.raises(SystemExit) as stop:
        build.main(arguments)
    assert stop.value.code == 2
    assert words in capsys.readouterr().err


def make(folder, *options):
    """Runs the script on the sources in a folder."""
    return build.main(options, home=folder)


def run(home, *arguments):
    """Runs the script as a process in a folder with the small corpora."""
    return subprocess.run(
        [sys.executable, build.HERE / "build.py", *arguments],
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )
