"""Checkpoints to resume from.

Orbax writes a checkpoint in the background to a temporary folder and renames it at the
end, so a killed run leaves no partial checkpoint. Each checkpoint holds its own
fingerprint, by which later damage is detected.
"""

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

from mldg_jax.common import run_folder
from mldg_jax.common.errors import UserError
from mldg_jax.common.files import writing
from mldg_jax.common.provenance import fingerprint
from mldg_jax.step import TrainState

log = logging.getLogger(__name__)

FOLDER = "checkpoints"
LATEST = 2  # latest checkpoints to keep: the last one may turn out to be damaged


class _PreservationPolicy:
    """Tells Orbax to keep the latest checkpoints and the steps of ``others()``."""

    def __init__(self, others: Callable[[], Sequence[int]]):
        self._others = others

    def should_preserve(self, checkpoints: Any, *, context: Any) -> list[bool]:
        """Decides which checkpoints to keep.

        Args:
          checkpoints: Orbax's descriptions of the checkpoints, oldest first.
          context: Orbax's context.

        Returns:
          True for each checkpoint to keep, in the same order.
        """
        others = set(self._others())
        latest = preservation_policy.LatestN(LATEST).should_preserve(
            checkpoints, context=context
        )
        return [
            is_latest or checkpoint.step in others
            for is_latest, checkpoint in zip(latest, checkpoints, strict=True)
        ]


OPTIONAL = ("objective_state", "segment")
"""Fields of a state that are saved only if they are not empty."""


def result_is_intact(workdir: Path) -> bool:
    """Checks the result of a finished run.

    Args:
      workdir: the run folder.

    Returns:
      False, with a warning, if it is damaged and a checkpoint can replace it.

    Raises:
      UserError: it cannot be read, or is damaged and the run has no checkpoint.
    """
    try:
        run_folder.read_trainable(workdir)
    except run_folder.DamagedRunError:
        path = workdir / run_folder.TRAINABLE
        if not any(x.name.isdigit() for x in (workdir / FOLDER).glob("*")):
            raise UserError(
                f"{path} is damaged, and the run has no checkpoint to write it again "
                "from: copy the whole folder again, or train in a new one"
            ) from None
        log.warning("%s is damaged; it is written again from a checkpoint", path)
        return False
    return True


@contextlib.contextmanager
def open_checkpoints(
    workdir: Path,
    others: Callable[[], Sequence[int]] = tuple,
    *,
    is_private: bool = False,
) -> Iterator[ocp.CheckpointManager]:
    """Opens the checkpoints of a run; waits for pending writes at the end.

    Args:
      workdir: the run folder.
      others: returns the steps to keep in addition to the last two.
      is_private: whether each process of the run has a folder of its own.

    Yields:
      Orbax's manager, for the functions of this module.

    Raises:
      UserError: the file system refuses a write.
    """
    # Orbax logs a traceback of errors that it also raises: show them once.
    orbax_log = logging.getLogger("absl")
    level = orbax_log.level
    orbax_log.setLevel(logging.CRITICAL)
    try:
        with _quiet_readers(), _opened(workdir, others, is_private) as manager:
            yield manager
    finally:
        orbax_log.setLevel(level)


@contextlib.contextmanager
def _quiet_readers() -> Iterator[None]:
    """Drops the tracebacks of readers that come too late.

    After the first error in a damaged checkpoint, which is reported, tensorstore's
    other readers find Orbax's event loop closed, and each prints a traceback.
    """
    hooks = sys.excepthook, sys.unraisablehook

    def is_late(error: Any) -> bool:
        return isinstance(error, RuntimeError) and str(error) == "Event loop is closed"

    def show(kind, error, trace):
        if not is_late(error):
            hooks[0](kind, error, trace)

    def show_unraisable(unraisable):
        if not is_late(unraisable.exc_value):
            hooks[1](unraisable)

    sys.excepthook, sys.unraisablehook = show, show_unraisable
    try:
        yield
    finally:
        sys.excepthook, sys.unraisablehook = hooks


@contextlib.contextmanager
def _opened(workdir, others, is_private):
    alone = ocp.options.MultiprocessingOptions()
    if is_private:  # or the processes would wait for files of process 0
        own = jax.process_index()
        alone = ocp.options.MultiprocessingOptions(own, {own}, f"process-{own}")
    options = ocp.CheckpointManagerOptions(
        preservation_policy=_PreservationPolicy(others),
        cleanup_tmp_directories=True,
        multiprocessing_options=alone,
        create=not is_private,  # Orbax creates nothing for some of the processes
    )
    with writing(workdir):
        if is_private:
            (workdir / FOLDER).mkdir(parents=True, exist_ok=True)
        manager = ocp.CheckpointManager(
            (workdir / FOLDER).absolute(),
            # (said here, or Orbax looks for the kind in the newest folder, which a
            # kill or a full disk may have left empty)
            item_handlers=ocp.StandardCheckpointHandler(),
            options=options,
        )
    try:
        yield manager
    except BaseException:
        with contextlib.suppress(Exception):  # report the first error, not a later one
            manager.close()
        raise
    with writing(workdir):
        manager.close()


def save(manager: ocp.CheckpointManager, step: int, state: TrainState) -> None:
    """Copies a state to the host and writes it in the background.

    The copy is complete when this returns: the next step may reuse the state's memory.

    Args:
      manager: from ``open_checkpoints``.
      step: number of steps done.
      state: state after that step.

    Raises:
      UserError: the state is not finite, or the file system refused this checkpoint or
        the previous one.
    """
    host = _on_host(state)
    for path, x in jax.tree_util.tree_flatten_with_path(host)[0]:
        if not np.isfinite(x).all():
            raise UserError(
                f"after step {step} {jax.tree_util.keystr(path)} is not finite, so the "
                "state is not saved; lower optimizer.lr or objective.inner_lr. "
                + last_good(manager)
            )
    host["sha256"] = np.frombuffer(bytes.fromhex(fingerprint(host)), np.uint8)
    with writing(manager.directory.parent):
        manager.save(step, args=ocp.args.StandardSave(host), force=True)


def wait(manager: ocp.CheckpointManager) -> None:
    """Waits until all checkpoints are written.

    Args:
      manager: from ``open_checkpoints``.

    Raises:
      UserError: the file system refused a write.
    """
    with writing(manager.directory.parent):
        manager.wait_until_finished()


def last_good(manager: ocp.CheckpointManager) -> str:
    """Describes the newest checkpoint.

    Args:
      manager: from ``open_checkpoints``.

    Returns:
      A sentence for messages, without a full stop.
    """
    step = manager.latest_step()
    if step is None:
        return "No checkpoint had been saved"
    return f"The last good checkpoint is that of step {step}"


def restore_latest(manager: ocp.CheckpointManager, state: TrainState) -> TrainState:
    """Restores the newest intact checkpoint.

    Damaged checkpoints are logged and removed; their steps are done again.

    Args:
      manager: from ``open_checkpoints``.
      state: the initial state, of the same structure, shapes and dtypes.

    Returns:
      The restored state, or ``state`` if the run has no checkpoint.

    Raises:
      UserError: all checkpoints are damaged.
    """
    steps = sorted(manager.all_steps(), reverse=True)
    if not steps:
        return state
    restored_step, state = restore_first(manager, steps, state)
    for damaged_step in steps[: steps.index(restored_step)]:
        manager.delete(damaged_step)
    return state


def restore_first(
    manager: ocp.CheckpointManager, steps: Sequence[int], state: TrainState
) -> tuple[int, TrainState]:
    """Restores the first intact checkpoint of a list.

    Args:
      manager: from ``open_checkpoints``.
      steps: steps to try in this order, at least one.
      state: any state with the structure, shapes and dtypes of the saved ones.

    Returns:
      The step of the checkpoint, and its state.

    Raises:
      UserError: all checkpoints of the list are damaged.
    """
    like = _on_host(state) | {"sha256": np.zeros(32, np.uint8)}
    for step in steps:
        try:
            host = manager.restore(step, args=ocp.args.StandardRestore(like))
            expected = bytes(host.pop("sha256")).hex()
            if fingerprint(host) != expected:
                raise ValueError("its content differs from what was saved")
            if int(host["step"]) != step:
                raise ValueError(f"it holds the state of step {host['step']}")
        except Exception as error:  # damaged files make readers raise all kinds
            reason = str(error).splitlines()[0][:200] if str(error) else repr(error)
            message = f"the checkpoint of step {step} is damaged ({reason})"
            log.warning("%s; trying the previous one", message)
            continue
        return step, _from_host(host, state)
    raise UserError(
        f"no checkpoint under {manager.directory} can be read (steps "
        f"{', '.join(map(str, steps))}); the last error: {message}. Restore the "
        "folder from a backup, or delete it to train from the start"
    )


def _on_host(state: TrainState) -> dict[str, Any]:
    """Returns a copy in the saved form, which shares no memory with the devices."""
    host = state._asdict() | {"key": jax.random.key_data(state.key)}
    host["average"] = host.pop("ema")  # the name in the checkpoints of all versions
    for name in OPTIONAL:
        if not jax.tree.leaves(host[name]):
            del host[name]
    return jax.tree.map(np.array, host)


def _from_host(host: dict[str, Any], like: TrainState) -> TrainState:
    """Returns the state of a saved form: the inverse of ``_on_host``."""
    fields = {name: getattr(like, name) for name in OPTIONAL} | host
    fields["ema"] = fields.pop("average")
    return TrainState(**fields | {"key": jax.random.wrap_key_data(host["key"])})
