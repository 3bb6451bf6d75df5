"""Averages of a run's parameters, all of one trajectory, see ``training.averaging``.

During training the mean of φ over each segment of steps is kept, with the last φ and
the EMA at its end. At the end of training, and at earlier steps on request, they become

    ema      the exponential moving average
    last     φ after the last step
    uniform  the mean of φ over the steps after ``averages.start`` (arXiv 2110.10832)
    swad     the mean over the segments that SWAD chooses (arXiv 2102.08604), by the
             losses of φ at their ends on held-out training attacks

    run/segments/<step>/{mean,last,ema}.safetensors
    run/averages/<step>/{ema,last,uniform,swad}.safetensors
"""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mldg_jax.common import files, run_folder
from mldg_jax.common.config import Config
from mldg_jax.common.errors import UserError
from mldg_jax.step import TrainState
from mldg_jax.training import averaging, parallel
from mldg_jax.training.swad import swad_segments

EMA, LAST, UNIFORM, SWAD = NAMES = ("ema", "last", "uniform", "swad")
SEGMENTS, AVERAGES = "segments", "averages"
FACTS = "swad.json"


def check(config: Config) -> None:
    """Checks the section ``averages`` of a config.

    Args:
      config: config of the run.

    Raises:
      UserError: values that contradict each other.
    """
    section, validation = config.averages, config.validation
    name = f"averages.detector is {section.detector}"
    if section.detector in (UNIFORM, SWAD) and not section.every:
        raise UserError(f"{name}, which averages segments: set averages.every too")
    if section.detector == SWAD and not validation.attacks:
        raise UserError(
            f"{name}, which chooses steps by the loss on held-out training attacks: "
            "name some in validation.attacks"
        )
    if section.detector != EMA and validation.every:
        raise UserError(
            f"{name}, but validation.every chooses a checkpoint, which is the EMA of "
            "one step: set validation.every=0 or averages.detector=ema"
        )
    if (section.every or section.at) and validation.patience:
        raise UserError(
            f"validation.patience is {validation.patience}, but averages.every and "
            "averages.at need all steps: set validation.patience=0"
        )
    if section.every and section.start % section.every:
        raise UserError(
            f"averages.start is {section.start}; it must be a multiple of "
            f"averages.every, {section.every}"
        )
    if section.every and section.start >= min((*section.at, config.steps)):
        raise UserError(
            f"averages.start is {section.start}; it must be below steps, "
            f"{config.steps}, and below every step of averages.at"
        )
    if max(section.at, default=0) >= config.steps:
        raise UserError(
            f"averages.at is {section.at}; its steps must be below steps, "
            f"{config.steps}, at which the averages are computed anyway"
        )


def ends(config: Config) -> tuple[int, ...]:
    """Returns the steps after which a segment ends.

    Args:
      config: config of the run.

    Returns:
      Step numbers, ascending, the last of them ``config.steps``; none if the config
      asks for no segments.
    """
    section, steps = config.averages, config.steps
    if not (section.every or section.at):
        return ()
    regular = range(section.every, steps, section.every) if section.every else ()
    return tuple(sorted({*regular, *section.at, steps}))


def names(config: Config) -> tuple[str, ...]:
    """Returns the averages that a run computes.

    Args:
      config: config of the run.

    Returns:
      Some of ``NAMES``; uniform needs ``averages.every``, swad ``validation.attacks``
      too.
    """
    if not ends(config):
        return ()
    section = config.averages
    has_swad = section.every and config.validation.attacks
    return (EMA, LAST, *[UNIFORM] * bool(section.every), *[SWAD] * bool(has_swad))


def path(workdir: Path, step: int, name: str) -> Path:
    """Returns the file of an average, for ``run_folder.read_parameters``.

    Args:
      workdir: the run folder.
      step: ``config.steps``, or one of ``averages.at``.
      name: one of ``names``.

    Returns:
      A path in the run folder.
    """
    return workdir / AVERAGES / str(step) / f"{name}.safetensors"


def write_segment(workdir: Path, step: int, state: TrainState) -> None:
    """Writes the mean of a segment, and φ and its EMA at the end of it.

    Args:
      workdir: the run folder.
      step: the last step of the segment, one of ``ends``.
      state: the state after that step.

    Raises:
      UserError: the folder cannot be written to.
    """
    trees = (state.segment.average, state.trainable, state.ema)
    stats = parallel.local(state.batch_stats)
    for name, tree in zip(("mean", LAST, EMA), trees, strict=True):
        file = _segment(workdir, step, name)
        run_folder.write_parameters(file, parallel.local(tree), stats)


def write_averages(
    config: Config,
    workdir: Path,
    *,
    loss: Callable[[Any, Any], float] | None,
    batch_stats: Callable[[Any, Any], Any],
) -> None:
    """Computes the averages of a finished trajectory; the files are written once.

    Args:
      config: config of the run.
      workdir: the run folder, with the segments of all steps.
      loss: ``(trainable, batch_stats) -> loss`` on held-out training attacks; None if
        there is no swad.
      batch_stats: ``(average, batch_stats) -> batch_stats``, measures the statistics of
        an average; they are those at its last step to begin with.

    Raises:
      UserError: a segment is missing or damaged, or the folder cannot be written to.
    """
    every_end = ends(config)
    wanted = (*config.averages.at, config.steps)
    files_left = [
        (step, name)
        for step, name in itertools.product(wanted, names(config))
        if not path(workdir, step, name).exists()
    ]
    losses: list[float] = []
    if loss is not None and any(name == SWAD for _, name in files_left):
        losses = [loss(*_read(workdir, end, LAST)) for end in every_end]
    for step, name in files_left:
        last, stats = _read(workdir, step, EMA if name == EMA else LAST)
        if name in (UNIFORM, SWAD):
            until = [end for end in every_end if end <= step]
            if name == UNIFORM:
                chosen = [end for end in until if end > config.averages.start]
            else:
                chosen = _valley(config, workdir, step, until, losses[: len(until)])
            last = averaging.weighted_average(
                (_read(workdir, end, "mean")[0] for end in chosen),
                [_length(every_end, end) for end in chosen],
            )
            stats = batch_stats(last, stats)
        run_folder.write_parameters(path(workdir, step, name), last, stats)


def read(config: Config, workdir: Path) -> tuple[Any, Any]:
    """Reads the average that ``averages.detector`` names.

    Args:
      config: config of the run.
      workdir: the run folder, with all averages.

    Returns:
      ``(trainable, batch_stats)``.
    """
    file = path(workdir, config.steps, config.averages.detector)
    return run_folder.read_parameters(file)


def _valley(
    config: Config, workdir: Path, step: int, until: list[int], losses: list[float]
) -> list[int]:
    """Chooses SWAD's segments, and writes down how; returns the steps at their ends."""
    section = config.averages
    valley = swad_segments(
        losses,
        n_converge=section.n_converge,
        n_tolerance=section.n_tolerance,
        tolerance_ratio=section.tolerance_ratio,
    )
    chosen = [until[index] for index in valley.segments]
    facts = {"ends": until, "losses": losses, "chosen": chosen}
    facts |= {"converged": valley.converged, "threshold": valley.threshold}
    file = path(workdir, step, SWAD).with_name(FACTS)
    files.write_text(file, json.dumps(facts, indent=1) + "\n")
    return chosen


def _length(every_end: tuple[int, ...], end: int) -> int:
    return end - max((x for x in every_end if x < end), default=0)


def _segment(workdir: Path, step: int, name: str) -> Path:
    return workdir / SEGMENTS / f"{step:08d}" / f"{name}.safetensors"


def _read(workdir: Path, step: int, name: str) -> tuple[Any, Any]:
    return run_folder.read_parameters(_segment(workdir, step, name))
