"""The training step: maps a state and an episode to the next state and metrics.

    step(state, frozen, episode) -> (state, metrics)

The frozen parameters are an argument, not part of the state or of the compiled program.
This module does not read configs: ``training.build`` makes the functions that a step
is composed of.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from mldg_jax import mldg
from mldg_jax.mldg import Aux, LossFn
from mldg_jax.objectives.objective import Objective


class TrainState(NamedTuple):
    """Everything that a step updates.

    Attributes:
      trainable: φ, the trained parameters.
      ema: exponential moving average (EMA) of φ.
      batch_stats: running statistics of BatchNorm, see ``models.loss``.
      objective_state: state of the objective; ``()`` for a stateless one.
      opt_state: state of the outer optimiser.
      step: () int32, number of completed steps.
      key: PRNG key of the run; each step folds its number into it.
      segment: running mean of φ over the current segment, see ``training.averaging``;
        ``()`` if none is kept.
    """

    trainable: Any
    ema: Any
    batch_stats: Any
    objective_state: Any
    opt_state: Any
    step: jax.Array
    key: jax.Array
    segment: Any = ()


Step = Callable[[TrainState, Any, Any], tuple[TrainState, dict[str, jax.Array]]]
Loss = Callable[[Any, Any], LossFn]


def init_state(
    key: jax.Array,
    trainable: Any,
    batch_stats: Any,
    *,
    objective_state: Any = (),
    segment: Any = (),
    optimizer: optax.GradientTransformation,
) -> TrainState:
    """Returns the state before the first step.

    Args:
      key: PRNG key of the run.
      trainable: initial φ.
      batch_stats: initial statistics of BatchNorm.
      objective_state: from ``Objective.init``.
      segment: the initial mean of a segment; ``()`` for none.
      optimizer: the outer optimiser.

    Returns:
      The state at step 0; ``ema`` is a copy of φ.
    """
    return TrainState(
        trainable=trainable,
        ema=jax.tree.map(jnp.copy, trainable),
        segment=segment,
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
    segment_mean: Callable[[Any, Any, jax.Array], Any] | None = None,
    augment: Callable[[jax.Array, jax.Array], jax.Array] | None = None,
    axis_name: str | None = None,
    first_order_beta: float | None = None,
    is_logged: Callable[[jax.Array], jax.Array] = lambda number: number > 0,
) -> Step:
    """Returns the pure training step for ``parallel.compile_step``.

    Args:
      loss: ``(batch_stats, frozen) -> loss_fn``; the loss's aux is a ``LossAux``.
      objective: makes the objective of a ``loss_fn``; where it uses gradients, it must
        average them over ``axis_name`` itself.
      optimizer: the outer optimiser.
      ema_decay: decay of the EMA of φ, in [0, 1); lower in the first steps.
      segment_mean: ``(mean, φ, number) -> mean``, adds φ after the step of that number,
        counted from 1, to the running mean; None for no mean.
      augment: ``(keys, waveform) -> waveform``, both (domains, examples, …).
      axis_name: the pmap axis; None on one device.
      first_order_beta: beta of a first-order meta-objective, whose gradient is ∇F(φ) +
        beta · ∇G(φ'), which gives the cosine at no cost. If None, the cosine takes a
        backward pass, run only in logged steps (NaN in the others).
      is_logged: ``number -> bool``, with steps numbered from 1.

    Returns:
      ``(state, frozen, episode) -> (state, metrics)``. The metrics are averaged over
      devices: the objective's losses; the norms of gradients, update and parameters;
      ``penalty`` of the objectives that have one; ``by_domain`` (domains,), the losses
      of meta-train (at φ) before those of
      meta-test (at φ'); and for meta-objectives the cosine between the meta-train
      gradient at φ and the meta-test gradient at φ'.
    """

    def mean(tree):
        return tree if axis_name is None else jax.lax.pmean(tree, axis_name)

    def step(state, frozen, episode):
        if augment is not None:
            episode = {name: augmented(augment, half) for name, half in episode.items()}
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
            segment=segment_mean(state.segment, trainable, state.step + 1)
            if segment_mean
            else state.segment,
            # Only meta-train at φ updates them; those of meta-test at φ' are dropped.
            batch_stats=mean(aux.train_aux.batch_stats),
            objective_state=objective_state,
            opt_state=opt_state,
            step=state.step + 1,
            key=state.key,
        )
        return state, metrics

    return step


def augmented(augment: Callable, half: dict[str, Any]) -> dict[str, Any]:
    """Augments the waveforms of half an episode, each with its own seed.

    Seeds belong to utterances, so the result does not depend on the number of devices.

    Args:
      augment: see ``make_step``.
      half: of an episode, with ``seed`` (domains, examples).

    Returns:
      The half with other waveforms.
    """
    keys = jax.vmap(jax.vmap(jax.random.key))(half["seed"])
    return {**half, "waveform": augment(keys, half["waveform"])}


def _metrics(aux: Aux, mean: Callable) -> dict[str, jax.Array]:
    """Returns the losses of the episode, of its halves and of its domains, in order."""
    losses = {"loss": aux.loss}
    if aux.penalty is not None:
        losses["penalty"] = aux.penalty
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
    """Updates the EMA of φ.

    The decay grows from 0.1 to ``decay``, so that the initial φ is soon forgotten.
    """
    current_decay = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return optax.incremental_update(trainable, average, 1.0 - current_decay)
