"""Builds the training step of a config.

``step`` and ``mldg`` take functions and know no config. This module makes those
functions from the sections ``objective``, ``optimizer``, ``augment``, ``model`` and
``compute``.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from mldg_jax import mldg
from mldg_jax.common.config import Config, OptimizerSection
from mldg_jax.common.errors import UserError
from mldg_jax.data.augment.section import from_config
from mldg_jax.mldg import LossFn
from mldg_jax.models.detector import Detector
from mldg_jax.models.loss import cross_entropy
from mldg_jax.models.split import init_parameters, split_options, store_frozen
from mldg_jax.objectives import stateless
from mldg_jax.step import Step, TrainState, init_state, make_step


def build_step(
    config: Config, detector: Detector, *, axis_name: str | None = None
) -> Step:
    """Builds the training step of a config.

    Args:
      config: config of the run.
      detector: the model.
      axis_name: the pmap axis; None on one device.

    Returns:
      The step, see ``step.make_step``.

    Raises:
      UserError: the objective or the augmentation is not valid.
    """
    objective = build_objective(config, axis_name)
    section, log_every, steps = config.objective, config.log_every, config.steps
    beta = mldg.BETA if section.beta is None else section.beta
    # For these objectives ∇G(φ') follows from the meta-gradient, at no extra cost.
    first_order = section.name in ("mldg", "domainbed") and section.order != "second"
    return make_step(
        loss=functools.partial(
            cross_entropy, detector, micro_batches=config.compute.micro_batches
        ),
        objective=lambda loss_fn: stateless(objective(loss_fn)),
        optimizer=build_optimizer(config.optimizer),
        ema_decay=config.ema_decay,
        augment=from_config(config.augment)[1],
        axis_name=axis_name,
        first_order_beta=beta if first_order and beta > 0 else None,
        is_logged=lambda number: (number % log_every == 0) | (number == steps),
    )


def build_state(
    config: Config, detector: Detector, frontend: Any, examples: Any
) -> tuple[TrainState, dict]:
    """Initialises the training state.

    Args:
      config: config of the run; ``config.seed`` determines the result.
      detector: the model.
      frontend: pretrained front-end parameters.
      examples: (n, samples) float32 training waveforms.

    Returns:
      The state before the first step, and the frozen parameters.

    Raises:
      UserError: the config asks for adapters and for full fine-tuning.
    """
    init_key, key = jax.random.split(jax.random.key(config.seed))
    trainable, batch_stats, frozen = init_parameters(
        init_key, detector, frontend, examples, **split_options(config.model)
    )
    frozen = store_frozen(frozen, config.compute.dtype)
    optimizer = build_optimizer(config.optimizer)
    return init_state(key, trainable, batch_stats, optimizer=optimizer), frozen


def build_objective(
    config: Config, axis_name: str | None = None
) -> Callable[[LossFn], mldg.Objective]:
    """Builds the objective that the section ``objective`` of a config describes.

    With ``adapt`` "frontend" or "head", the inner step of "mldg" updates only that part
    of φ. The inner optimiser of "domainbed" is, as in DomainBed, a fresh optimiser of
    the outer kind, without warm-up.

    Args:
      config: config of the run; ``objective.name`` is a key of ``OBJECTIVES``, and the
        other entries of the section are its options.
      axis_name: the pmap axis; None on one device.

    Returns:
      A function from a loss function to its objective, see ``mldg``.

    Raises:
      UserError: an unknown name or a value that is not valid.
    """
    name, options = config.objective.name, config.objective.options()
    if name not in OBJECTIVES:
        raise UserError(
            f"objective.name is {name!r}; it must be one of {', '.join(OBJECTIVES)}"
        )
    try:
        part = options.pop("adapt", "all")
        if part != "all":
            if "inner_lr" not in options:
                raise ValueError(f"adapt {part} needs inner_lr, the step size of mldg")
            options["inner_optimizer"] = _sgd_of(part, options.pop("inner_lr"))
        if name == "domainbed":
            options["inner_optimizer"] = build_optimizer(config.optimizer, warmup=0)
        if name != "erm":
            options["axis_name"] = axis_name
        objective = functools.partial(OBJECTIVES[name], **options)
        # Options are checked when an objective is made: fail here, with a message.
        objective(lambda trainable, batch, key: None)
    except (ValueError, TypeError) as error:
        raise UserError(f"objective: {error}") from None
    return objective


def _sgd_of(part: str, inner_lr: float) -> optax.GradientTransformation:
    """Returns gradient descent on one part of φ that leaves the other unchanged."""
    if part not in ("frontend", "head"):
        raise ValueError(f"adapt is {part!r}; it must be all, frontend or head")
    return optax.multi_transform(
        {True: optax.sgd(inner_lr), False: optax.set_to_zero()},
        lambda tree: {
            name: jax.tree.map(lambda _, on=name == part: on, leaves)
            for name, leaves in tree.items()
        },
    )


def _domainbed_of_episode(loss_fn: LossFn, **options: Any) -> mldg.Objective:
    """Returns ``mldg.domainbed`` on an episode's pairs; its aux is the pairs' mean."""
    mldg.domainbed(loss_fn, num_domains=1, **options)  # checks the options early

    def objective(trainable, episode, key):
        paired = mldg.pairs(episode)
        domains = len(jax.tree.leaves(paired)[0])
        of_pairs = mldg.domainbed(loss_fn, num_domains=domains, **options)
        value, stacked = of_pairs(trainable, paired, key)
        losses = {  # already sums over pairs, so they must not be averaged
            name: getattr(stacked, name)
            for name in ("loss", "meta_train_loss", "meta_test_loss")
        }
        rest = stacked._replace(**dict.fromkeys(losses))
        mean = jax.tree.map(lambda x: x.mean(0), rest)
        return value, mean._replace(
            **losses,
            # Pair k trains on domain k, so together they have every domain's loss at φ.
            train_aux=mean.train_aux._replace(
                by_domain=stacked.train_aux.by_domain.reshape(-1)
            ),
            test_aux=mean.test_aux._replace(by_domain=jnp.zeros((0,))),
        )

    return objective


OBJECTIVES = {
    "erm": mldg.erm,
    "mldg": mldg.mldg,
    "mldg_gc": mldg.mldg_gc,
    "mldg_gn": mldg.mldg_gn,
    "domainbed": _domainbed_of_episode,
}


def build_optimizer(
    config: OptimizerSection, *, warmup: int | None = None
) -> optax.GradientTransformation:
    """Builds Adam with a linear warm-up and one learning rate for each part of φ.

    The head starts from scratch while the adapters start at a good encoder, so
    ``head_lr`` is usually larger than ``lr``, the adapters' rate.

    Args:
      config: the section ``optimizer``.
      warmup: length of the warm-up in steps; None for the config's.

    Returns:
      An optimiser of ``{"frontend": …, "head": …}``.
    """
    warmup = config.warmup if warmup is None else warmup

    def adam(lr):
        return optax.adam(optax.linear_schedule(0.0, lr, warmup) if warmup else lr)

    return optax.multi_transform(
        {"frontend": adam(config.lr), "head": adam(config.head_lr)},
        lambda tree: {
            part: jax.tree.map(lambda _, part=part: part, leaves)
            for part, leaves in tree.items()
        },
    )


def gradient_evaluations(config: Config, attacks: int) -> int:
    """Counts the gradient evaluations of a training step.

    One evaluation is a forward and backward pass of one utterance. ``mldg compare``
    gives every method the same total. A Hessian-vector product counts as two, because
    it differentiates a gradient.

    Args:
      config: config of the run.
      attacks: attacks per step, both halves together.

    Returns:
      Evaluations per step.
    """
    objective, half = config.objective, config.episode.num_meta_test
    train, inner = attacks - half, objective.inner_steps or 1
    passes = {
        "erm": attacks,
        "mldg": inner * train * (3 if objective.order == "second" else 1) + half,
        "mldg_gc": 3 * attacks,
        "mldg_gn": 3 * attacks,
        "domainbed": 2 * attacks,
    }
    return passes[objective.name] * config.episode.examples_per_attack
