import hashlib
import io
import subprocess
import tarfile
from dataclasses import replace

import pytest

from mldg_jax.common.errors import UserError
from mldg_jax.data.corpora.debspoof import sdists, sources


def archive(path, members):
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if content is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return path


MEMBERS = {
    "p-1/tests/data/wav/a.wav": b"sound",
    "p-1/tests/data/b.rttm": b"turns",
    "p-1/tests/data/c.py": b"code",
    "p-1/tests/other/d.wav": b"elsewhere",
    "p-1/tests/data/../../../e.wav": b"escape",
    "p-1/tests/data/link.wav": None,
    "/tests/data/f.wav": b"absolute",
}


def test_extract_members_is_safe(tmp_path):
    target = tmp_path / "deep" / "target"
    target.mkdir(parents=True)
    names = sdists.extract_members(
        archive(tmp_path / "p.tar.gz", MEMBERS), target, "tests/data", (".wav", ".rttm")
    )
    assert "wav/a.wav" in names and "b.rttm" in names
    assert not any("e.wav" in n or "link" in n or "c.py" in n for n in names)
    files = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert all(name.startswith("deep/target/") for name in files - {"p.tar.gz"})


def test_fetch_sdist_checks_the_hash_and_resumes(tmp_path):
    folder = tmp_path / "sdists"
    folder.mkdir()
    path = archive(folder / "pyannote_audio-4.0.7.tar.gz", MEMBERS)
    sdist = sdists.SDISTS[0]
    with pytest.raises(UserError, match=sdist.sha256):
        sdists.fetch(sdist, tmp_path)
    assert not (tmp_path / "x" / sdist.name).exists()
    good = replace(sdist, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    assert sdists.fetch(good, tmp_path) == "4.0.7"
    assert (tmp_path / "x/pyannote_audio/wav/a.wav").read_bytes() == b"sound"
    path.unlink()  # a second run needs nothing
    assert sdists.fetch(good, tmp_path) == "4.0.7"


def test_without_root_the_apt_line_is_printed(monkeypatch):
    monkeypatch.setattr(sources.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(sources.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match=r"sudo apt-get install -y .* flite festival"):
        sources.install_apt(["flite", "festival"])
    sources.install_apt([])


def test_not_debian(monkeypatch):
    monkeypatch.setattr(sources.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="neither Debian nor Ubuntu"):
        sources.missing_apt_packages("small")
    with pytest.raises(UserError, match="neither Debian nor Ubuntu"):
        sources.missing_apt_packages("quick")


def test_missing_packages_keep_their_order(monkeypatch):
    monkeypatch.setattr(sources, "check_debian", lambda: None)
    monkeypatch.setattr(sources, "installed_packages", lambda names: {"flite": "2"})
    missing = sources.missing_apt_packages("small")
    assert sources.missing_apt_packages("quick") == []  # it needs no root
    assert missing == [n for n in sources.ENGINE_PACKAGES if n != "flite"]


def test_a_download_is_announced_with_its_size(monkeypatch, caplog):
    lines = "'http://m/a.deb' a.deb 1500000 SHA256:0\n'http://m/b.deb' b 500000 x\n"
    answer = subprocess.CompletedProcess([], 0, lines, "")
    monkeypatch.setattr(sources, "_apt", lambda *_, **__: answer)
    with caplog.at_level("INFO", logger=sources.__name__):
        sources._announce(["a", "b"])
    assert "downloading 2 Debian packages (2 MB)" in caplog.text
