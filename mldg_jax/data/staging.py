"""Copies of corpora in buckets: array_record reads files of this machine only.

A corpus is copied once a machine, to ``mldg_jax/corpora`` in the user's cache
(XDG_CACHE_HOME, ~/.cache); processes of one machine share the copy.
"""

import fcntl
import hashlib
import logging
import os
from pathlib import Path

from mldg_jax.common.buckets import Bucket
from mldg_jax.common.errors import UserError
from mldg_jax.common.files import write_text, writing

log = logging.getLogger(__name__)

INFO = "dataset_info.json"  # TFDS writes it last, to every corpus
COMPLETE = ".complete"  # holds the SHA-256 of what was copied last


def built(url: str, name: str) -> list[str]:
    """Lists the prepared versions of a corpus in a bucket.

    Args:
      url: folder of the bucket that holds the corpora.
      name: name of the corpus.

    Returns:
      "CONFIG/VERSION" of each, or "VERSION" of a corpus without configs, sorted.

    Raises:
      UserError: the store refuses.
    """
    names = Bucket(url).names(f"{name}/")
    parts = [x.split("/") for x in names]
    return ["/".join(x[1:-1]) for x in parts if len(x) in (3, 4) and x[-1] == INFO]


def stage(url: str, corpus: str) -> Path:
    """Copies a corpus to this machine, unless it is there.

    Args:
      url: folder of the bucket that holds the corpora.
      corpus: "NAME/CONFIG/VERSION" or "NAME/VERSION".

    Returns:
      The folder of the copy.

    Raises:
      UserError: the store or the file system refuses.
    """
    bucket = Bucket(f"{url.rstrip('/')}/{corpus}")
    where = hashlib.sha256(url.rstrip("/").encode()).hexdigest()[:16]
    folder = cache_folder() / where / corpus
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until the file is closed
        names = bucket.names()
        if INFO not in names:
            raise UserError(f"{bucket.url} is not a corpus: it has no {INFO}")
        version = _version(bucket, names)
        marker = folder / COMPLETE
        if not marker.exists() or marker.read_text("utf-8") != version:
            marker.unlink(missing_ok=True)
            log.warning("copying %s to %s", bucket.url, folder)
            for name in names:
                bucket.download(name, folder / name)
            write_text(marker, version)
    return folder


def cache_folder() -> Path:
    """Returns the folder of all copies."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(cache) / "mldg_jax" / "corpora"


def _version(bucket: Bucket, names: list[str]) -> str:
    """Returns a digest that differs when the corpus in the bucket is another one."""
    digest = hashlib.sha256("\n".join(names).encode())
    for name in (INFO, "corpus.json"):  # the latter has the SHA-256 of all utterances
        if name in names:
            digest.update(bucket.read(name))
    return digest.hexdigest()
