"""onnxruntime-web, which runs a detector in a browser: fetched once, then kept.

It is a package of the npm registry, where a tarball is a plain file: npm itself is not
needed. Its version and checksums are pinned here, so that a registry or a mirror cannot
change what a page runs.
"""

import base64
import hashlib
import http.client
import io
import logging
import os
import tarfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from mldg_jax.common.errors import UserError
from mldg_jax.common.files import replacing

log = logging.getLogger(__name__)

REGISTRY = "https://registry.npmjs.org"
TIMEOUT = 60  # seconds without a byte
LOADER, WASM = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"


class RuntimePackage(NamedTuple):
    """A pinned package of the npm registry.

    Attributes:
      name, version: in the registry.
      integrity: of its tarball, as npm gives it: "sha512-" and base64.
      files: SHA-256 by the name of each file that is used; they are in ``dist``.
      megabytes: size of the tarball, for messages.
    """

    name: str
    version: str
    integrity: str
    files: Mapping[str, str]
    megabytes: int

    @property
    def title(self) -> str:
        """Name and version."""
        return f"{self.name} {self.version}"

    @property
    def tarball(self) -> str:
        """The tarball's file name."""
        return f"{self.name}-{self.version}.tgz"


# Of the four builds in the package, the smallest: for the CPU only, with SIMD, which
# every browser of the last years has (14.2 MB, 3.7 MB as gzip; with WebGPU and WebNN
# it would be 16.8 to 28.3 MB). There is none without SIMD. It has threads, and works
# with one where the server does not send the headers that threads need.
ONNXRUNTIME_WEB = RuntimePackage(
    "onnxruntime-web",
    "1.30.0",
    "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1Sig"
    "qR4CXAfKYQ==",
    {
        LOADER: "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
        WASM: "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
    },
    megabytes=33,
)


def read_runtime(
    source: str | Path | None = None, package: RuntimePackage = ONNXRUNTIME_WEB
) -> dict[str, bytes]:
    """Returns the files of onnxruntime-web that a page needs.

    Args:
      source: the tarball or a folder with its content (unpacked, or of
        ``node_modules``); None for the one in the user's cache, which is first fetched
        from the registry if it is not there. The environment variable
        ``npm_config_registry`` names another registry, as it does for npm.
      package: which one.

    Returns:
      The content of each of ``package.files``.

    Raises:
      UserError: the registry cannot be reached, ``source`` does not exist or lacks a
        file, or something is not what the pinned checksums say.
    """
    if source is None:
        files, place = _unpack(_cached(package), package), "the package"
    else:
        place = Path(source)
        files = _read_source(place, package)
    for name, content in files.items():
        if hashlib.sha256(content).hexdigest() != package.files[name]:
            raise UserError(
                f"{place}: {name} is not that of {package.title}: its SHA-256 is "
                f"{hashlib.sha256(content).hexdigest()[:16]}…, expected "
                f"{package.files[name][:16]}…; {_way_out(package)}"
            )
    return files


def cache_folder() -> Path:
    """Returns the folder in which this package keeps what it fetched."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "mldg_jax"


def _way_out(package: RuntimePackage) -> str:
    return (
        f"fetch it with `npm pack {package.name}@{package.version}`, on another "
        f"machine if need be, and name the file: --runtime {package.tarball}"
    )


def _read_source(place: Path, package: RuntimePackage) -> dict[str, bytes]:
    """Reads the files from a tarball or a folder."""
    try:
        if not place.is_dir():
            content = place.read_bytes()
            _check_integrity(content, str(place), package)
            return _unpack(content, package)
    except OSError as error:
        raise UserError(
            f"--runtime {place}: {error.strerror}; it must be the tarball or the "
            f"folder of {package.title}"
        ) from None
    name = next(iter(package.files))
    for folder in (place, place / "dist", place / "package" / "dist"):
        if (folder / name).is_file():
            missing = [x for x in package.files if not (folder / x).is_file()]
            if missing:
                raise UserError(f"--runtime {place}: {missing[0]} is not in {folder}")
            return {x: (folder / x).read_bytes() for x in package.files}
    raise UserError(
        f"--runtime {place}: there is no {name} in it or in its dist; it must be the "
        f"folder of {package.title}"
    )


def _check_integrity(content: bytes, place: str, package: RuntimePackage) -> None:
    digest = base64.b64encode(hashlib.sha512(content).digest()).decode()
    if f"sha512-{digest}" != package.integrity:
        raise UserError(
            f"{place} is not {package.title}: its SHA-512 is {digest[:16]}…, expected "
            f"{package.integrity.removeprefix('sha512-')[:16]}…; if it is a mirror's, "
            f"use another registry (npm_config_registry), or {_way_out(package)}"
        )


def _unpack(content: bytes, package: RuntimePackage) -> dict[str, bytes]:
    """Reads the files from the tarball, whose checksum has been compared."""
    files = {}
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
        for name in package.files:
            member = archive.extractfile(f"package/dist/{name}")
            assert member is not None  # a file of the package that is pinned
            files[name] = member.read()
    return files


def _cached(package: RuntimePackage) -> bytes:
    """Returns the tarball, from the cache or from the registry."""
    path = cache_folder() / package.tarball
    try:
        content = path.read_bytes()
        _check_integrity(content, str(path), package)
        return content
    except (OSError, UserError):  # not there yet, or damaged
        content = _fetch(package)
    try:
        with replacing(path) as part:
            part.write_bytes(content)
    except UserError as error:  # works without a cache
        log.warning("%s is not kept for the next export: %s", package.title, error)
    return content


def _registry() -> str:
    """Returns the registry that the environment names, as npm reads it."""
    names = {name.lower(): value for name, value in os.environ.items()}
    return names.get("npm_config_registry") or REGISTRY


def _fetch(package: RuntimePackage) -> bytes:
    registry = _registry()
    address = f"{registry.rstrip('/')}/{package.name}/-/{package.tarball}"
    if not address.startswith(("https://", "http://")):
        raise UserError(
            f"npm_config_registry is {registry!r}; it must begin with https://"
        )
    log.info("fetching %s (%d MB) from %s", package.title, package.megabytes, registry)
    try:
        with urllib.request.urlopen(address, timeout=TIMEOUT) as answer:
            content = answer.read()
    except urllib.error.HTTPError as error:
        reason = f"the registry answers {error.code}"
    except urllib.error.URLError as error:
        reason = str(error.reason)
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = str(error) or type(error).__name__
    else:
        _check_integrity(content, address, package)
        return content
    raise UserError(
        f"{package.title} cannot be fetched from {address} ({reason}). Connect this "
        "machine to the network, set npm_config_registry to a mirror that it reaches, "
        f"or {_way_out(package)}"
    ) from None
