"""Resumable checkpoints.

Orbax writes a checkpoint in the background, to a temporary folder that it renames, so a
killed run leaves whole checkpoints or none. Each holds its own fingerprint: one that
was damaged later is not continued from.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

from mldg_jax.common.errors import UserError
from mldg_jax.common.files import writing
from mldg_jax.common.provenance import fingerprint
from mldg_jax.step import TrainState

log = logging.getLogger(__name__)

LATEST = 2  # checkpoints kept besides the best: one may turn out to be damaged


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
def open_checkpoints(
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
    orbax_log = logging.getLogger("absl")
    level = orbax_log.level
    orbax_log.setLevel(logging.CRITICAL)
    try:
        with _opened(workdir, others) as manager:
            yield manager
    finally:
        orbax_log.setLevel(level)


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


def save(manager: ocp.CheckpointManager, step: int, state: TrainState) -> None:
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


def restore_latest(manager: ocp.CheckpointManager, state: TrainState) -> TrainState:
    """Returns the newest whole saved state, or the given one if none was ever saved.

    Damaged ones are logged, and removed: their steps are done again.

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
    manager: ocp.CheckpointManager, steps: Sequence[int], state: TrainState
) -> tuple[int, TrainState]:
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
            log.warning("%s; trying the one before", message)
            continue
        return step, _from_host(found, state)
    raise UserError(
        f"no checkpoint under {manager.directory} can be read (steps "
        f"{', '.join(map(str, steps))}): the last problem was: {message}. Restore the "
        "folder from a backup, or remove it to train from the start"
    )


def _on_host(state: TrainState) -> dict[str, Any]:
    """A copy as it is saved: it shares no memory with the devices."""
    host = state._asdict() | {"key": jax.random.key_data(state.key)}
    host["average"] = host.pop("ema")  # its name in checkpoints of all versions
    if not jax.tree.leaves(state.objective_state):
        del host["objective_state"]
    return jax.tree.map(np.array, host)


def _from_host(host: dict[str, Any], like: TrainState) -> TrainState:
    """What ``_on_host`` took apart."""
    fields = {"objective_state": like.objective_state} | host
    fields["ema"] = fields.pop("average")
    return TrainState(**fields | {"key": jax.random.wrap_key_data(host["key"])})
