"""The training log: metrics.jsonl, a progress bar, and TensorBoard on request."""

import contextlib
import importlib.util
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from mldg_jax.common import files
from mldg_jax.common.errors import UserError
from mldg_jax.common.files import writing
from mldg_jax.common.text_files import read_json_lines

LOG, BOARD = "metrics.jsonl", "tensorboard"
SHOWN = {  # next to the progress bar: metric → label
    "loss": "loss",
    "meta_train_loss": "F",
    "meta_test_loss": "G",
    "gradient_cosine": "cos",
    "examples_per_second": "examples/s",
    "validation_eer": "EER",
}
Line = dict[str, Any]


class LoggedStep(NamedTuple):
    """A step whose metrics the host has not fetched yet.

    Attributes:
      number: number of the step, from 1.
      meta_train, meta_test: names of the episode's attacks.
      metrics: metrics of the step, still on the device.
    """

    number: int
    meta_train: list[str]
    meta_test: list[str]
    metrics: dict[str, jax.Array]


def fetch_and_check(recent: Sequence[LoggedStep], last_good: Callable[[], str]) -> Line:
    """Fetches the metrics of recent steps and checks that they are finite.

    Args:
      recent: steps since the last call, oldest first.
      last_good: returns a sentence about the last good checkpoint, for the message.

    Returns:
      The log line of the last step.

    Raises:
      UserError: a loss, gradient or update is NaN or infinite; names the step and its
        attacks.
    """
    for step in recent:
        for name in ("loss", "gradient_norm", "update_norm"):
            value = float(step.metrics[name])
            if not np.isfinite(value):
                quantity = name.replace("_norm", "")
                raise UserError(
                    f"the {quantity} is {value} at step {step.number} (meta-train "
                    f"attacks {', '.join(step.meta_train)}; meta-test attacks "
                    f"{', '.join(step.meta_test)}). {last_good()}. Lower optimizer.lr "
                    "or objective.inner_lr and train in a new folder"
                )
    last = recent[-1]
    metrics = {k: np.asarray(v) for k, v in last.metrics.items()}
    by_domain = metrics.pop("by_domain").tolist()
    line = {"step": last.number, **{k: float(v) for k, v in metrics.items()}}
    if not np.isfinite(line.get("gradient_cosine", 0.0)):
        del line["gradient_cosine"]  # NaN in steps for which it is not computed
    attacks = last.meta_train + last.meta_test
    line["by_attack"] = dict(zip(attacks, by_domain, strict=True))
    return line | {"meta_test": last.meta_test}


def read(workdir: Path, step: int) -> list[Line]:
    """Reads the log of a run, without a last line that a killed run left incomplete.

    Args:
      workdir: the run folder.
      step: last step to read.

    Returns:
      The lines up to that step; empty if there is no log.

    Raises:
      UserError: the file is not a log.
    """
    path = workdir / LOG
    if not path.exists():
        return []
    lines = read_json_lines(
        path,
        check=lambda line: type(line.get("step")) is int,
        fix="delete the damaged lines and start the same training command again",
    )
    return [line for line in lines if line["step"] <= step]


@contextlib.contextmanager
def open_log(
    workdir: Path, first: int, *, tensorboard: bool
) -> Iterator[Callable[[Line], None]]:
    """Opens a run's log and removes the lines of steps that will be done again.

    Args:
      workdir: the run folder.
      first: number of steps already done.
      tensorboard: whether to write event files too, to ``tensorboard/``.

    Yields:
      A function that writes a line.

    Raises:
      UserError: the file system refuses a write.
    """
    lines = [json.dumps(x) + "\n" for x in read(workdir, first)]
    files.write_text(workdir / LOG, "".join(lines))
    with writing(workdir):
        board = _board(workdir, first) if tensorboard else None

    def write(line: Line) -> None:
        with writing(workdir):
            with (workdir / LOG).open("a") as file:
                file.write(json.dumps(line) + "\n")
            if board is not None:
                _show(board, line)

    try:
        yield write
    finally:
        if board is not None:
            board.close()


def check_tensorboard() -> None:
    """Checks that TensorBoard's event files can be written.

    Raises:
      UserError: tensorboardX is not installed.
    """
    if importlib.util.find_spec("tensorboardX") is None:
        raise UserError(
            "config.tensorboard is set, but tensorboardX is not installed: pip install "
            "'mldg_jax[tensorboard]', or set tensorboard=false; metrics.jsonl holds "
            "the same values"
        )


def _board(workdir: Path, first: int) -> Any:
    from tensorboardX import SummaryWriter  # an optional dependency

    return SummaryWriter(str(workdir / BOARD), purge_step=first + 1)


def _show(board: Any, line: Line) -> None:
    values = {k: v for k, v in line.items() if isinstance(v, float)}
    values |= {f"by_attack/{a}": v for a, v in line.get("by_attack", {}).items()}
    for name, value in values.items():
        board.add_scalar(name, value, line["step"])


class Speed:
    """Training speed in examples per second."""

    def __init__(self) -> None:
        self._since, self._examples = time.monotonic(), 0

    def add(self, examples: int) -> None:
        """Counts the examples of a step.

        Args:
          examples: number of examples, on all devices together.
        """
        self._examples += examples

    def per_second(self) -> float:
        """Returns the examples per second since the last call, and starts anew."""
        now = time.monotonic()
        rate = self._examples / max(now - self._since, 1e-9)
        self._since, self._examples = now, 0
        return round(rate, 2)


@contextlib.contextmanager
def progress_bar(
    first: int, last: int, progress: Callable[[int], Any] | None
) -> Iterator[Callable[[int, Line | None], None]]:
    """Shows the progress of training.

    Args:
      first: number of steps already done.
      last: total number of steps.
      progress: called with the step number instead; None shows a bar on stderr.

    Yields:
      A function to call after every step, with its number and its line or None.
    """
    if progress is not None:
        yield lambda step, line: progress(step)
        return
    with tqdm(initial=first, total=last, unit="step", dynamic_ncols=True) as bar:

        def show(step: int, line: Line | None) -> None:
            bar.update(step - bar.n)
            if line is not None:
                labelled = {SHOWN[k]: f"{line[k]:.3g}" for k in SHOWN if k in line}
                bar.set_postfix(labelled, refresh=False)

        yield show
