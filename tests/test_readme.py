"""Tests that the README is short, that its code is the package's, and that it runs.

Commands run as they are written, on miniature corpora, with the arguments of
``REDUCED`` after them; ``ELSEWHERE`` says where the others are tested.
"""

import csv
import re
import shutil
import subprocess
import textwrap

import numpy as np
import pytest
import soundfile

from mldg_jax import cli
from mldg_jax.data.corpus import BONAFIDE, find_corpus, load_split
from tests import documents
from tests.data import small_debspoof
from tests.documents import DOCS, README, ROOT

LINES = 200
_TINY = [
    *("steps=2", "crop_samples=1600", "log_every=1", "checkpoint_every=1"),
    *("optimizer.warmup=1", "model.frontend.layers=1"),
]
_SET = [word for text in _TINY for word in ("--set", text)]
# After these commands; the last value of an option counts.
REDUCED = {
    "train": _SET,
    "compare": [*_SET, "--seeds", "0:1", "--workers", "0"],
    "corpus": ["--workers", "1"],
}
ELSEWHERE = {
    "sudo apt-get install": ".ci/fresh runs it in new Debian chroots",
    "make install": ".ci/fresh runs it in new Debian chroots",
    "source .venv/bin/activate": "changes the shell; .ci/fresh names .venv/bin",
    "pip install": "needs the network; tests/test_docs.py checks the extras",
    "mldg analyse": "takes a minute; tests/analysis/test_analyse.py runs its parts",
    "mldg demo --quick": "tests/experiments/test_quick_demo.py runs it",
    "mldg demo": "tests/experiments/test_demo.py runs it from corpus to report",
    "mldg export": "tests/exporting and tests/cli/test_cli.py export every form",
}
BLOCKS = documents.blocks(README)
SHELL = [block for block in BLOCKS if block.language in documents.SHELLS]
ROWS = [
    x for x in documents.commands(README) if x[0] == "compare" and "--resample" in x
]


@pytest.fixture(scope="module")
def home(tmp_path_factory, smoke_run):
    """A folder as the README assumes it: corpora, a run, recordings, scores, keys."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "configs").symlink_to(ROOT / "configs")
    small_debspoof.make(folder / "data", "small")
    shutil.copytree(smoke_run, folder / "runs/quick/mldg-0")
    (folder / "wav").mkdir()
    corpus = find_corpus("debspoof", "small", folder / "data")
    lines, scores, keys = [["path", "label", "attack", "speaker", "split"]], [], []
    for split in ("train", "eval"):
        rows = load_split(corpus, split)
        for i, name in enumerate(rows.utterance):
            label = "bonafide" if rows.label[i] == BONAFIDE else "spoof"
            attack = "my_tts" if rows.attack[i] == "gl_mel" else rows.attack[i]
            path = f"wav/{name}.wav"
            soundfile.write(folder / path, rows.audio[i], 16_000)
            lines.append([path, label, attack, rows.speaker[i], split])
            if split == "eval":
                keys.append(f"{name},{label}")
                scores.append(f"{name} {np.sin(i) + (label == 'bonafide')}")
    shutil.copy(folder / path, folder / "your.wav")
    with (folder / "my_table.csv").open("w", newline="") as file:
        csv.writer(file).writerows(lines)
    (folder / "keys.txt").write_text("\n".join(["utterance,label", *keys]) + "\n")
    for name in "ab":
        (folder / f"{name}.txt").write_text("\n".join(scores) + "\n")
    return folder


def run(words, home, monkeypatch):
    """Runs an ``mldg`` command of the README in ``home``, reduced.

    Args:
      words: of the command, after ``mldg``.
      home: of the fixture.
      monkeypatch: pytest's.
    """
    monkeypatch.chdir(home)
    try:
        status = cli.main([*words, *REDUCED.get(words[0], [])])
    except SystemExit as end:  # --help
        status = end.code
    assert not status, words


def test_it_is_short():
    assert README.read_text(encoding="utf-8").count("\n") <= LINES


def test_the_equations_code_is_the_modules():
    (block,) = [b.text for b in BLOCKS if b.language == "python" and "∇F(φ)" in b.text]
    source = (ROOT / "mldg_jax" / "mldg.py").read_text(encoding="utf-8")
    assert textwrap.indent(block, " " * 8) in source
    code = [x for x in block.splitlines() if x and not x.strip().startswith("#")]
    assert len(code) <= 15


@pytest.mark.parametrize("block", SHELL, ids=lambda block: f"line {block.line}")
def test_shell_blocks_run(block, home, monkeypatch):
    for words in documents.shell_lines(block.text):
        if any(" ".join(words).startswith(start) for start in ELSEWHERE):
            continue
        assert words[0] == "mldg", words
        run(words[1:], home, monkeypatch)


@pytest.mark.parametrize(
    "words", ROWS, ids=lambda words: words[words.index("--methods") + 1]
)
def test_the_command_of_a_row_prints_a_row(words, home, monkeypatch, capsys):
    run(words, home, monkeypatch)
    method = words[words.index("--methods") + 1]
    assert re.search(rf"^{method} .*\d\.\d \[", capsys.readouterr().out, re.MULTILINE)


def test_python_blocks_run(home, monkeypatch):
    monkeypatch.chdir(home)
    names = {"waveform": np.sin(np.arange(16_000)), "sample_rate": 16_000}
    ran = 0
    for block in BLOCKS:
        if block.language == "python" and "∇F(φ)" not in block.text:
            exec(compile(block.text, "README.md", "exec"), names)
            ran += 1
    assert ran == 1 and np.isfinite(
        names["detector"].score(
            **{key: names[key] for key in ("waveform", "sample_rate")}
        )
    )


def test_what_runs_elsewhere_is_there():
    lines = [" ".join(x) for b in SHELL for x in documents.shell_lines(b.text)]
    for start in ELSEWHERE:
        assert any(line.startswith(start) for line in lines), f"{start}: not in README"
    targets = [line.split()[1] for line in lines if line.startswith("make ")]
    for target in targets:
        done = subprocess.run(
            ["make", "-n", target], cwd=ROOT, capture_output=True, check=False
        )
        assert done.returncode == 0, target


def test_the_rows_are_those_of_the_whole_table():
    whole = (DOCS / "getting-started.md").read_text(encoding="utf-8")
    for line in README.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if cells and cells[-1].startswith("`mldg compare"):
            method, pooled, unseen, _ = cells
            row = rf"\| {re.escape(method)} \|[^|]*\| {re.escape(pooled)} \|"
            assert re.search(rf"{row}[^|]*\| {re.escape(unseen)} \|", whole), method
    assert len(ROWS) == 4


def test_the_packages_to_install_are_those_that_fresh_installs():
    """``.ci/fresh`` reads them from docs/install.md."""
    assert "page=docs/install.md" in (ROOT / ".ci/fresh").read_text(encoding="utf-8")
    lines = re.compile(r"^ *(sudo apt-get install .*)$", re.MULTILINE)
    (line,) = lines.findall(README.read_text(encoding="utf-8"))
    page = (DOCS / "install.md").read_text(encoding="utf-8")
    assert line == lines.findall(page)[0]
