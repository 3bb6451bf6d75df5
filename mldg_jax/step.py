"""The training step: a state and an episode in, the next state and metrics out.

    state = {"trainable", "average", "batch_stats", "opt_state", "step", "key"}
    step(state, frozen, episode) -> (state, metrics)

The frozen parameters are an argument, never part of the state or of the compiled
program.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from mldg_jax import mldg
from mldg_jax.common.errors import UserError
from mldg_jax.data.augment.device import DeviceAugment
from mldg_jax.data.augment.section import from_config
from mldg_jax.models.detector import Detector
from mldg_jax.models.loss import cross_entropy
from mldg_jax.models.split import init_parameters, split_options, store_frozen

State = dict[str, Any]
META_OBJECTIVES = {
    "mldg": mldg.mldg,
    "mldg_gc": mldg.mldg_gc,
    "mldg_gn": mldg.mldg_gn,
}
Step = Callable[[State, Any, Any], tuple[State, dict[str, jax.Array]]]


def make_objective(
    config: Any, loss_fn: mldg.LossFn, axis_name: str | None = None
) -> mldg.Objective:
    """Builds the objective that a config's ``objective`` section names.

    Args:
      config: the run's config. ``objective.name`` is "erm" or a meta-objective of
        ``mldg``; the other entries are its options. With ``adapt`` "frontend" or "head"
        the inner step of "mldg" moves that part of φ only. The inner optimiser of
        "domainbed" is, as in DomainBed, a fresh one of the outer kind without warm-up.
      loss_fn: see ``models.loss.cross_entropy``.
      axis_name: the pmap axis.

    Raises:
      UserError: an unknown name or an impossible value.
    """
    options = dict(config.objective)
    name = options.pop("name")
    try:
        if name == "erm":
            return mldg.erm(loss_fn, **options)
        part = options.pop("adapt", "all")
        if part != "all":
            options["inner_optimizer"] = _sgd_of(part, options.pop("inner_lr"))
        if name in META_OBJECTIVES:
            return META_OBJECTIVES[name](loss_fn, **options, axis_name=axis_name)
        if name == "domainbed":
            options["inner_optimizer"] = make_optimizer(config.optimizer, warmup=0)
            return _domainbed(loss_fn, **options, axis_name=axis_name)
    except (ValueError, TypeError) as error:
        raise UserError(f"objective: {error}") from None
    raise UserError(
        f"objective.name is {name!r}; it must be erm, {', '.join(META_OBJECTIVES)} or "
        "domainbed"
    )


def _sgd_of(part: str, inner_lr: float) -> optax.GradientTransformation:
    """Gradient descent of one part of φ; the other stays."""
    if part not in ("frontend", "head"):
        raise ValueError(f"adapt is {part!r}; it must be all, frontend or head")
    return optax.multi_transform(
        {True: optax.sgd(inner_lr), False: optax.set_to_zero()},
        lambda tree: {
            name: jax.tree.map(lambda _, on=name == part: on, leaves)
            for name, leaves in tree.items()
        },
    )


def gradient_evaluations(config: Any, attacks: int) -> int:
    """Forward and backward passes of an utterance that a step takes.

    What arms are made equal by. A Hessian-vector product is counted as two: it
    differentiates a gradient.

    Args:
      config: the run's config.
      attacks: of a step, both halves together.
    """
    objective, half = config.objective, config.episode.meta_test
    name, second = objective.name, objective.get("order", "first") == "second"
    train, inner = attacks - half, objective.get("inner_steps", 1)
    passes = {
        "erm": attacks,
        "mldg": inner * train * (3 if second else 1) + half,
        "mldg_gc": 3 * attacks,
        "mldg_gn": 3 * attacks,
        "domainbed": 2 * attacks,
    }
    return passes[name] * config.episode.examples


def _domainbed(loss_fn: mldg.LossFn, **options: Any) -> mldg.Objective:
    """``mldg.domainbed`` of an episode's pairs; its aux is the mean over pairs."""
    mldg.domainbed(loss_fn, num_domains=1, **options)  # refuses impossible options

    def objective(trainable, episode, key):
        paired = mldg.pairs(episode)
        domains = len(jax.tree.leaves(paired)[0])
        whole = mldg.domainbed(loss_fn, num_domains=domains, **options)
        value, aux = whole(trainable, paired, key)
        # Pair k has the episode's domain k as meta-train: all of them, at φ.
        by_domain = aux["meta_train_aux"].pop("by_domain").reshape(-1)
        aux["meta_test_aux"]["by_domain"] = jnp.zeros((domains, 0))
        losses = {k: aux.pop(k) for k in ("loss", "meta_train_loss", "meta_test_loss")}
        aux = losses | jax.tree.map(lambda x: x.mean(0), aux)
        aux["meta_train_aux"]["by_domain"] = by_domain
        return value, aux

    return objective


def make_optimizer(
    config: Any, *, warmup: int | None = None
) -> optax.GradientTransformation:
    """Adam with a linear warm-up, and learning rates of their own for the two parts.

    The head starts from nothing, the adapters next to a good encoder: ``head_lr`` is
    the larger one, ``lr`` is the adapters'. The warm-up is the config's if not given.
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


def init_state(
    config: Any, detector: Detector, frontend: Any, examples: Any
) -> tuple[State, dict]:
    """Returns the first state and the frozen parameters.

    Args:
      config: the run's config; everything random follows from ``config.seed``.
      detector: the model.
      frontend: pretrained front-end parameters.
      examples: (n, samples) training waveforms.
    """
    init_key, key = jax.random.split(jax.random.key(config.seed))
    trainable, batch_stats, frozen = init_parameters(
        init_key,
        detector,
        frontend,
        examples,
        **split_options(config.model),
    )
    frozen = store_frozen(frozen, config.compute.dtype)
    optimizer = make_optimizer(config.optimizer)
    state = {
        "trainable": trainable,
        "average": jax.tree.map(jnp.copy, trainable),
        "batch_stats": batch_stats,
        "opt_state": optimizer.init(trainable),
        "step": jnp.zeros((), jnp.int32),
        "key": key,
    }
    return state, frozen


def make_step(config: Any, detector: Detector, *, axis_name: str | None = None) -> Step:
    """Returns the pure training step for ``parallel.compile_step``.

    Its metrics are averaged over devices: the objective's losses, the norms of
    gradients, update and parameters, the loss ``by_domain`` (domains,), those of
    meta-train (at φ) before those of meta-test (at φ'), and for meta-objectives the
    cosine between the meta-train gradient at φ and the meta-test gradient at φ'. In a
    first-order step the cosine is free; elsewhere it costs a backward pass, made in the
    steps that are logged (NaN in the others).

    Raises:
      UserError: an impossible objective.
    """
    make_objective(config, cross_entropy(detector, {}, {}))  # refused here, if it is
    _, augment = from_config(config.augment)
    optimizer = make_optimizer(config.optimizer)

    def mean(tree):
        return tree if axis_name is None else jax.lax.pmean(tree, axis_name)

    def step(state, frozen, episode):
        if augment is not None:
            episode = {
                name: _augmented(augment, half) for name, half in episode.items()
            }
        loss_fn = cross_entropy(
            detector, state["batch_stats"], frozen, config.compute.micro_batches
        )
        objective = make_objective(config, loss_fn, axis_name)
        key = jax.random.fold_in(state["key"], state["step"])
        trainable = state["trainable"]

        gradient, aux = jax.grad(objective, has_aux=True)(trainable, episode, key)
        gradient = mean(gradient)

        updates, opt_state = optimizer.update(gradient, state["opt_state"], trainable)
        # Batch statistics are those of meta-train at φ: what φ' saw is discarded.
        updated = aux.get("meta_train_aux", aux.get("loss_aux"))["batch_stats"]
        metrics = {k: mean(v) for k, v in aux.items() if k.endswith("loss")}
        metrics["by_domain"] = mean(_by_domain(aux))
        metrics |= {
            "gradient_norm": optax.tree.norm(gradient),
            "update_norm": optax.tree.norm(updates),
            "parameter_norm": optax.tree.norm(trainable),
        }
        if "inner_gradient" in aux:

            def meta_test_gradient():
                batch = episode["meta_test"]
                found, _ = jax.grad(loss_fn, has_aux=True)(aux["adapted"], batch, key)
                return mean(found)

            metrics["inner_gradient_norm"] = aux["inner_gradient_norm"]
            metrics["gradient_cosine"] = _gradient_cosine(
                config, state["step"], gradient, aux, meta_test_gradient
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


def _augmented(augment: DeviceAugment, half: dict[str, Any]) -> dict[str, Any]:
    """A half of an episode with its clips augmented, each from its own seed.

    So what a clip becomes does not depend on the number of devices.
    """
    keys = jax.vmap(jax.vmap(jax.random.key))(half["seed"])
    return {**half, "waveform": augment(keys, half["waveform"])}


def _by_domain(aux: Any) -> jax.Array:
    """The losses of an episode's domains, (domains,), in the episode's order."""
    if "loss_aux" in aux:
        return aux["loss_aux"]["by_domain"]
    halves = aux["meta_train_aux"], aux["meta_test_aux"]
    return jnp.concatenate([half["by_domain"] for half in halves])


def _gradient_cosine(config, step, gradient, aux, meta_test_gradient) -> jax.Array:
    """Cosine of the two halves' gradients, see ``make_step``."""
    inner = aux["inner_gradient"]
    objective = config.objective
    first_order = objective.get("order", "first") == "first"
    if objective.name in ("mldg", "domainbed") and first_order and objective.beta > 0:
        return mldg.gradient_cosine(gradient, inner, objective.beta)
    number = step + 1
    logged = (number % config.log_every == 0) | (number == config.steps)
    return jax.lax.cond(
        logged,
        lambda: mldg.cosine(inner, meta_test_gradient()),
        lambda: jnp.full_like(aux["meta_train_loss"], jnp.nan),
    )


def _averaged(decay: float, average: Any, trainable: Any, step: jax.Array) -> Any:
    """One step of the exponential moving average of φ, its start forgotten."""
    decay = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return optax.incremental_update(trainable, average, 1.0 - decay)
