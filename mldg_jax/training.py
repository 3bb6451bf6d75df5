"""Training: a config and a corpus in, a run folder out.

The step is in ``steps``. The episode is a pure function of (seed, step), so the state
and the config are all that a resumed run needs.
"""

import functools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np
from tqdm import tqdm

from mldg_jax import cards, checkpoint, parallel, pretrained, provenance, steps
from mldg_jax.data import episodes, loader
from mldg_jax.data.augment import from_config
from mldg_jax.data.corpus import Corpus
from mldg_jax.errors import UserError
from mldg_jax.models import detector as detectors

EXAMPLE_EPISODES = 4  # of which the head's input is standardised


def load_frontend(config: Any) -> dict:
    """Loads the pretrained front-end of a config's ``model`` section.

    With ``frontend.layers`` below the pretrained depth the upper layers are dropped.

    Raises:
      UserError: an unknown kind, or weights that are not there or do not fit.
    """
    module = detectors.create(config).frontend
    return pretrained.load(config.weights, config.frontend.kind, module)


def train(
    config: ml_collections.ConfigDict,
    workdir: str | Path,
    corpus: Corpus,
    *,
    devices: Sequence[jax.Device] | None = None,
    progress: Callable[[int], Any] | None = None,
) -> Path:
    """Trains one detector; started again in the same folder it continues.

    Args:
      config: see ``configs/``.
      workdir: the run folder. Afterwards it holds config.json, metrics.jsonl,
        checkpoints/, MODEL_CARD.md and trainable.safetensors.
      corpus: training split; ``config.episode.without`` attacks are left out.
      devices: where to run, of all processes; one device by default.
      progress: called with the step number after every step; a progress bar if None.

    Raises:
      UserError: an impossible config, the folder holds a run of another config, or the
        loss is not finite.
    """
    workdir = Path(workdir)
    if (workdir / checkpoint.TRAINABLE).exists():
        checkpoint.check_config(workdir, config)
        return workdir
    devices = list(devices or jax.local_devices()[:1])
    domains = episodes.group(
        corpus,
        without=config.episode.without,
        weights=config.episode.weights,
        by=config.episode.domains,
    )
    options = {k: config.episode[k] for k in ("meta_test", "examples", "attacks")}
    make = functools.partial(
        loader.sampler,
        domains,
        corpus,
        seed=config.seed,
        options=options,
        samples=config.samples,
        augment=from_config(config.augment)[0],
    )

    # What cannot be is refused before anything large is loaded.
    axis_name = parallel.axis_name(devices)
    detector = detectors.create(config.model, axis_name, config.compute)
    step = steps.make_step(config, detector, axis_name=axis_name)
    step = parallel.compile_step(step, devices)
    episode_of = make(devices=parallel.share(devices))
    episode_of(0)

    leads = parallel.leads()
    if leads:
        facts = provenance.gather(corpus, config.episode.without)
        checkpoint.write_config(workdir, config, facts)
    examples = _examples([make()(i)[1] for i in range(EXAMPLE_EPISODES)])
    state, frozen = steps.init_state(
        config, detector, load_frontend(config.model), examples
    )
    frozen = parallel.replicate(frozen, devices)
    with checkpoint.manager(workdir, every=config.checkpoint_every) as manager:
        state = checkpoint.restore_latest(manager, state)
        first = int(state["step"])
        state = parallel.replicate(state, devices)
        log = workdir / "metrics.jsonl"
        if leads:
            checkpoint.trim_log(log, first)
        steps_left = range(first, config.steps)
        counter = _counter(first, config.steps, progress if leads else _silent)
        served = loader.serve(episode_of, steps_left, **config.loader)
        for number, (drawn, episode) in zip(counter, served, strict=True):
            state, metrics = step(state, frozen, episode)
            last = number + 1 == config.steps
            if (number + 1) % config.log_every == 0 or last:
                values = _finite(number, metrics, drawn, domains)
                if leads:
                    _write(log, values)
            checkpoint.save(manager, number + 1, state, last=last)
    if leads:
        cards.write(workdir)
        checkpoint.write_trainable(workdir, state["average"], state["batch_stats"])
    return workdir


def _silent(step: int) -> None:
    """The progress of a process that does not lead."""


def _examples(some: list) -> np.ndarray:
    """The waveforms of some episodes, (n, samples)."""
    halves = [half["waveform"] for episode in some for half in episode.values()]
    return np.concatenate([x.reshape(-1, x.shape[-1]) for x in halves])


def _counter(first: int, last: int, progress: Callable[[int], Any] | None) -> Iterator:
    if progress is None:
        yield from tqdm(range(first, last), initial=first, total=last, unit="step")
        return
    for number in range(first, last):
        yield number
        progress(number + 1)


def _finite(number: int, metrics: Any, drawn: Any, domains: Any) -> dict[str, Any]:
    """One line of the log; the only place where the host waits for the device."""
    values = {k: float(v) for k, v in metrics.items()}
    held_out = [domains.attacks[d] for d in drawn["meta_test"]["domain"]]
    if not np.isfinite(values["loss"]):
        raise UserError(
            f"the loss is {values['loss']} at step {number + 1} (meta-test attacks "
            f"{', '.join(held_out)}); lower optimizer.lr or objective.inner_lr"
        )
    return {"step": number + 1, **values, "meta_test": held_out}


def _write(log: Path, line: dict[str, Any]) -> None:
    with log.open("a") as file:
        file.write(json.dumps(line) + "\n")
