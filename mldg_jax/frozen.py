"""The frozen parameters of a run: too large to keep, so their fingerprint is kept."""

import json
from pathlib import Path
from typing import Any

import jax

from mldg_jax import checkpoint
from mldg_jax.errors import UserError
from mldg_jax.provenance import fingerprint

FILE = "frozen.json"


def check(workdir: Path, weights: str, params: Any, *, write: bool) -> str:
    """Keeps which frozen parameters a run began with, or checks that they are the same.

    Args:
      workdir: the run folder.
      weights: what ``model.weights`` names.
      params: the front-end's parameters.
      write: whether to write ``frozen.json`` if it is not there.

    Returns:
      ``provenance.fingerprint`` of the parameters.

    Raises:
      UserError: the run began with others.
    """
    path, found = workdir / FILE, fingerprint(params)
    if path.exists():
        old = json.loads(path.read_text())["sha256"]
        if old != found:
            raise UserError(
                f"{workdir} was begun with other frozen weights: {weights} has sha256 "
                f"{found} now and had {old}. Its adapters fit those only: put the "
                "old weights back, or train in a new folder"
            )
    elif write:
        sizes = sum(x.size for x in jax.tree.leaves(params))
        content = {"weights": weights, "parameters": sizes, "sha256": found}
        checkpoint.write_text(path, json.dumps(content, indent=1) + "\n")
    return found
