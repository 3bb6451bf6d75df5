"""Finding checkpoints, without a network and without huggingface_hub."""

import os
import subprocess
import sys
import types

import pytest

from mldg_jax.common.errors import UserError
from mldg_jax.models.pretrained import hub

NAMES = ("model.safetensors", "pytorch_model.bin")
MODEL = "facebook/wav2vec2-xls-r-300m"


class EntryNotFoundError(Exception):
    pass


class LocalEntryNotFoundError(EntryNotFoundError, FileNotFoundError):
    """As in the library: a subclass of the one that means something else."""


@pytest.fixture
def library(monkeypatch):
    """A stand-in whose ``answers`` give a path or an error for each file name."""
    package = types.ModuleType("huggingface_hub")
    package.errors = types.ModuleType("huggingface_hub.errors")
    package.errors.EntryNotFoundError = EntryNotFoundError
    package.errors.LocalEntryNotFoundError = LocalEntryNotFoundError
    package.asked, package.answers = [], {}

    def download(name, filename):
        package.asked.append((name, filename))
        answer = package.answers.get(filename, EntryNotFoundError("404"))
        if isinstance(answer, Exception):
            raise answer
        return answer

    package.hf_hub_download = download
    monkeypatch.setitem(sys.modules, "huggingface_hub", package)
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", package.errors)
    return package


def test_files_and_folders_here_come_first(tmp_path, library, monkeypatch):
    folder = tmp_path / "owner" / "name"
    folder.mkdir(parents=True)
    for name in (*NAMES, "config.json"):
        (folder / name).touch()
    assert hub.locate(str(folder), NAMES) == folder / "model.safetensors"
    assert hub.locate(folder, ["config.json"]) == folder / "config.json"
    (folder / "model.safetensors").unlink()
    assert hub.locate(folder, NAMES) == folder / "pytorch_model.bin"
    fairseq = tmp_path / "xlsr2_300m.pt"
    fairseq.touch()
    assert hub.locate(fairseq, NAMES) == fairseq
    monkeypatch.chdir(tmp_path)
    assert hub.locate("owner/name", NAMES).exists()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert hub.locate("~/xlsr2_300m.pt", NAMES) == fairseq
    assert library.asked == []


def test_a_folder_without_it(tmp_path):
    with pytest.raises(UserError, match=r"no model\.safetensors or pytorch_model\.bin"):
        hub.locate(tmp_path, NAMES)


@pytest.mark.parametrize("source", ["xlsr", "/no/where", "a/b/c", "../a", "C:\\x", ""])
def test_neither_here_nor_a_hub_name(tmp_path, monkeypatch, library, source):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError):
        hub.locate(source, NAMES)
    assert library.asked == []


def test_fetched_in_order(library, tmp_path):
    library.answers["pytorch_model.bin"] = str(tmp_path / "cached")
    assert hub.locate(MODEL, NAMES) == tmp_path / "cached"
    assert library.asked == [(MODEL, name) for name in (*NAMES, "config.json")]


def test_the_shards_of_an_index_come_with_it(library, tmp_path):
    index = tmp_path / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"a": "2.safetensors", "b": "1.safetensors"}}')
    library.answers = dict.fromkeys(["1.safetensors", "2.safetensors"], "cached")
    library.answers[index.name] = str(index)
    assert hub.locate(MODEL, [*NAMES, index.name]) == index
    assert [name for _, name in library.asked[-2:]] == [
        "1.safetensors",
        "2.safetensors",
    ]
    library.answers["2.safetensors"] = LocalEntryNotFoundError("offline")
    with pytest.raises(UserError, match="cannot be reached"):
        hub.locate(MODEL, [index.name])


def test_a_model_without_such_files(library):
    with pytest.raises(
        UserError, match=r"on the Hugging Face hub contains no model\.safe"
    ):
        hub.locate(MODEL, NAMES)


def by_hand(message):
    """Says what to download, from where, and where to put it."""
    assert "config.json" in message
    assert "model.safetensors or pytorch_model.bin" in message
    assert f"https://huggingface.co/{MODEL}/resolve/main/" in message
    assert f"give ./wav2vec2-xls-r-300m instead of {MODEL}" in message


def test_no_network(library):
    library.answers = dict.fromkeys(NAMES, LocalEntryNotFoundError("offline\nlong"))
    with pytest.raises(UserError, match=r"cannot be reached \(offline\)") as info:
        hub.locate(MODEL, NAMES)
    by_hand(str(info.value))


def test_no_network_but_the_second_file_is_cached(library, tmp_path):
    library.answers["model.safetensors"] = LocalEntryNotFoundError("offline")
    library.answers["pytorch_model.bin"] = str(tmp_path)
    assert hub.locate(MODEL, NAMES) == tmp_path


@pytest.mark.parametrize("error", [OSError("401 Unauthorized"), RuntimeError()])
def test_whatever_else_fails(library, error):
    library.answers["model.safetensors"] = error
    with pytest.raises(UserError, match=r"401 Unauthorized|RuntimeError") as info:
        hub.locate(MODEL, NAMES)
    by_hand(str(info.value))


def test_no_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match="huggingface_hub is not installed") as info:
        hub.locate(MODEL, NAMES)
    by_hand(str(info.value))
    assert "pip install 'mldg_jax[hub]'" in str(info.value)


@pytest.mark.parity
def test_the_real_library_offline(tmp_path):
    """Answers from its cache, which has only the second name; else says what to do."""
    cached = tmp_path / "hub" / "models--owner--name"
    snapshot = cached / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "pytorch_model.bin").touch()
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("0" * 40)
    program = f"""
from mldg_jax.common.errors import UserError
from mldg_jax.models.pretrained import hub
print(hub.locate("owner/name", {NAMES}))
try:
    hub.locate("{MODEL}", {NAMES})
except UserError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)},
    )
    found, message = done.stdout.splitlines()
    assert found == str(snapshot / "pytorch_model.bin")
    by_hand(message)
