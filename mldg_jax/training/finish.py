"""The end of a run: the parameters that its detector consists of."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax

from mldg_jax.common import run_folder
from mldg_jax.common.config import Config
from mldg_jax.data.corpus import Corpus
from mldg_jax.models.aasist_blocks import BatchNorm
from mldg_jax.models.detector import create_detector
from mldg_jax.models.split import measures_examples
from mldg_jax.step import Step, TrainState
from mldg_jax.training import averaging, checkpoints, parallel, trajectory, validation
from mldg_jax.training.build import build_batch_stats

MEASURED_EPISODES = 32  # episodes for the BatchNorm statistics of an average


class Run(NamedTuple):
    """The parts of a run that stay the same over its steps, except ``history``.

    Attributes:
      config: config of the run.
      workdir: the run folder.
      step: the compiled step.
      frozen: the frozen parameters, on the devices.
      attacks: attack names by domain number.
      rows: utterances to validate on; None without validation.
      history: validations so far; grows during training.
      manager: Orbax's manager of the checkpoints.
      publish: copies the run folder elsewhere; None if it is where it stays.
    """

    config: Config
    workdir: Path
    step: Step
    frozen: Any
    attacks: tuple[str, ...]
    rows: Corpus | None
    history: validation.History
    manager: Any
    publish: Callable[[], None] | None = None


def result(
    run: Run, state: TrainState, episode_of: Callable[[int], Any]
) -> tuple[Any, Any]:
    """Chooses or computes the parameters of the finished detector.

    Args:
      run: the run, with a checkpoint of every validated step that was kept.
      state: the state after the last step.
      episode_of: see ``loader.sampler``: whole episodes, on the host.

    Returns:
      ``(trainable, batch_stats)``; in processes that are not the primary one, which
      writes them, those of ``state``.

    Raises:
      UserError: a file of the run cannot be read or written.
    """
    state, config = _chosen(run, state), run.config
    if trajectory.ends(config) and parallel.is_primary():
        has_swad = trajectory.SWAD in trajectory.names(config)
        trajectory.write_averages(
            config,
            run.workdir,
            loss=_loss_of(run) if has_swad else None,
            batch_stats=_batch_stats_of(run, episode_of),
        )
        return trajectory.read(config, run.workdir)
    is_last = config.averages.detector == trajectory.LAST
    return (state.trainable if is_last else state.ema), state.batch_stats


def _chosen(run: Run, state: TrainState) -> TrainState:
    """Returns the state to keep as the result: the best validated one, or the last."""
    if run.rows is None or not run.config.validation.every:
        return state
    ranked = validation.best(run.history)
    saved = [step for step in ranked if step in run.manager.all_steps()]
    step, state = checkpoints.restore_first(run.manager, saved, state)
    if parallel.is_primary():
        facts = validation.facts(run.config, run.rows, run.history, step)
        run_folder.add_provenance(run.workdir, "validation", facts)
    return state


def _loss_of(run: Run) -> Callable[[Any, Any], float]:
    """Returns the loss of parameters on the utterances to validate on."""
    frozen, rows = parallel.local(run.frozen), run.rows
    assert rows is not None

    def loss(trainable, batch_stats):
        return validation.errors(run.config, rows, trainable, batch_stats, frozen)[1]

    return loss


def _batch_stats_of(
    run: Run, episode_of: Callable[[int], Any]
) -> Callable[[Any, Any], Any]:
    """Returns the measurement of an average's BatchNorm statistics."""
    detector = create_detector(run.config.model, compute=run.config.compute)
    if measures_examples(detector):  # which do not depend on the average
        return lambda average, batch_stats: batch_stats
    frozen = parallel.local(run.frozen)
    update = jax.jit(build_batch_stats(run.config, detector))
    return lambda average, batch_stats: averaging.batch_stats_of(
        functools.partial(update, frozen),
        average,
        batch_stats,
        (episode_of(number)[1] for number in range(MEASURED_EPISODES)),
        momentum=BatchNorm.momentum,
    )
