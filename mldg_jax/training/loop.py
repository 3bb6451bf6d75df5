"""The training loop: from a config and a corpus to a run folder.

The step itself is in ``step``. An episode is a pure function of (seed, step), so a
resumed run needs only its state and its config. New and resumed runs do the same:

1. Check config and corpus before anything large is loaded.
2. Load the front-end, and record or compare its fingerprint.
3. Restore the newest intact checkpoint, and cut the log to its step.
4. Do the steps. When the host waits for the device anyway (for a log line, a validation
   or a checkpoint), check the steps since then for NaN, write the line, then the
   checkpoint: the log is never behind a checkpoint, and no checkpoint contains NaN.
5. Write the result last: its presence marks the run as finished.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mldg_jax.common import provenance, run_folder
from mldg_jax.common.config import Config
from mldg_jax.common.errors import UserError
from mldg_jax.data import attack_folds, episodes, loader
from mldg_jax.data.corpus import Corpus, trained_on
from mldg_jax.models import pretrained
from mldg_jax.models.detector import create_detector
from mldg_jax.models.split import measures_examples, parameter_shapes
from mldg_jax.scoring import model_card
from mldg_jax.step import TrainState
from mldg_jax.training import (
    checkpoints,
    feature_cache,
    finish,
    parallel,
    trajectory,
    validation,
)
from mldg_jax.training.announcement import announced
from mldg_jax.training.build import (
    build_sampler,
    build_state,
    build_step,
    episode_options,
)
from mldg_jax.training.log import (
    Line,
    LoggedStep,
    Speed,
    check_tensorboard,
    fetch_and_check,
    open_log,
    progress_bar,
)

EXAMPLE_EPISODES = 4  # episodes for the statistics that standardise the head's input


def train(
    config: Config,
    workdir: str | Path,
    corpus: Corpus,
    *,
    validate_on: Corpus | None = None,
    devices: Sequence[jax.Device] | None = None,
    progress: Callable[[int], Any] | None = None,
    stop: Callable[[], bool] = lambda: False,
    publish: Callable[[], None] | None = None,
) -> Path:
    """Trains one detector; continues the run if the folder holds an unfinished one.

    Args:
      config: see ``configs/`` and ``common.config``.
      workdir: the run folder. A finished run holds config.json, frozen.json,
        metrics.jsonl, checkpoints/, MODEL_CARD.md and trainable.safetensors.
      corpus: the training split; ``config.episode.exclude`` and
        ``config.validation.attacks`` are excluded from it.
      validate_on: the split that ``config.validation`` names, if validation is on.
      devices: devices to train on, of all processes; one device by default.
      progress: called with the step number after every step; None shows a progress bar.
      stop: called after every step; if it returns True, the state is saved and training
        ends without a result.
      publish: copies the run folder to where it stays, see ``remote_run``; called by
        the primary process after every checkpoint. The folder is then not shared with
        the other processes.

    Returns:
      The run folder; ``run_folder.finished`` tells whether the run is finished.

    Raises:
      UserError: the config is not valid, the folder holds a run with another config or
        other frozen weights, none of its checkpoints can be read, the folder cannot be
        written to, or a loss or gradient is not finite.
    """
    workdir = Path(workdir)
    if run_folder.finished(workdir):
        run_folder.check_config(workdir, config)
        if checkpoints.result_is_intact(workdir):
            return workdir
    if config.steps < 1:
        raise UserError(f"steps is {config.steps}; a detector needs at least 1")
    devices = list(devices or jax.local_devices()[:1])
    is_primary = parallel.is_primary()
    if config.tensorboard:
        check_tensorboard()
    trajectory.check(config)
    held_out = config.validation.split == attack_folds.HELD_OUT
    rows = validation.choose(
        config.validation,
        corpus,
        validate_on,
        for_averages=held_out or bool(config.averages.every),
    )
    if rows is not None and config.corpus.fold is not None and not held_out:
        raise UserError(
            f"corpus.fold {config.corpus.fold} trains on speakers of the split "
            f"{config.validation.split}, which then cannot be used for validation: "
            f"set validation.split={attack_folds.HELD_OUT}"
        )
    excluded = validation.excluded(config)
    domains = episodes.group(
        corpus,
        exclude=excluded,
        weights=config.episode.weights,
        by=config.episode.domains,
    )
    make = build_sampler(config, domains, corpus)
    if config.feature_cache:
        feature_cache.check(config)
    axis_name = parallel.axis_name(devices)
    detector = create_detector(config.model, axis_name, config.compute)
    parameter_shapes(detector, config.model, config.crop_samples)  # or it is refused
    count = len(domains.attacks)
    step = build_step(config, detector, axis_name=axis_name, num_domains=count)
    step = parallel.compile_step(step, devices, config.compute.mapping)
    if progress is None and is_primary:  # where a bar stands still meanwhile
        step = announced(step, "the training step")
    episode_of = make(devices=parallel.local_shard(devices))
    drawn = episodes.sample_episode(
        domains, seed=config.seed, step=0, **episode_options(config)
    )
    # Fails here, before the weights are loaded, if an episode cannot be sharded.
    loader.shard_episode(drawn, *parallel.local_shard(devices))

    if is_primary:
        facts = provenance.collect(trained_on(corpus, excluded) | {"domains": count})
        run_folder.write_config(workdir, config, facts)
    frontend = pretrained.load_frontend(config.model)
    fingerprint = run_folder.check_frozen(
        workdir, config.model.weights, frontend, write=is_primary
    )
    examples = np.zeros((1, config.crop_samples), np.float32)
    if measures_examples(detector):
        examples = _waveforms([make()(i)[1] for i in range(EXAMPLE_EPISODES)])
    state, frozen = build_state(config, detector, frontend, examples, num_domains=count)
    del frontend  # it is in the state or the frozen parameters: do not hold it twice
    if config.feature_cache:
        features = feature_cache.kept(
            config, detector, frozen["frontend"], corpus, fingerprint=fingerprint
        )
        episode_of = make(devices=parallel.local_shard(devices), feature_cache=features)
    frozen = parallel.replicate(frozen, devices)
    history: validation.History = {}

    def steps_to_keep():
        best = validation.best(history)[: config.validation.keep]
        every = config.keep_every
        return [*best, *(range(0, config.steps, every) if every else ())]

    with checkpoints.open_checkpoints(
        workdir, steps_to_keep, is_private=publish is not None
    ) as manager:
        state = checkpoints.restore_latest(manager, state)
        first = int(state.step)
        _check_agreement(first)
        history |= validation.read(workdir, first)
        state = parallel.replicate(state, devices)
        run = finish.Run(
            config,
            workdir,
            step,
            frozen,
            domains.attacks,
            rows,
            history,
            manager,
            publish,
        )
        with (
            _log(run, first)
            if is_primary
            else contextlib.nullcontext(_ignore) as write,
            progress_bar(
                first, config.steps, progress if is_primary else _ignore
            ) as show,
        ):
            state, stopped = _steps(run, state, episode_of, write, show, stop)
        if stopped:
            return workdir
        checkpoints.wait(manager)
        result = finish.result(run, state, make())
    if is_primary:
        model_card.write(workdir)
        run_folder.write_trainable(workdir, *result)
        if publish is not None:
            publish()
    return workdir


def _steps(
    run: finish.Run,
    state: TrainState,
    episode_of: Callable[[int], Any],
    write: Callable[[Line], None],
    show: Callable[[int, Line | None], None],
    stop: Callable[[], bool],
) -> tuple[TrainState, bool]:
    """Does the remaining steps; returns the state, and whether ``stop`` ended them."""
    config, manager, patience = run.config, run.manager, run.config.validation.patience
    recent: list[LoggedStep] = []
    speed = Speed()
    remaining = range(int(state.step), config.steps)
    ends = trajectory.ends(config)
    if validation.exhausted(run.history, patience):
        return state, False
    with contextlib.closing(
        loader.prefetch(episode_of, remaining, **dataclasses.asdict(config.loader))
    ) as prefetched:
        for number, (drawn, episode) in zip(remaining, prefetched, strict=True):
            state, metrics = run.step(state, run.frozen, episode)
            done = number + 1
            last = done == config.steps
            train, test = (_attacks(run, drawn[x]) for x in ("meta_train", "meta_test"))
            recent.append(LoggedStep(done, train, test, metrics))
            speed.add(sum(half["row"].size for half in drawn.values()))
            stopping = parallel.should_stop(done, stop()) and not last
            every = config.validation.every
            validating = bool(every) and (last or done % every == 0)
            logging = validating or last or done % config.log_every == 0
            saving = (
                validating or last or stopping or done % config.checkpoint_every == 0
            )
            line: Line | None = None
            if logging or saving:
                line = fetch_and_check(recent, lambda: checkpoints.last_good(manager))
                line["examples_per_second"] = speed.per_second()
                recent.clear()
                if run.rows is not None and validating:
                    result = validation.evaluate(config, run.rows, state, run.frozen)
                    run.history[done] = result[validation.EER], result[validation.LOSS]
                    line |= result
                if logging:
                    write(line)
            if done in ends and parallel.is_primary():
                trajectory.write_segment(run.workdir, done, state)
            if saving:
                checkpoints.save(manager, done, state)
                if run.publish is not None:
                    checkpoints.wait(manager)
                    if parallel.is_primary():
                        run.publish()
            show(done, line)
            if stopping:
                return state, True
            if validation.exhausted(run.history, patience):
                break
    return state, False


def _check_agreement(first: int) -> None:
    """Checks that all processes continue from the same step."""
    primary = int(parallel.broadcast_from_primary(np.array([first]))[0])
    if first != primary:
        raise UserError(
            f"this process read the checkpoint of step {first}, process 0 that of "
            f"{primary}: start all processes again, when none is left that still writes"
        )


def _log(run: finish.Run, first: int) -> AbstractContextManager[Callable[[Line], None]]:
    return open_log(run.workdir, first, tensorboard=run.config.tensorboard)


def _ignore(*_: Any) -> None:
    """Serves as log and progress in processes that are not the primary one."""


def _waveforms(batch: list) -> np.ndarray:
    """Returns the waveforms of several episodes, (n, samples)."""
    halves = [half["waveform"] for episode in batch for half in episode.values()]
    return np.concatenate([x.reshape(-1, x.shape[-1]) for x in halves])


def _attacks(run: finish.Run, half: dict[str, np.ndarray]) -> list[str]:
    """Returns the attack names of one half of an episode."""
    return [run.attacks[d] for d in half["domain"]]
