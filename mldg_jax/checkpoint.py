"""Run folders: configs, resumable checkpoints, trained parameters.

Only what is trained is saved (adapters, head, optimiser: megabytes), and of the frozen
parameters a fingerprint. Orbax writes a checkpoint in the background, to a temporary
folder that it renames, so a killed run leaves whole checkpoints or none. Each holds its
own fingerprint: one that was damaged later is not continued from.
"""

import contextlib
import json
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np
import orbax.checkpoint as ocp
from flax import traverse_util
from orbax.checkpoint.checkpoint_managers import preservation_policy
from safetensors.numpy import load_file, save_file

from mldg_jax.atomic import replacing, writing
from mldg_jax.errors import UserError
from mldg_jax.provenance import fingerprint

CONFIG, PROVENANCE = "config.json", "provenance"
TRAINABLE = "trainable.safetensors"
LATEST = 2  # checkpoints kept besides the best: one may turn out to be damaged


def write_text(path: Path, text: str) -> None:
    """Writes a file whole or not at all.

    Raises:
      UserError: the file system refuses.
    """
    with writing(path.parent), replacing(path) as part:
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


def add_provenance(workdir: Path, name: str, value: Any) -> None:
    """Adds one more fact to those of ``read_provenance``."""
    content = _read(workdir)
    content[PROVENANCE] = {**content.get(PROVENANCE, {}), name: value}
    text = json.dumps(content, indent=1, ensure_ascii=False)
    write_text(workdir / CONFIG, text + "\n")


class _Kept:
    """Keeps the latest checkpoints and those that ``others()`` names, for Orbax."""

    def __init__(self, others: Callable[[], Sequence[int]]):
        self._others = others

    def should_preserve(self, checkpoints: Any, *, context: Any) -> list[bool]:
        """One answer a checkpoint, oldest first."""
        newest = preservation_policy.LatestN(LATEST)
        others = set(self._others())
        kept = newest.should_preserve(checkpoints, context=context)
        return [k or c.step in others for k, c in zip(kept, checkpoints, strict=True)]


@contextlib.contextmanager
def checkpoints(
    workdir: Path, others: Callable[[], Sequence[int]] = tuple
) -> Iterator[ocp.CheckpointManager]:
    """Opens the checkpoints of a run; at the end every one of them is whole.

    Args:
      workdir: the run folder.
      others: the steps to keep besides the last two.

    Raises:
      UserError: the file system refuses.
    """
    # Orbax logs the traceback of what is raised here anyway.
    log = logging.getLogger("absl")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with _opened(workdir, others) as manager:
            yield manager
    finally:
        log.setLevel(level)


@contextlib.contextmanager
def _opened(workdir, others):
    options = ocp.CheckpointManagerOptions(
        preservation_policy=_Kept(others), cleanup_tmp_directories=True
    )
    with writing(workdir):
        manager = ocp.CheckpointManager(
            (workdir / "checkpoints").absolute(), options=options
        )
    try:
        yield manager
    except BaseException:
        with contextlib.suppress(Exception):  # the first problem is the one to tell
            manager.close()
        raise
    with writing(workdir):
        manager.close()


def save(manager: ocp.CheckpointManager, step: int, state: Any) -> None:
    """Copies a state to the host and writes it in the background.

    The copy is taken before this returns: the next step may reuse the state's memory.

    Raises:
      UserError: the state is not finite, or the file system refused this checkpoint or
        the one before.
    """
    host = _on_host(state)
    for path, x in jax.tree_util.tree_flatten_with_path(host)[0]:
        if not np.isfinite(x).all():
            raise UserError(
                f"after step {step} {jax.tree_util.keystr(path)} is not finite, and is "
                "not saved; lower optimizer.lr or objective.inner_lr. "
                + last_good(manager)
            )
    host["sha256"] = np.frombuffer(bytes.fromhex(fingerprint(host)), np.uint8)
    with writing(manager.directory.parent):
        manager.save(step, args=ocp.args.StandardSave(host), force=True)


def wait(manager: ocp.CheckpointManager) -> None:
    """Returns when every checkpoint is whole.

    Raises:
      UserError: the file system refused one.
    """
    with writing(manager.directory.parent):
        manager.wait_until_finished()


def last_good(manager: ocp.CheckpointManager) -> str:
    """A sentence for messages."""
    step = manager.latest_step()
    if step is None:
        return "No checkpoint had been saved"
    return f"The last good checkpoint is that of step {step}"


def restore_latest(manager: ocp.CheckpointManager, state: Any) -> Any:
    """Returns the newest whole saved state, or the given one if none was ever saved.

    Damaged ones are named on stderr, and removed: their steps are done again.

    Raises:
      UserError: all of them are damaged.
    """
    steps = sorted(manager.all_steps(), reverse=True)
    if not steps:
        return state
    found, state = restore_first(manager, steps, state)
    for step in steps[: steps.index(found)]:
        manager.delete(step)
    return state


def restore_first(
    manager: ocp.CheckpointManager, steps: Sequence[int], state: Any
) -> tuple[int, Any]:
    """Returns the first of some checkpoints that is whole, and its step.

    Args:
      manager: from ``checkpoints``.
      steps: best first, at least one.
      state: of the structure, shapes and dtypes of what was saved.

    Raises:
      UserError: all are damaged.
    """
    like = _on_host(state) | {"sha256": np.zeros(32, np.uint8)}
    for step in steps:
        try:
            found = manager.restore(step, args=ocp.args.StandardRestore(like))
            expected = bytes(found.pop("sha256")).hex()
            if fingerprint(found) != expected:
                raise ValueError("its content is not what was saved")
        except Exception as error:  # whatever a damaged file makes the readers raise
            reason = str(error).splitlines()[0][:200] if str(error) else repr(error)
            message = f"the checkpoint of step {step} is damaged ({reason})"
            print(f"mldg: {message}; trying the one before", file=sys.stderr)
            continue
        return step, {**found, "key": jax.random.wrap_key_data(found["key"])}
    raise UserError(
        f"no checkpoint under {manager.directory} can be read (steps "
        f"{', '.join(map(str, steps))}): the last problem was: {message}. Restore the "
        "folder from a backup, or remove it to train from the start"
    )


def _on_host(state: Any) -> dict[str, Any]:
    """A copy that shares no memory with the devices."""
    return jax.tree.map(np.array, {**state, "key": jax.random.key_data(state["key"])})


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
