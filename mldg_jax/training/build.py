"""Builds the training step and the sampler of episodes of a config.

``step``, ``mldg`` and ``loader`` take functions and values and know no config. This
module makes them from the sections ``episode``, ``objective``, ``optimizer``,
``augment``, ``model`` and ``compute``.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from mldg_jax import mldg
from mldg_jax.common.config import Config
from mldg_jax.data import episodes, loader
from mldg_jax.data.augment.host import span_of
from mldg_jax.data.augment.section import from_config
from mldg_jax.data.corpus import Corpus
from mldg_jax.mldg import LossFn
from mldg_jax.models.detector import Detector
from mldg_jax.models.loss import cross_entropy
from mldg_jax.models.split import (
    init_parameters,
    parameter_shapes,
    split_options,
    store_frozen,
)
from mldg_jax.objectives import Objective
from mldg_jax.step import Step, TrainState, augmented, init_state, make_step
from mldg_jax.training import averaging, trajectory
from mldg_jax.training.objective_section import (
    BY_DOMAIN,
    build_objective,
    build_outer_optimizer,
    no_loss,
)


def build_sampler(
    config: Config, domains: episodes.Domains, corpus: Corpus
) -> Callable[..., Callable[[int], tuple[dict, dict]]]:
    """Builds the sampler of a config's episodes.

    Args:
      config: config of the run.
      domains: ``corpus``, grouped by ``episodes.group``.
      corpus: the training corpus.

    Returns:
      ``loader.sampler``, which still takes ``devices`` and ``feature_cache``.
    """
    return functools.partial(
        loader.sampler,
        domains,
        corpus,
        seed=config.seed,
        options=episode_options(config),
        samples=config.crop_samples,
        augment=from_config(config.augment)[0],
        span=span_of(config.augment.speed),
        with_domain=config.objective.name in BY_DOMAIN,
    )


def episode_options(config: Config) -> dict[str, Any]:
    """Returns the options of ``episodes.sample_episode`` that a config sets.

    Args:
      config: config of the run.

    Returns:
      Values by name, see ``loader.SAMPLED``.
    """
    return {name: getattr(config.episode, name) for name in loader.SAMPLED}


def build_step(
    config: Config,
    detector: Detector,
    *,
    axis_name: str | None = None,
    num_domains: int | None = None,
) -> Step:
    """Builds the training step of a config.

    Args:
      config: config of the run.
      detector: the model.
      axis_name: the pmap axis; None on one device.
      num_domains: see ``build_objective``.

    Returns:
      The step, see ``step.make_step``.

    Raises:
      UserError: the objective or the augmentation is not valid.
    """
    objective = objective_for(
        config, detector, axis_name=axis_name, num_domains=num_domains
    )
    section, log_every, steps = config.objective, config.log_every, config.steps
    beta = mldg.BETA if section.beta is None else section.beta
    # For these objectives ∇G(φ') follows from the meta-gradient, at no extra cost.
    first_order = section.name in ("mldg", "domainbed") and section.order != "second"
    step = make_step(
        loss=functools.partial(
            cross_entropy, detector, micro_batches=config.compute.micro_batches
        ),
        objective=objective,
        optimizer=build_outer_optimizer(config),
        ema_decay=config.ema_decay,
        segment_mean=_segment_mean(trajectory.ends(config)),
        augment=from_config(config.augment)[1],
        axis_name=axis_name,
        first_order_beta=beta if first_order and beta > 0 else None,
        is_logged=lambda number: (number % log_every == 0) | (number == steps),
    )

    if config.compute.precision == "default":  # or what JAX's own setting says
        return step

    def precise(state, frozen, episode):
        with jax.default_matmul_precision(config.compute.precision):
            return step(state, frozen, episode)

    return precise


def build_state(
    config: Config,
    detector: Detector,
    frontend: Any,
    examples: Any,
    *,
    num_domains: int | None = None,
) -> tuple[TrainState, dict]:
    """Initialises the training state.

    Args:
      config: config of the run; ``config.seed`` determines the result.
      detector: the model.
      frontend: pretrained front-end parameters.
      examples: (n, samples) float32 training waveforms.
      num_domains: see ``build_objective``.

    Returns:
      The state before the first step, and the frozen parameters.

    Raises:
      UserError: the config asks for adapters and for full fine-tuning.
    """
    init_key, key = jax.random.split(jax.random.key(config.seed))
    if config.init_seed is not None:
        init_key, _ = jax.random.split(jax.random.key(config.init_seed))
    trainable, batch_stats, frozen = init_parameters(
        init_key, detector, frontend, examples, **split_options(config.model)
    )
    frozen = store_frozen(frozen, config.compute.dtype)
    objective = objective_for(config, detector, num_domains=num_domains)
    state = init_state(
        key,
        trainable,
        batch_stats,
        objective_state=objective(no_loss).init(trainable),
        segment=averaging.init(trainable) if trajectory.ends(config) else (),
        optimizer=build_outer_optimizer(config),
    )
    return state, frozen


def objective_for(
    config: Config,
    detector: Detector,
    *,
    axis_name: str | None = None,
    num_domains: int | None = None,
) -> Callable[[LossFn], Objective]:
    """Builds the objective of a config for a detector.

    Args:
      config: config of the run.
      detector: the model.
      axis_name: the pmap axis; None on one device.
      num_domains: see ``build_objective``.

    Returns:
      A function from a loss function to its objective, see ``build_objective``.

    Raises:
      UserError: the objective is not valid.
    """
    return build_objective(
        config, axis_name, num_domains=num_domains, width=_width(config, detector)
    )


def build_batch_stats(config: Config, detector: Detector) -> Any:
    """Builds the update of the BatchNorm statistics alone, as in a training step.

    Args:
      config: config of the run.
      detector: the model.

    Returns:
      ``(frozen, trainable, batch_stats, episode) -> batch_stats``.
    """
    augment = from_config(config.augment)[1]

    def update(frozen, trainable, batch_stats, episode):
        half = episode["meta_train"]
        if augment is not None:
            half = augmented(augment, half)
        loss_fn = cross_entropy(
            detector, batch_stats, frozen, config.compute.micro_batches
        )
        key = jax.random.key(config.seed)  # of the dropout
        return loss_fn(trainable, half, key)[1].batch_stats

    return update


def _segment_mean(ends: tuple[int, ...]) -> Any:
    """Returns the function of a step that keeps the mean of each segment."""
    if not ends:
        return None

    def segment_mean(mean, trainable, number):
        is_first = jnp.isin(number - 1, jnp.array((0, *ends)))
        return averaging.extend(mean, trainable, ~is_first)

    return segment_mean


def _width(config: Config, detector: Detector) -> int:
    """Returns the number of parameters of the head's last linear layer, for fishr."""
    if config.objective.name != "fishr":
        return 0
    head = parameter_shapes(detector, config.model, config.crop_samples)[0]["head"]
    layer = head["logits"].get("dense", head["logits"])
    return sum(math.prod(x.shape) for x in jax.tree.leaves(layer))
