"""The training step: a state and an episode in, the next state and metrics out.

    step(state, frozen, episode) -> (state, metrics)

The frozen parameters are an argument, never part of the state or of the compiled
program. Nothing here reads a config: what a step does is given to it as functions, and
``training.build`` makes those of a config.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from mldg_jax import mldg
from mldg_jax.mldg import Aux, LossFn


class TrainState(NamedTuple):
    """Everything that a step changes.

    Attributes:
      trainable: φ, the trained parameters.
      ema: exponential moving average of φ; the detector is made of it.
      batch_stats: running statistics of BatchNorm, see ``models.loss``.
      objective_state: what the objective remembers; ``()`` for a stateless one.
      opt_state: of the outer optimiser.
      step: () int32, steps done.
      key: PRNG key of the run; a step folds its number into it.
    """

    trainable: Any
    ema: Any
    batch_stats: Any
    objective_state: Any
    opt_state: Any
    step: jax.Array
    key: jax.Array


class LossAux(NamedTuple):
    """What a loss returns besides its value, for ``make_step``.

    Attributes:
      by_domain: (domains,) the loss of each domain of the batch.
      batch_stats: the statistics after the batch.
    """

    by_domain: jax.Array
    batch_stats: Any


class Objective(NamedTuple):
    """An objective that may remember something from step to step.

    Attributes:
      init: ``trainable -> objective_state``.
      apply: ``(trainable, objective_state, episode, key) -> (value, (objective_state,
        Aux))``; its ``jax.grad`` with respect to the first argument is the method.
    """

    init: Callable[[Any], Any]
    apply: Callable[[Any, Any, Any, jax.Array], tuple[jax.Array, tuple[Any, Aux]]]


Step = Callable[[TrainState, Any, Any], tuple[TrainState, dict[str, jax.Array]]]
Loss = Callable[[Any, Any], LossFn]


def stateless(objective: mldg.Objective) -> Objective:
    """Lifts an objective without memory, such as those of ``mldg``.

    Args:
      objective: ``(trainable, episode, key) -> (value, Aux)``.
    """

    def apply(trainable, objective_state, episode, key):
        value, aux = objective(trainable, episode, key)
        return value, (objective_state, aux)

    return Objective(lambda trainable: (), apply)


def init_state(
    key: jax.Array,
    trainable: Any,
    batch_stats: Any,
    *,
    objective_state: Any = (),
    optimizer: optax.GradientTransformation,
) -> TrainState:
    """Returns the state before the first step.

    Args:
      key: PRNG key of the run.
      trainable: φ at the start.
      batch_stats: at the start.
      objective_state: of ``Objective.init``.
      optimizer: the outer one.
    """
    return TrainState(
        trainable=trainable,
        ema=jax.tree.map(jnp.copy, trainable),
        batch_stats=batch_stats,
        objective_state=objective_state,
        opt_state=optimizer.init(trainable),
        step=jnp.zeros((), jnp.int32),
        key=key,
    )


def make_step(
    *,
    loss: Loss,
    objective: Callable[[LossFn], Objective],
    optimizer: optax.GradientTransformation,
    ema_decay: float,
    augment: Callable[[jax.Array, jax.Array], jax.Array] | None = None,
    axis_name: str | None = None,
    first_order_beta: float | None = None,
    is_logged: Callable[[jax.Array], jax.Array] = lambda number: number > 0,
) -> Step:
    """Returns the pure training step for ``parallel.compile_step``.

    Its metrics are averaged over devices: the objective's losses, the norms of
    gradients, update and parameters, the loss ``by_domain`` (domains,), those of
    meta-train (at φ) before those of meta-test (at φ'), and for meta-objectives the
    cosine between the meta-train gradient at φ and the meta-test gradient at φ'.

    Args:
      loss: ``(batch_stats, frozen) -> loss_fn``; the loss's aux is a ``LossAux``.
      objective: makes the objective of a ``loss_fn``; it averages gradients over
        ``axis_name`` itself where it uses them.
      optimizer: the outer one.
      ema_decay: of the moving average of φ, in [0, 1); its start is forgotten.
      augment: ``(keys, waveform) -> waveform`` of (domains, examples) clips.
      axis_name: the pmap axis; None on one device.
      first_order_beta: beta of a first-order meta-objective, whose gradient is ∇F(φ) +
        beta · ∇G(φ'), so that the cosine is free. None: it costs a backward pass, made
        in the steps that are logged (NaN in the others).
      is_logged: of the number of the step, from 1.
    """

    def mean(tree):
        return tree if axis_name is None else jax.lax.pmean(tree, axis_name)

    def step(state, frozen, episode):
        if augment is not None:
            episode = {
                name: _augmented(augment, half) for name, half in episode.items()
            }
        loss_fn = loss(state.batch_stats, frozen)
        key = jax.random.fold_in(state.key, state.step)
        trainable = state.trainable

        gradient, (objective_state, aux) = jax.grad(
            objective(loss_fn).apply, has_aux=True
        )(trainable, state.objective_state, episode, key)
        gradient = mean(gradient)
        updates, opt_state = optimizer.update(gradient, state.opt_state, trainable)

        metrics = _metrics(aux, mean)
        metrics |= {
            "gradient_norm": optax.tree.norm(gradient),
            "update_norm": optax.tree.norm(updates),
            "parameter_norm": optax.tree.norm(trainable),
        }
        if aux.inner_gradient is not None:
            metrics["inner_gradient_norm"] = aux.inner_gradient_norm

            def cosine():
                grad = jax.grad(loss_fn, has_aux=True)
                test_gradient, _ = grad(aux.adapted, episode["meta_test"], key)
                return mldg.cosine(aux.inner_gradient, mean(test_gradient))

            metrics["gradient_cosine"] = (
                jax.lax.cond(
                    is_logged(state.step + 1),
                    cosine,
                    lambda: jnp.full_like(aux.meta_train_loss, jnp.nan),
                )
                if first_order_beta is None
                else mldg.gradient_cosine(
                    gradient, aux.inner_gradient, first_order_beta
                )
            )
        trainable = optax.apply_updates(trainable, updates)
        state = TrainState(
            trainable=trainable,
            ema=_ema(ema_decay, state.ema, trainable, state.step),
            # Those of meta-train at φ: what φ' saw is discarded.
            batch_stats=mean(aux.train_aux.batch_stats),
            objective_state=objective_state,
            opt_state=opt_state,
            step=state.step + 1,
            key=state.key,
        )
        return state, metrics

    return step


def _augmented(augment: Callable, half: dict[str, Any]) -> dict[str, Any]:
    """A half of an episode with its clips augmented, each from its own seed.

    So what a clip becomes does not depend on the number of devices.
    """
    keys = jax.vmap(jax.vmap(jax.random.key))(half["seed"])
    return {**half, "waveform": augment(keys, half["waveform"])}


def _metrics(aux: Aux, mean: Callable) -> dict[str, jax.Array]:
    """The losses: of the episode, of its halves, of its domains in their order."""
    losses = {"loss": aux.loss}
    by_domain = aux.train_aux.by_domain
    if aux.test_aux is not None:
        losses |= {
            "meta_train_loss": aux.meta_train_loss,
            "meta_test_loss": aux.meta_test_loss,
        }
        by_domain = jnp.concatenate([by_domain, aux.test_aux.by_domain])
    return {name: mean(x) for name, x in losses.items()} | {
        "by_domain": mean(by_domain)
    }


def _ema(decay: float, average: Any, trainable: Any, step: jax.Array) -> Any:
    """One step of the exponential moving average of φ, its start forgotten."""
    now = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return optax.incremental_update(trainable, average, 1.0 - now)
