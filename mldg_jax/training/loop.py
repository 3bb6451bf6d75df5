"""Training: a config and a corpus in, a run folder out.

The step is in ``step``. The episode is a pure function of (seed, step), so the state
and the config are all that a resumed run needs. The order of things, of a run that
begins and of one that goes on:

1. what cannot be is refused, before anything large is loaded;
2. the front-end is loaded, and its fingerprint kept or compared;
3. the newest whole checkpoint is restored, and the log cut to its step;
4. steps. Where the host waits for the device anyway (at a log line, a validation or a
   checkpoint) the steps since are checked for NaN; then the line is written, then the
   checkpoint. So a checkpoint's line is always there, and no checkpoint has a NaN;
5. the result is written last: its presence says that the run is finished.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from mldg_jax.common import provenance, run_folder
from mldg_jax.common.config import Config
from mldg_jax.common.errors import UserError
from mldg_jax.data import episodes, loader
from mldg_jax.data.augment.section import from_config
from mldg_jax.data.corpus import Corpus, trained_on
from mldg_jax.models import pretrained
from mldg_jax.models.detector import create_detector
from mldg_jax.models.split import measures_examples
from mldg_jax.scoring import model_card
from mldg_jax.step import Step, TrainState
from mldg_jax.training import checkpoints, feature_cache, parallel, validation
from mldg_jax.training.build import build_state, build_step
from mldg_jax.training.log import (
    Line,
    LoggedStep,
    Speed,
    check_tensorboard,
    fetch_and_check,
    open_log,
    progress_bar,
)

EXAMPLE_EPISODES = 4  # of which the head's input is standardised


class Run(NamedTuple):
    """What the steps of a run need and do not change, ``history`` apart.

    Attributes:
      config, workdir: the run's.
      step: the compiled step.
      frozen: the frozen parameters, on the devices.
      attacks: names, by domain number.
      rows: the utterances to validate on; None without validation.
      history: the validations so far; grows.
      manager: of its checkpoints.
    """

    config: Config
    workdir: Path
    step: Step
    frozen: Any
    attacks: tuple[str, ...]
    rows: Corpus | None
    history: validation.History
    manager: Any


def train(
    config: Config,
    workdir: str | Path,
    corpus: Corpus,
    *,
    validate_on: Corpus | None = None,
    devices: Sequence[jax.Device] | None = None,
    progress: Callable[[int], Any] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Path:
    """Trains one detector; started again in the same folder it continues.

    Args:
      config: see ``configs/``.
      workdir: the run folder. Afterwards it holds config.json, frozen.json,
        metrics.jsonl, checkpoints/, MODEL_CARD.md and trainable.safetensors.
      corpus: training split; ``config.episode.exclude`` and
        ``config.validation.attacks`` are left out.
      validate_on: the split that ``config.validation`` names, if it is on.
      devices: where to run, of all processes; one device by default.
      progress: called with the step number after every step; a progress bar if None.
      stop: asked after every step; if it says yes, the state is saved and training
        ends without a result (``run_folder.finished`` says which).

    Raises:
      UserError: an impossible config, the folder holds a run of another config or of
        other frozen weights, no checkpoint of it can be read, the folder cannot be
        written to, or a loss or gradient is not finite.
    """
    workdir = Path(workdir)
    if run_folder.finished(workdir):
        run_folder.check_config(workdir, config)
        return workdir
    devices = list(devices or jax.local_devices()[:1])
    is_primary = parallel.is_primary()
    if config.tensorboard:
        check_tensorboard()
    rows = validation.choose(config.validation, corpus, validate_on)
    if rows is not None and config.corpus.fold is not None:
        raise UserError(
            f"corpus.fold {config.corpus.fold} trains on speakers of the split "
            f"{config.validation.split}, which then cannot validate: leave corpus.fold "
            "empty or set validation.every=0"
        )
    excluded = validation.excluded(config)
    domains = episodes.group(
        corpus,
        exclude=excluded,
        weights=config.episode.weights,
        by=config.episode.domains,
    )
    make = _sampler(config, domains, corpus)
    if config.feature_cache:
        feature_cache.check(config)
    axis_name = parallel.axis_name(devices)
    detector = create_detector(config.model, axis_name, config.compute)
    step = build_step(config, detector, axis_name=axis_name)
    step = parallel.compile_step(step, devices)
    episode_of = make(devices=parallel.local_shard(devices))
    drawn = episodes.sample_episode(domains, seed=config.seed, step=0, **_drawn(config))
    loader.shard_episode(
        drawn, *parallel.local_shard(devices)
    )  # refused here, if it cannot be

    if is_primary:
        facts = provenance.collect(trained_on(corpus, excluded))
        run_folder.write_config(workdir, config, facts)
    frontend = pretrained.load_frontend(config.model)
    fingerprint = run_folder.check_frozen(
        workdir, config.model.weights, frontend, write=is_primary
    )
    examples = np.zeros((1, config.crop_samples), np.float32)
    if measures_examples(detector):
        examples = _examples([make()(i)[1] for i in range(EXAMPLE_EPISODES)])
    state, frozen = build_state(config, detector, frontend, examples)
    del frontend
    if config.feature_cache:
        kept = feature_cache.kept(
            config, detector, frozen["frontend"], corpus, fingerprint=fingerprint
        )
        episode_of = make(devices=parallel.local_shard(devices), feature_cache=kept)
    frozen = parallel.replicate(frozen, devices)
    history: validation.History = {}

    def kept_steps():
        best = validation.best(history)[: config.validation.keep]
        every = config.keep_every
        return [*best, *(range(0, config.steps, every) if every else ())]

    with checkpoints.open_checkpoints(workdir, kept_steps) as manager:
        state = checkpoints.restore_latest(manager, state)
        first = int(state.step)
        history |= validation.read(workdir, first)
        state = parallel.replicate(state, devices)
        run = Run(
            config, workdir, step, frozen, domains.attacks, rows, history, manager
        )
        with (
            _log(run, first)
            if is_primary
            else contextlib.nullcontext(_nothing) as write,
            progress_bar(
                first, config.steps, progress if is_primary else _nothing
            ) as show,
        ):
            state, stopped = _steps(run, state, episode_of, write, show, stop)
        if stopped:
            return workdir
        checkpoints.wait(manager)
        chosen = _chosen(run, state)
    if is_primary:
        model_card.write(workdir)
        run_folder.write_trainable(workdir, chosen.ema, chosen.batch_stats)
    return workdir


def _steps(
    run: Run,
    state: TrainState,
    episode_of: Callable[[int], Any],
    write: Callable[[Line], None],
    show: Callable[[int, Line | None], None],
    stop: Callable[[], bool],
) -> tuple[TrainState, bool]:
    """Does the steps that are left; returns the state, and whether it was stopped."""
    config, manager, patience = run.config, run.manager, run.config.validation.patience
    recent: list[LoggedStep] = []
    speed = Speed()
    left = range(int(state.step), config.steps)
    if validation.exhausted(run.history, patience):
        return state, False
    with contextlib.closing(
        loader.prefetch(episode_of, left, **dataclasses.asdict(config.loader))
    ) as episodes_left:
        for number, (drawn, episode) in zip(left, episodes_left, strict=True):
            state, metrics = run.step(state, run.frozen, episode)
            done = number + 1
            last = done == config.steps
            train, test = (_attacks(run, drawn[x]) for x in ("meta_train", "meta_test"))
            recent.append(LoggedStep(done, train, test, metrics))
            speed.add(sum(half["row"].size for half in drawn.values()))
            stopping = parallel.should_stop(done, stop()) and not last
            validating = run.rows is not None and (
                last or done % config.validation.every == 0
            )
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
                    found = validation.evaluate(config, run.rows, state, run.frozen)
                    run.history[done] = found[validation.EER], found[validation.LOSS]
                    line |= found
                if logging:
                    write(line)
            if saving:
                checkpoints.save(manager, done, state)
            show(done, line)
            if stopping:
                return state, True
            if validation.exhausted(run.history, patience):
                break
    return state, False


def _chosen(run: Run, state: TrainState) -> TrainState:
    """The state that is the run's result: the best validated one, or the last."""
    if run.rows is None:
        return state
    ranked = validation.best(run.history)
    there = [step for step in ranked if step in run.manager.all_steps()]
    step, state = checkpoints.restore_first(run.manager, there, state)
    if parallel.is_primary():
        facts = validation.facts(run.config, run.rows, run.history, step)
        run_folder.add_provenance(run.workdir, "validation", facts)
    return state


def _sampler(config: Config, domains: episodes.Domains, corpus: Corpus) -> Callable:
    """``loader.sampler`` of a run; takes ``devices``."""
    return functools.partial(
        loader.sampler,
        domains,
        corpus,
        seed=config.seed,
        options=_drawn(config),
        samples=config.crop_samples,
        augment=from_config(config.augment)[0],
    )


def _drawn(config: Config) -> dict[str, Any]:
    """What ``episodes.sample_episode`` takes of a config."""
    return {name: getattr(config.episode, name) for name in loader.SAMPLED}


def _log(run: Run, first: int) -> AbstractContextManager[Callable[[Line], None]]:
    return open_log(run.workdir, first, tensorboard=run.config.tensorboard)


def _nothing(*_: Any) -> None:
    """The log and the progress of a process that is not the primary one."""


def _examples(some: list) -> np.ndarray:
    """The waveforms of some episodes, (n, samples)."""
    halves = [half["waveform"] for episode in some for half in episode.values()]
    return np.concatenate([x.reshape(-1, x.shape[-1]) for x in halves])


def _attacks(run: Run, half: dict[str, np.ndarray]) -> list[str]:
    """The names of the attacks of an episode's half."""
    return [run.attacks[d] for d in half["domain"]]
