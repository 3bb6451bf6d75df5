"""Builds give the same corpus in parallel, after a kill, and with Beam."""

import importlib.util
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mldg_jax import cli
from mldg_jax.common.errors import UserError
from mldg_jax.data.corpora import official, prepare, shards
from mldg_jax.data.corpus import load_split
from tests.data import miniatures

BUILD = """
import sys, time
from mldg_jax.data import audio
from mldg_jax.data.corpora import prepare

source, data, pause = sys.argv[1:4]
read = audio.clip

def slowly(path):
    time.sleep(float(pause))
    return read(path)

audio.clip = slowly
folder, _ = prepare.build(
    "asvspoof5", source, data, workers=1, shard_rows=2, allow_incomplete=True,
    progress=False,
)
"""


@pytest.fixture
def mini(tmp_path):
    return miniatures.asvspoof5(tmp_path / "source")


def build(mini, data, **options):
    """Builds the miniature in shards of two records."""
    defaults = {"workers": 1, "allow_incomplete": True, "progress": False}
    options = {"shard_rows": 2, **defaults, **options}
    return prepare.build("asvspoof5", mini.source, data, **options)[0]


def contents(folder: Path) -> dict[str, bytes]:
    """Returns the bytes of all files but TFDS's info, which includes a date."""
    paths = (p for p in folder.iterdir() if p.name != "dataset_info.json")
    return {path.name: path.read_bytes() for path in paths}


def run(program: str, *arguments, **options) -> subprocess.Popen:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    root = Path(__file__).parents[3]
    return subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE, **options)


def test_killed_and_resumed_is_the_same(mini, tmp_path):
    """After kill -9 of a real process, existing shards are kept and not rewritten."""
    whole = contents(build(mini, tmp_path / "whole"))
    data = tmp_path / "data"
    process = run(BUILD, mini.source, data, 0.3)
    home = data / "build/asvspoof5.shards"
    while len(list(home.glob("*-of-0000?"))) < 3 and process.poll() is None:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    made = {path.name: path.stat().st_mtime_ns for path in home.glob("*-of-0000?")}
    assert 3 <= len(made) < 9 and not (data / "asvspoof5/1.0.0").exists()
    folder = build(mini, data)
    for name, written in made.items():
        assert (folder / name).stat().st_mtime_ns == written
    assert contents(folder) == whole
    assert not home.exists()


def test_workers_do_not_change_the_result(mini, tmp_path):
    alone = contents(build(mini, tmp_path / "alone"))
    assert contents(build(mini, tmp_path / "together", workers=2)) == alone


def test_a_worker_that_dies_is_named_and_the_command_goes_on(mini, tmp_path, capsys):
    """The worker is killed from outside, as when memory runs out."""

    def end_one():
        while len(children := multiprocessing.active_children()) < 2:
            time.sleep(0.01)
        children[0].kill()

    command = ["corpus", "build", "asvspoof5", "--source", str(mini.source)]
    command += ["--data-dir", str(tmp_path), "--workers", "2", "--allow-incomplete"]
    killer = threading.Thread(target=end_one)
    killer.start()
    assert cli.main(command) == 2
    killer.join()
    said = capsys.readouterr().err
    assert "mldg: one of the 2 worker processes died" in said
    assert "Start the command again with fewer workers" in said
    assert cli.main([*command, "--workers", "1"]) == 0
    assert len(load_split(tmp_path / "asvspoof5/1.0.0", "eval").utterance) == 6


def test_a_kill_between_shards_and_corpus(mini, tmp_path, monkeypatch):
    """TFDS's incomplete folder is deleted; the shards are reused."""
    whole = contents(build(mini, tmp_path / "whole"))
    data = tmp_path / "data"
    planned = prepare._builder("asvspoof5", mini.source, data)
    planned.allow_incomplete, planned.shard_rows = True, 2
    shards.make_all(planned.plan(mini.source), 18, workers=1, progress=False)
    left = data / "asvspoof5/incomplete.X_1.0.0"
    left.mkdir()

    def never(path):
        raise AssertionError(f"{path} is read again")

    monkeypatch.setattr("mldg_jax.data.audio.clip", never)
    assert contents(build(mini, data)) == whole
    assert not left.exists()


def test_other_rows_make_other_shards(mini, tmp_path):
    data = tmp_path / "data"
    planned = prepare._builder("asvspoof5", mini.source, data)
    planned.allow_incomplete, planned.shard_rows = True, 2
    shards.make_all(planned.plan(mini.source), 18, workers=1, progress=False)
    text = mini.protocol.read_text().replace("E_4462", "E_9999")
    mini.protocol.write_text(text)
    folder = build(mini, data)
    assert "E_9999" in load_split(folder, "eval").speaker


def test_a_shard_may_stay_empty(mini, tmp_path):
    for path in mini.recordings[2:4]:
        path.write_bytes(b"")
    folder = build(mini, tmp_path / "data")
    rows = load_split(folder, "eval")
    names = [path.stem for path in (*mini.recordings[:2], *mini.recordings[4:])]
    assert list(rows.utterance) == names
    assert [len(samples) for samples in rows.audio] == [4_800] * 4


def test_a_split_may_not(mini, tmp_path):
    for path in mini.recordings:
        path.write_bytes(b"")
    with pytest.raises(UserError, match="6 of 6 recordings of split eval"):
        build(mini, tmp_path / "data")


# Beam installs an older protobuf, of which TFDS reads a deprecated attribute
@pytest.mark.filterwarnings(r"ignore:label\(\) is deprecated:DeprecationWarning")
def test_beam_makes_the_same(mini, tmp_path):
    """With over ten shards, as TFDS 4.9 sorts the lengths of Beam's shards as text."""
    if importlib.util.find_spec("apache_beam") is None:
        pytest.skip("needs Apache Beam: pip install 'mldg_jax[beam]'")
    lines = mini.protocol.read_text().splitlines()
    for i in range(17):
        name = f"E_{i:010d}"
        lines.append(f"E_1 {name} F - - - AC1 A17 spoof -")
        miniatures.noise(mini.recordings[0].with_name(f"{name}.flac"))
    mini.protocol.write_text("\n".join(lines))
    mini.recordings[3].write_bytes(b"")
    alone = build(mini, tmp_path / "alone")
    program = f"""
from mldg_jax.data.corpora import prepare
prepare.build("asvspoof5", {str(mini.source)!r}, {str(tmp_path / "beam")!r},
              shard_rows=2, allow_incomplete=True, beam=["--direct_num_workers=1"])
"""
    process = run(program)
    _, errors = process.communicate()
    assert process.returncode == 0, errors.decode()
    beam = tmp_path / "beam/asvspoof5/1.0.0"
    assert contents(beam) == contents(alone)
    rows = load_split(beam, "eval")
    assert len(rows.audio) == 22 and rows.utterance[-1] == "E_0000000016"
    assert all(len(samples) == 4_800 for samples in rows.audio)


def test_beam_that_is_not_installed(mini, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    monkeypatch.setitem(sys.modules, "apache_beam.options", None)
    with pytest.raises(UserError, match="--beam needs Apache Beam: pip install"):
        build(mini, tmp_path, beam=[])


def test_no_tensorflow_is_needed(mini, tmp_path):
    """Building and reading work in a process that cannot import TensorFlow."""
    program = """
import importlib.util, sys

find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *x: None if name == "tensorflow" else find(name)

class Barred:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "tensorflow":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Barred())
from mldg_jax.data import corpus
from mldg_jax.data.corpora import prepare
folder, _ = prepare.build("asvspoof5", sys.argv[1], sys.argv[2], workers=1,
                          allow_incomplete=True, progress=False)
rows = corpus.load_split(folder, "train")
assert [len(samples) for samples in rows.audio] == [4800] * 6
"""
    process = run(program, mini.source, tmp_path / "data")
    _, errors = process.communicate()
    assert process.returncode == 0, errors.decode()


def test_tfds_prepares_it_by_itself(mini, tmp_path, monkeypatch):
    """The builder works without ``prepare``, from ``manual_dir``."""
    import tensorflow_datasets as tfds

    small = official.ASVspoof5.layout._replace(counts=mini.counts)
    monkeypatch.setattr(official.ASVspoof5, "layout", small)
    builder = official.ASVspoof5(data_dir=str(tmp_path), file_format="array_record")
    config = tfds.download.DownloadConfig(manual_dir=mini.source)
    builder.download_and_prepare(download_config=config)
    assert builder.info.splits["eval"].num_examples == 6
    records = builder.as_data_source("eval")
    assert records[1]["label"] == 1 and records[1]["attack"] == b"-"
    assert records[0]["utterance"].decode() == mini.recordings[0].stem
