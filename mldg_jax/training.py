"""Training: a config and a corpus in, a run folder out.

    state = {"trainable", "average", "batch_stats", "opt_state", "step", "key"}
    step(state, frozen, episode) -> (state, metrics)

The frozen parameters are an argument, never part of the state or of the compiled
program. The episode is a pure function of (seed, step), so the state and the config are
all that a resumed run needs.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from tqdm import tqdm

from mldg_jax import checkpoint, mldg, parallel, pretrained
from mldg_jax.data import episodes
from mldg_jax.data.augment import augmenter
from mldg_jax.data.corpus import Corpus
from mldg_jax.errors import UserError
from mldg_jax.models import detector as detectors

State = dict[str, Any]
EXAMPLE_EPISODES = 4  # of which the head's input is standardised
Step = Callable[[State, Any, Any], tuple[State, dict[str, jax.Array]]]


def make_objective(
    config: Any, loss_fn: mldg.LossFn, axis_name: str | None = None
) -> mldg.Objective:
    """Builds the objective that a config's ``objective`` section names.

    Raises:
      UserError: an unknown name or an impossible value.
    """
    options = dict(config)
    name = options.pop("name")
    try:
        if name == "erm":
            return mldg.erm(loss_fn)
        if name == "mldg":
            return mldg.mldg(loss_fn, **options, axis_name=axis_name)
    except ValueError as error:
        raise UserError(f"objective: {error}") from None
    raise UserError(f"objective.name is {name!r}; it must be 'erm' or 'mldg'")


def make_optimizer(config: Any) -> optax.GradientTransformation:
    """Adam with a linear warm-up, and learning rates of their own for the two parts.

    The head starts from nothing, the adapters next to a good encoder: ``head_lr`` is
    the larger one, ``lr`` is the adapters'.
    """

    def adam(lr):
        return optax.adam(optax.linear_schedule(0.0, lr, config.warmup))

    return optax.multi_transform(
        {"frontend": adam(config.lr), "head": adam(config.head_lr)},
        lambda tree: {
            part: jax.tree.map(lambda _, part=part: part, leaves)
            for part, leaves in tree.items()
        },
    )


def init_state(
    config: Any, detector: detectors.Detector, frontend: Any, examples: Any
) -> tuple[State, dict]:
    """Returns the first state and the frozen parameters.

    Args:
      config: the run's config; everything random follows from ``config.seed``.
      detector: the model.
      frontend: pretrained front-end parameters.
      examples: (n, samples) training waveforms.
    """
    init_key, key = jax.random.split(jax.random.key(config.seed))
    trainable, batch_stats, frozen = detectors.init(
        init_key,
        detector,
        frontend,
        examples,
        rank=config.model.lora.rank,
        adapted=config.model.lora.get("targets", detectors.PROJECTIONS),
    )
    opt_state = make_optimizer(config.optimizer).init(trainable)
    state = {
        "trainable": trainable,
        "average": jax.tree.map(jnp.copy, trainable),
        "batch_stats": batch_stats,
        "opt_state": opt_state,
        "step": jnp.zeros((), jnp.int32),
        "key": key,
    }
    return state, frozen


def make_step(
    config: Any, detector: detectors.Detector, *, axis_name: str | None = None
) -> Step:
    """Returns the pure training step for ``parallel.compile_step``.

    Its metrics are scalars, averaged over devices: the objective's losses, the norms of
    gradient, update and parameters, and for MLDG the cosine between the meta-train and
    the meta-test gradient.
    """
    optimizer = make_optimizer(config.optimizer)

    def mean(tree):
        return tree if axis_name is None else jax.lax.pmean(tree, axis_name)

    def step(state, frozen, episode):
        loss_fn = detectors.loss(detector, state["batch_stats"], frozen)
        objective = make_objective(config.objective, loss_fn, axis_name)
        key = jax.random.fold_in(state["key"], state["step"])
        trainable = state["trainable"]

        gradient, aux = jax.grad(objective, has_aux=True)(trainable, episode, key)
        gradient = mean(gradient)

        updates, opt_state = optimizer.update(gradient, state["opt_state"], trainable)
        # Batch statistics are those of meta-train at φ: what φ' saw is discarded.
        updated = aux.get("meta_train_aux", aux.get("loss_aux"))["batch_stats"]
        metrics = {k: mean(v) for k, v in aux.items() if k.endswith("loss")}
        metrics |= {
            "gradient_norm": optax.tree.norm(gradient),
            "update_norm": optax.tree.norm(updates),
            "parameter_norm": optax.tree.norm(trainable),
        }
        if "inner_gradient" in aux and config.objective.beta > 0:
            metrics["gradient_cosine"] = mldg.gradient_cosine(
                gradient, aux["inner_gradient"], config.objective.beta
            )
        trainable = optax.apply_updates(trainable, updates)
        state = {
            **state,
            "trainable": trainable,
            "average": _averaged(
                config.averaging, state["average"], trainable, state["step"]
            ),
            "batch_stats": mean(updated),
            "opt_state": opt_state,
            "step": state["step"] + 1,
        }
        return state, metrics

    return step


def _averaged(decay: float, average: Any, trainable: Any, step: jax.Array) -> Any:
    """One step of the exponential moving average of φ, its start forgotten."""
    decay = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return optax.incremental_update(trainable, average, 1.0 - decay)


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
        checkpoints/ and trainable.safetensors.
      corpus: training split; ``config.episode.without`` attacks are left out.
      devices: where to run; one device by default.
      progress: called with the step number after every step; a progress bar if None.

    Raises:
      UserError: an impossible config, the folder holds a run of another config, or the
        loss is not finite.
    """
    workdir = Path(workdir)
    if (workdir / checkpoint.TRAINABLE).exists():
        checkpoint.check_config(workdir, config)
        return workdir
    devices = list(devices or jax.devices()[:1])
    checkpoint.write_config(workdir, config)

    domains = episodes.group(corpus, without=tuple(config.episode.without))

    augment = augmenter(**config.augment)

    def episode_of(number):
        drawn = episodes.draw(
            domains,
            seed=config.seed,
            step=number,
            meta_test=config.episode.meta_test,
            examples=config.episode.examples,
        )
        episode = episodes.cut(drawn, corpus, samples=config.samples, augment=augment)
        return drawn, episode

    axis_name = parallel.axis_name(devices)
    detector = detectors.create(config.model, axis_name)
    frontend = load_frontend(config.model)
    examples = _examples([episode_of(i)[1] for i in range(EXAMPLE_EPISODES)])
    state, frozen = init_state(config, detector, frontend, examples)
    step = make_step(config, detector, axis_name=axis_name)
    step = parallel.compile_step(step, devices)
    frozen = parallel.replicate(frozen, devices)

    with checkpoint.manager(workdir, every=config.checkpoint_every) as manager:
        state = checkpoint.restore_latest(manager, state)
        first = int(state["step"])
        state = parallel.replicate(state, devices)
        log = checkpoint.trim_log(workdir / "metrics.jsonl", first)
        for number in _counter(first, config.steps, progress):
            drawn, episode = episode_of(number)
            state, metrics = step(state, frozen, parallel.shard(episode, devices))
            if (number + 1) % config.log_every == 0 or number + 1 == config.steps:
                _write(log, number, metrics, drawn, domains)
            checkpoint.save(manager, number + 1, state, last=number + 1 == config.steps)
    checkpoint.write_trainable(workdir, state["average"], state["batch_stats"])
    return workdir


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


def _write(log: Path, number: int, metrics: Any, drawn: Any, domains: Any) -> None:
    """Appends one line; the only place where the host waits for the device."""
    values = {k: float(v) for k, v in metrics.items()}
    held_out = [domains.attacks[d] for d in drawn["meta_test"]["domain"]]
    if not jnp.isfinite(values["loss"]):
        raise UserError(
            f"the loss is {values['loss']} at step {number + 1} (meta-test attacks "
            f"{', '.join(held_out)}); lower optimizer.lr or objective.inner_lr"
        )
    line = {"step": number + 1, **values, "meta_test": held_out}
    with log.open("a") as file:
        file.write(json.dumps(line) + "\n")
