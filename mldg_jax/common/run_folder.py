"""Run folders: the config, the trained parameters, the frozen weights' fingerprint.

Only what is trained is kept (adapters, head, optimiser: megabytes), and of the frozen
parameters a fingerprint. Checkpoints: ``training.checkpoints``.
"""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util
from safetensors.numpy import load_file, save_file

from mldg_jax.common.config import Config
from mldg_jax.common.config_values import complete, to_dict
from mldg_jax.common.errors import UserError
from mldg_jax.common.files import replacing, write_text, writing
from mldg_jax.common.provenance import fingerprint

CONFIG, PROVENANCE = "config.json", "provenance"
TRAINABLE = "trainable.safetensors"


def write_config(
    workdir: Path,
    config: Config,
    provenance: dict[str, Any] | None = None,
) -> None:
    """Writes config.json, or checks it when the folder has one.

    Args:
      workdir: the run folder.
      config: the run's.
      provenance: kept beside the config, and no part of it: see ``provenance``.
    """
    if (workdir / CONFIG).exists():
        check_config(workdir, config)
        return
    content = to_dict(config)
    if provenance is not None:
        content[PROVENANCE] = provenance
    text = json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True)
    write_text(workdir / CONFIG, text + "\n")


def check_config(workdir: Path, config: Config) -> None:
    """Refuses to continue a run under another config.

    Raises:
      UserError: names the first values that differ.
    """
    old, new = flat_config(read_config(workdir)), flat_config(config)
    changed = [k for k in sorted(old.keys() | new.keys()) if old.get(k) != new.get(k)]
    if changed:
        shown = ", ".join(f"{k}: {old.get(k)} → {new.get(k)}" for k in changed[:3])
        raise UserError(
            f"{workdir} holds a run of another config ({shown}): continue it with its "
            "own config, or choose a new folder"
        )


def read_config(workdir: str | Path) -> Config:
    """Returns a run's config; entries that its version did not have are the defaults.

    Raises:
      UserError: the folder is no run, or its config is not one.
    """
    content = _read(workdir)
    content.pop(PROVENANCE, None)
    try:
        return complete(content)
    except UserError as error:
        raise UserError(f"{Path(workdir) / CONFIG}: {error}") from None


def read_provenance(workdir: str | Path) -> dict[str, Any]:
    """Reads what ``provenance.collect`` said when a run began; {} if nothing was kept.

    Raises:
      UserError: the folder is no run.
    """
    return _read(workdir).get(PROVENANCE, {})


def _read(workdir: str | Path) -> dict[str, Any]:
    path = Path(workdir) / CONFIG
    if not path.exists():
        raise UserError(
            f"{workdir} is no run folder (it has no {CONFIG}); make one with "
            "`mldg demo` or `mldg train`"
        )
    return json.loads(path.read_text())


def flat_config(config: Config) -> dict[str, Any]:
    """Returns the values of a config by dotted name, as JSON has them."""
    return traverse_util.flatten_dict(to_dict(config), keep_empty_nodes=True, sep=".")


def add_provenance(workdir: Path, name: str, value: Any) -> None:
    """Adds one more fact to those of ``read_provenance``."""
    content = _read(workdir)
    content[PROVENANCE] = {**content.get(PROVENANCE, {}), name: value}
    text = json.dumps(content, indent=1, ensure_ascii=False)
    write_text(workdir / CONFIG, text + "\n")


def finished(workdir: str | Path) -> bool:
    """Whether a run has come to its end."""
    return (Path(workdir) / TRAINABLE).exists()


def write_trainable(workdir: Path, trainable: Any, batch_stats: Any) -> None:
    """Writes what training made; its presence says the run is finished."""
    tree = {**trainable, "batch_stats": batch_stats}
    flat = traverse_util.flatten_dict(tree, sep="/")
    # (save_file writes raw memory, so it must be in C order)
    arrays = {name: np.ascontiguousarray(value) for name, value in flat.items()}
    with writing(workdir), replacing(workdir / TRAINABLE) as part:
        save_file(arrays, part)


def read_trainable(workdir: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads ``(trainable, batch_stats)`` of a finished run.

    Raises:
      UserError: the run is not finished or the file is damaged.
    """
    path = Path(workdir) / TRAINABLE
    if not path.exists():
        raise UserError(
            f"{workdir} is not a finished run (it has no {TRAINABLE}): start its "
            "training again and it continues"
        )
    try:
        tree = traverse_util.unflatten_dict(load_file(path), sep="/")
        return tree, tree.pop("batch_stats")
    except Exception as error:
        raise UserError(f"{path} is damaged ({error}); train the run again") from None


FROZEN = "frozen.json"


def check_frozen(workdir: Path, weights: str, params: Any, *, write: bool) -> str:
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
    path, found = workdir / FROZEN, fingerprint(params)
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
        write_text(path, json.dumps(content, indent=1) + "\n")
    return found
