"""Run folders: configs, logs, resumable checkpoints, trained parameters.

Only what is trained is saved (adapters, head, optimiser: megabytes). Orbax writes a
checkpoint to a temporary folder and renames it, so a killed run leaves whole
checkpoints or none.
"""

import json
from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np
import orbax.checkpoint as ocp
from flax import traverse_util
from safetensors.numpy import load_file, save_file

from mldg_jax.atomic import replacing
from mldg_jax.errors import UserError

CONFIG, PROVENANCE = "config.json", "provenance"
TRAINABLE = "trainable.safetensors"


def write_text(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    with replacing(path) as part:
        part.write_text(text)


def write_config(
    workdir: Path,
    config: ml_collections.ConfigDict,
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
    content = json.loads(config.to_json(sort_keys=True))
    if provenance is not None:
        content[PROVENANCE] = provenance
    text = json.dumps(content, indent=1, ensure_ascii=False)
    write_text(workdir / CONFIG, text + "\n")


def check_config(workdir: Path, config: ml_collections.ConfigDict) -> None:
    """Refuses to continue a run under another config.

    Raises:
      UserError: names the first values that differ.
    """
    old = flat_config(read_config(workdir))
    new = flat_config(json.loads(config.to_json()))
    changed = [k for k in sorted(old.keys() | new.keys()) if old.get(k) != new.get(k)]
    if changed:
        shown = ", ".join(f"{k}: {old.get(k)} → {new.get(k)}" for k in changed[:3])
        raise UserError(
            f"{workdir} holds a run of another config ({shown}): continue it with its "
            "own config, or choose a new folder"
        )


def read_config(workdir: str | Path) -> dict[str, Any]:
    """Reads a run's config.

    Raises:
      UserError: the folder is no run.
    """
    content = _read(workdir)
    content.pop(PROVENANCE, None)
    return content


def read_provenance(workdir: str | Path) -> dict[str, Any]:
    """Reads what ``provenance.gather`` said when a run began; {} if nothing was kept.

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


def flat_config(config: dict[str, Any]) -> dict[str, Any]:
    """Nested to flat, with dotted names."""
    return traverse_util.flatten_dict(config, keep_empty_nodes=True, sep=".")


def manager(workdir: Path, *, every: int) -> ocp.CheckpointManager:
    """Opens the checkpoints of a run: every so many steps, the last two kept."""
    options = ocp.CheckpointManagerOptions(save_interval_steps=every, max_to_keep=2)
    return ocp.CheckpointManager((workdir / "checkpoints").absolute(), options=options)


def save(manager: ocp.CheckpointManager, step: int, state: Any, *, last: bool) -> None:
    """Saves when the step is due, and always at the last one."""
    if last or manager.should_save(step):
        host = jax.tree.map(np.asarray, {**state, "key": _key_data(state["key"])})
        manager.save(step, args=ocp.args.StandardSave(host), force=last)


def restore_latest(manager: ocp.CheckpointManager, state: Any) -> Any:
    """Returns the newest saved state, or the given one when there is none."""
    step = manager.latest_step()
    if step is None:
        return state
    like = jax.tree.map(np.asarray, {**state, "key": _key_data(state["key"])})
    found = manager.restore(step, args=ocp.args.StandardRestore(like))
    return {**found, "key": jax.random.wrap_key_data(found["key"])}


def _key_data(key: jax.Array) -> jax.Array:
    return jax.random.key_data(key)


def trim_log(path: Path, step: int) -> Path:
    """Drops lines of metrics.jsonl that are to be redone, or that a kill cut short."""
    if path.exists():
        whole = [x for x in path.read_text().splitlines() if x.endswith("}")]
        kept = [x for x in whole if json.loads(x)["step"] <= step]
        write_text(path, "".join(line + "\n" for line in kept))
    return path


def write_trainable(workdir: Path, trainable: Any, batch_stats: Any) -> None:
    """Writes what training made; its presence says the run is finished."""
    tree = {**trainable, "batch_stats": batch_stats}
    flat = traverse_util.flatten_dict(tree, sep="/")
    # (save_file writes raw memory, so it must be in C order)
    arrays = {name: np.ascontiguousarray(value) for name, value in flat.items()}
    with replacing(workdir / TRAINABLE) as part:
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
