"""Tests that the pages of docs/ hang together and that their code is the package's.

``make docs`` builds them with warnings as errors; here are the quick checks. Commands
are parsed by the real parser; ``tests/test_readme.py`` runs those of the README.
"""

import ast
import configparser
import re
import runpy
import sys
import textwrap

import jax
import numpy as np
import pytest

from mldg_jax import cli
from tests import documents
from tests.documents import DOCS, PAGES, README, ROOT

EVERY = [README, ROOT / "CONTRIBUTING.md", *PAGES]
NAMES = [str(path.relative_to(ROOT)) for path in EVERY]
pages = pytest.mark.parametrize("page", EVERY, ids=NAMES)


@pages
def test_links_lead_to_a_file_and_a_heading(page):
    for path, heading in documents.links(page):
        target = (page.parent / path).resolve() if path else page
        assert target.is_file(), path
        if heading and target.suffix == ".md":
            assert heading in documents.headings(target), f"{path}#{heading}"


def test_every_page_is_in_a_table_of_contents():
    listed = {"index"}
    for page in PAGES:
        folder = page.parent.relative_to(DOCS)
        for block in documents.blocks(page):
            if block.language == "{toctree}":
                for line in block.text.splitlines():
                    if line and not line.startswith(":"):
                        name = line.split("<")[-1].rstrip(">")
                        listed.add(str(folder / name))
    there = {str(page.relative_to(DOCS).with_suffix("")) for page in PAGES}
    there |= {f"notebooks/{x.stem}" for x in ROOT.glob("notebooks/*.ipynb")}
    missing = listed - there
    assert not missing
    assert not there - listed


def test_the_map_names_every_page_of_the_first_level():
    linked = {path for path, _ in documents.links(DOCS / "index.md")}
    (index,) = [page for page in PAGES if page == DOCS / "index.md"]
    listed = re.findall(
        r"^(?:.*<)?([\w/-]+)>?$", index.read_text(encoding="utf-8"), re.M
    )
    pages = {f"{name}.md" for name in listed} - {"score-files.md", "debspoof.md"}
    assert pages <= linked


@pages
def test_commands_parse(page, capsys):
    for words in documents.commands(page):
        if any("…" in word for word in words):  # a part of a command, in prose
            continue
        try:
            cli.make_parser().parse_args(words)
        except SystemExit as end:
            shown = capsys.readouterr().err
            assert not end.code or _is_prose(words), f"{words}\n{shown}"


def _is_prose(words):
    """Tells whether these words name a command or an option, as ``mldg score``."""
    options = [word for word in words if word.startswith("-")]
    return len(words) - len(options) <= 2 and len(words) <= 3


@pages
def test_one_dialect_for_commands(page):
    for block in documents.blocks(page):
        assert ".venv/bin/mldg" not in block.text, block.line


@pages
def test_make_targets_and_extras_exist(page):
    text = page.read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"(?:`|^)make ([a-z-]+)(?:`|$)", text, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extras = setup["options.extras_require"]
    for names in re.findall(r"(?:mldg_jax|\.)\[([\w,-]+)\]'", text):
        assert set(names.split(",")) <= set(extras), names


@pages
def test_configs_named_in_commands_exist(page):
    for words in documents.commands(page):
        for word in words:
            if word.startswith("configs/"):
                assert (ROOT / word.partition(":")[0]).exists(), word


@pages
def test_python_blocks_compile(page):
    for block in documents.blocks(page):
        if block.language == "python":
            compile(block.text, f"{page.name}:{block.line}", "exec", ast.PyCF_ONLY_AST)


def test_the_split_works_on_a_model_that_is_not_ours():
    (block,) = [
        x for x in documents.blocks(DOCS / "method.md") if "nn.Sequential" in x.text
    ]
    names: dict = {}
    exec(compile(block.text, "method.md", "exec"), names)
    shapes = jax.tree.map(lambda x: x.shape, names["meta_gradient"])
    assert shapes["layers_0"] == {"lora_a": (16, 4), "lora_b": (4, 64)}
    assert float(abs(names["meta_gradient"]["layers_2"]["lora_b"]).max()) > 0


def test_the_method_shows_the_code_of_the_readme():
    (block,) = [
        x
        for x in documents.blocks(DOCS / "method.md")
        if x.language.startswith("{literalinclude}")
    ]
    options = dict(re.findall(r"^:([\w-]+): (.*)$", block.text, re.MULTILINE))
    source = (ROOT / "mldg_jax" / "mldg.py").read_text(encoding="utf-8")
    start, end = source.index(options["start-at"]), source.index(options["end-at"])
    shown = source[start : end + len(options["end-at"])]
    (code,) = [
        x.text
        for x in documents.blocks(README)
        if "∇F(φ)" in x.text and "for" in x.text and x.language == "python"
    ]
    indent = " " * int(options["dedent"])
    assert textwrap.dedent(indent + shown) == code.rstrip()


def test_scoring_from_python_runs(smoke_run, tmp_path, monkeypatch):
    (block,) = [
        x for x in documents.blocks(DOCS / "scoring.md") if x.language == "python"
    ]
    (tmp_path / "runs/quick").mkdir(parents=True)
    (tmp_path / "runs/quick/mldg-0").symlink_to(smoke_run)
    monkeypatch.chdir(tmp_path)
    names = {"waveform": np.sin(np.arange(16_000)), "sample_rate": 16_000}
    exec(compile(block.text, "scoring.md", "exec"), names)
    assert np.isfinite(names["detector"].score(names["waveform"], 16_000))


def test_the_table_of_your_data_is_a_manifest(tmp_path):
    from mldg_jax.data.corpora import manifest

    (block,) = [
        x for x in documents.blocks(DOCS / "your-data.md") if "path,label" in x.text
    ]
    (tmp_path / "my_table.csv").write_text(block.text)
    listing = manifest.scan(tmp_path / "my_table.csv")
    assert not listing.problems and len(listing.missing) == 3  # no recordings here


def test_the_site_s_links_between_docs_and_notebooks(monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])  # conf.py adds to it
    change = runpy.run_path(str(DOCS / "conf.py"))["_relocate"]
    for name, before, after in (
        ("analysis", "[a](../notebooks/01.ipynb)", "[a](notebooks/01.ipynb)"),
        ("notebooks/01", "[a](../docs/training.md)", "[a](../training.md)"),
        ("notebooks/01", "[a](../configs/xlsr.py)", "[a](../../configs/xlsr.py)"),
        ("notebooks/01", "[a](04_your_attacks.ipynb)", "[a](04_your_attacks.ipynb)"),
    ):
        source = [before]
        change(None, name, source)
        assert source == [after]
