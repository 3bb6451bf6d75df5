"""Provenance of a run: versions, revision, command, and training data."""

import datetime
import hashlib
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mldg_jax.common import versions


def collect(trained_on: dict[str, Any]) -> dict[str, Any]:
    """Collects the provenance of a run for its config.json.

    Args:
      trained_on: summary of the training data, see ``data.corpus.trained_on``.

    Returns:
      JSON values: ``started`` (UTC), ``command``, ``versions``, ``revision`` (git hash
      of the source tree, with "+" appended if it has uncommitted changes; "" if the
      package was installed without one) and ``trained_on``.
    """
    return {
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "versions": versions.installed(),
        "revision": _revision(),
        "trained_on": trained_on,
    }


def fingerprint(tree: Any) -> str:
    """Computes the SHA-256 of a tree's paths, dtypes, shapes and values.

    Args:
      tree: a pytree of arrays.

    Returns:
      The digest in hexadecimal.
    """
    digest = hashlib.sha256()
    for path, x in jax.tree_util.tree_flatten_with_path(tree)[0]:
        x = np.asarray(x)
        name = f"{jax.tree_util.keystr(path)} {x.dtype} {x.shape}\n"
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(x).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _revision() -> str:
    """Returns the revision of the git checkout that contains this package, or ""."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        tracked = git("ls-files", "--error-unmatch", Path(__file__).name)
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("+" if changed else "") if tracked else ""
    except (OSError, subprocess.CalledProcessError):
        return ""
