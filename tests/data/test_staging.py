"""Corpora in a bucket are found as local ones are, and copied once."""

import json

import pytest

from mldg_jax.common.errors import UserError
from mldg_jax.data import corpus_folder, staging


@pytest.fixture
def url(tmp_path, monkeypatch):
    """Returns the URL of a bucket with two versions of a corpus."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for version in ("1.0.0", "1.1.0"):
        folder = tmp_path / "bucket" / "debspoof" / "small" / version
        folder.mkdir(parents=True)
        (folder / "dataset_info.json").write_text("{}")
        (folder / "corpus.json").write_text(json.dumps({"corpus_sha256": version}))
        (folder / "shard").write_bytes(b"\x00" * 1_000)
    return f"file://{tmp_path}/bucket"


def test_the_latest_version_is_copied_once(url, monkeypatch):
    folder = corpus_folder.find_corpus("debspoof", "small", url)
    assert folder.name == "1.1.0" and corpus_folder.corpus_sha256(folder) == "1.1.0"
    assert (folder / "shard").read_bytes() == b"\x00" * 1_000
    copied = []
    monkeypatch.setattr(
        staging.Bucket, "download", lambda *arguments: copied.append(arguments[1])
    )
    assert corpus_folder.find_corpus("debspoof", "", url + "/") == folder
    assert copied == []


def test_a_corpus_without_configs_is_found(url, tmp_path):
    source = tmp_path / "bucket" / "asvspoof5" / "1.0.0"
    source.mkdir(parents=True)
    for name in ("dataset_info.json", "corpus.json"):
        (source / name).write_text("{}")
    assert corpus_folder.find_corpus("asvspoof5", "", tmp_path / "bucket") == source
    copy = corpus_folder.find_corpus("asvspoof5", "", url)
    assert copy != source and copy.parts[-2:] == ("asvspoof5", "1.0.0")


def test_a_corpus_that_changed_is_copied_again(url, tmp_path):
    folder = corpus_folder.find_corpus("debspoof", "small", url)
    source = tmp_path / "bucket/debspoof/small/1.1.0"
    (source / "corpus.json").write_text('{"corpus_sha256": "other"}')
    (source / "shard").write_bytes(b"new")
    assert corpus_folder.find_corpus("debspoof", "small", url) == folder
    assert (folder / "shard").read_bytes() == b"new"
    assert corpus_folder.corpus_sha256(folder) == "other"


def test_an_interrupted_copy_is_completed(url, monkeypatch):
    original = staging.Bucket.download

    def killed(self, name, path):
        if name == "shard":
            raise KeyboardInterrupt
        original(self, name, path)

    with monkeypatch.context() as patch:
        patch.setattr(staging.Bucket, "download", killed)
        with pytest.raises(KeyboardInterrupt):
            corpus_folder.find_corpus("debspoof", "small", url)
    folder = corpus_folder.find_corpus("debspoof", "small", url)
    assert (folder / "shard").stat().st_size == 1_000


def test_a_corpus_that_is_not_there_is_named(url):
    with pytest.raises(UserError, match="no corpus debspoof/full under file://"):
        corpus_folder.find_corpus("debspoof", "full", url)
