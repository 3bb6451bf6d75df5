"""The sections ``objective`` and ``optimizer`` of a config, as functions."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from mldg_jax import mldg, objectives
from mldg_jax.common import own_code
from mldg_jax.common.config import Config, OptimizerSection
from mldg_jax.common.errors import UserError
from mldg_jax.mldg import LossFn
from mldg_jax.objectives import Objective, stateless
from mldg_jax.objectives.fish import META_LR


def build_objective(
    config: Config,
    axis_name: str | None = None,
    *,
    num_domains: int | None = None,
    width: int = 0,
) -> Callable[[LossFn], Objective]:
    """Builds the objective that the section ``objective`` of a config describes.

    With ``adapt`` "frontend" or "head", the inner step of "mldg" updates only that part
    of φ. The inner optimiser of "domainbed" is, as in DomainBed, a fresh optimiser of
    the outer kind, without warm-up.

    Args:
      config: config of the run; ``objective.name`` is a key of ``OBJECTIVES`` or names
        a function of the user's own, and the other entries of the section are its
        options.
      axis_name: the pmap axis; None on one device.
      num_domains: number of domains in training, for the objectives of ``BY_DOMAIN``.
      width: parameters of the head's last linear layer, for fishr.

    Returns:
      A function from a loss function to its objective, see ``mldg`` and ``objectives``.

    Raises:
      UserError: an unknown name or a value that is not valid.
    """
    name, options = config.objective.name, config.objective.options()
    if own_code.is_own(name):
        make = own_code.find("objective.name", name)
    elif name in OBJECTIVES:
        make = OBJECTIVES[name]
    else:
        raise own_code.refusal("objective.name", name, OBJECTIVES)
    if config.objective.own and not own_code.is_own(name):
        raise UserError(
            f"objective.own is for objectives of your own; {name} has its own entries"
        )
    try:
        part = options.pop("adapt", "all")
        if part != "all":
            if "inner_lr" not in options:
                raise ValueError(f"adapt {part} needs inner_lr, the step size of mldg")
            options["inner_optimizer"] = _sgd_of(part, options.pop("inner_lr"))
        if name == "domainbed":
            options["inner_optimizer"] = build_optimizer(config.optimizer, warmup=0)
        if name == "fish":
            options.pop("meta_lr", None)  # of the outer optimiser
            options["inner_optimizer"] = build_optimizer(config.optimizer)
        if name in BY_DOMAIN:
            # (a plan or a test may not know; the shapes are then those of one domain)
            options["num_domains"] = num_domains or 1
        if name == "fishr":
            options["num_parameters"] = width
        if name != "erm":
            options["axis_name"] = axis_name
        objective = functools.partial(make, **options)
        # Options are checked when an objective is made: fail here, with a message.
        made = objective(no_loss)
        if not (hasattr(made, "init") and hasattr(made, "apply")):
            raise TypeError(
                f"{name} returns {type(made).__name__}; it must return an Objective"
            )
    except (ValueError, TypeError) as error:
        raise UserError(f"objective: {error}") from None
    return objective


def no_loss(trainable: Any, batch: Any, key: jax.Array) -> Any:
    """Stands for a loss where an objective is made but not evaluated.

    Args:
      trainable, batch, key: ignored.
    """


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


def _stateless(make: Callable[..., mldg.Objective]) -> Callable[..., Objective]:
    return lambda loss_fn, **options: stateless(make(loss_fn, **options))


OBJECTIVES: dict[str, Callable[..., Objective]] = {
    "erm": _stateless(mldg.erm),
    "mldg": _stateless(mldg.mldg),
    "mldg_gc": _stateless(mldg.mldg_gc),
    "mldg_gn": _stateless(mldg.mldg_gn),
    "domainbed": _stateless(_domainbed_of_episode),
    "sam": objectives.sam,
    "sagm": objectives.sagm,
    "coral": objectives.coral,
    "mmd": objectives.mmd,
    "vrex": objectives.vrex,
    "irm": objectives.irm,
    "group_dro": objectives.group_dro,
    "fish": objectives.fish,
    "fishr": objectives.fishr,
    "mixup": objectives.mixup,
}
BY_DOMAIN = ("group_dro", "fishr")
"""Objectives with a state for every domain: their episodes number the domains."""


def build_outer_optimizer(config: Config) -> optax.GradientTransformation:
    """Builds the optimiser that follows the objective's gradient.

    Args:
      config: config of the run.

    Returns:
      ``build_optimizer``; for fish, whose gradient is φ − φ̃, plain gradient descent
      with the learning rate ``objective.meta_lr``.
    """
    if config.objective.name == "fish":
        rate = config.objective.meta_lr
        return optax.sgd(META_LR if rate is None else rate)
    return build_optimizer(config.optimizer)


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

    One evaluation is a forward and backward pass of one utterance; what is computed
    from the head's output alone (penalties, the last layer's gradients) is not counted.
    ``mldg compare`` gives every method the same total. A Hessian-vector product counts
    as two, because it differentiates a gradient.

    Args:
      config: config of the run.
      attacks: attacks per step, both halves together.

    Returns:
      Evaluations per step.
    """
    objective, half = config.objective, config.episode.num_meta_test
    train, inner = attacks - half, objective.inner_steps or 1
    passes = {
        "mldg": inner * train * (3 if objective.order == "second" else 1) + half,
        "mldg_gc": 3 * attacks,
        "mldg_gn": 3 * attacks,
        "domainbed": 2 * attacks,
        "sam": 2 * attacks,
        "sagm": 2 * attacks,
    }
    return passes.get(objective.name, attacks) * config.episode.examples_per_attack
