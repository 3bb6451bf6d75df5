"""The meta-objectives: functions whose ``jax.grad`` is the meta-gradient.

MLDG (Li et al., "Learning to generalize: meta-learning for domain generalization",
AAAI 2018, arXiv 1710.03463), with every domain a spoofing attack:

    φ' = φ − inner_lr · ∇F(φ)                 F: loss on the meta-train attacks
    objective(φ) = F(φ) + beta · G(φ')        G: loss on the meta-test attacks

There is no hand-written backward pass: the objective is a pure function of the trained
parameters φ and differentiating it *is* the method. First order is one
``stop_gradient``, around ∇F inside φ'.

A ``loss_fn(trainable, batch, key) -> (loss, aux)`` returns a scalar and any pytree. An
episode is ``{"meta_train": batch, "meta_test": batch}``. An objective is
``objective(trainable, episode, key) -> (value, aux)``.

Nothing here knows speech, LoRA or devices. With ``axis_name`` set the objective is
meant to run under ``jax.pmap(axis_name=…)`` with each device holding a slice of every
domain: the inner gradient is averaged over devices before the inner step, so that
averaging the objective's gradient over devices afterwards gives the meta-gradient of
the whole episode, in both orders.
"""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

Batch = Any
LossFn = Callable[[Any, Batch, jax.Array], tuple[jax.Array, Any]]
Objective = Callable[[Any, dict[str, Batch], jax.Array], tuple[jax.Array, dict]]
Order = Literal["first", "second"]


def erm(loss_fn: LossFn) -> Objective:
    """Empirical risk minimisation: the loss on all attacks of the episode, pooled.

    The control for ``mldg``: the same clips, one gradient evaluation of each, no inner
    step. The halves are concatenated along their leading (domain) axis; an episode
    without ``"meta_test"`` is pooled over what it holds.

    Returns:
      An objective whose aux holds ``loss`` (the value) and ``loss_aux``.
    """

    def objective(trainable, episode, key):
        halves = [episode[k] for k in ("meta_train", "meta_test") if k in episode]
        pooled = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *halves)
        loss, aux = loss_fn(trainable, pooled, key)
        return loss, {"loss": loss, "loss_aux": aux}

    return objective


def mldg(
    loss_fn: LossFn,
    *,
    inner_lr: float,
    beta: float = 1.0,
    order: Order = "first",
    axis_name: str | None = None,
) -> Objective:
    """The MLDG objective F(φ) + beta · G(φ − inner_lr · ∇F(φ)).

    Args:
      loss_fn: ``(trainable, batch, key) -> (loss, aux)``.
      inner_lr: step size of the inner gradient step, ≥ 0. Zero leaves F + beta · G at
        the same φ.
      beta: weight of the meta-test loss, ≥ 0. Zero leaves ERM on meta-train.
      order: ``"second"`` differentiates through ∇F (Li et al. 2018); ``"first"`` treats
        it as a constant (their stop-gradient flag, and what arXiv 2502.10838 uses).
      axis_name: the pmap axis over which the inner gradient is averaged.

    Returns:
      An objective whose aux holds ``loss`` (the value), ``meta_train_loss`` F,
      ``meta_test_loss`` G, ``inner_gradient`` ∇F (same tree as φ) and the loss's own
      aux of both halves, ``meta_train_aux`` and ``meta_test_aux``.

    Raises:
      ValueError: inner_lr or beta negative, or an unknown order.
    """
    if order not in ("first", "second"):
        raise ValueError(f"order is {order!r}; it must be 'first' or 'second'")
    for name, value in (("inner_lr", inner_lr), ("beta", beta)):
        if isinstance(value, int | float) and value < 0:
            raise ValueError(f"{name} is {value}; it must be at least 0")

    def objective(trainable, episode, key):
        train_key, test_key = jax.random.split(key)

        # F(φ) and ∇F(φ)
        (f, f_aux), inner_gradient = jax.value_and_grad(loss_fn, has_aux=True)(
            trainable, episode["meta_train"], train_key
        )
        if axis_name is not None:
            inner_gradient = jax.lax.pmean(inner_gradient, axis_name)
        if order == "first":
            inner_gradient = jax.lax.stop_gradient(inner_gradient)

        # φ' = φ − inner_lr · ∇F(φ)
        adapted = jax.tree.map(lambda p, g: p - inner_lr * g, trainable, inner_gradient)

        # F(φ) + beta · G(φ')
        g, g_aux = loss_fn(adapted, episode["meta_test"], test_key)
        value = f + beta * g
        return value, {
            "loss": value,
            "meta_train_loss": f,
            "meta_test_loss": g,
            "inner_gradient": inner_gradient,
            "meta_train_aux": f_aux,
            "meta_test_aux": g_aux,
        }

    return objective


def gradient_cosine(meta_gradient: Any, inner_gradient: Any, beta: float) -> jax.Array:
    """Cosine between ∇F(φ) and the rest of the meta-gradient, ∇φ G(φ').

    Costs no backward pass: the meta-gradient is ∇F + beta · ∇φ G(φ'), so the second
    term is their difference. In a first-order step it is G'(φ'), the meta-test gradient
    at the adapted parameters. Positive: following the meta-train attacks also serves
    the held-out ones.

    Args:
      meta_gradient: gradient of the ``mldg`` objective.
      inner_gradient: ``aux["inner_gradient"]`` of the same step.
      beta: the objective's beta, > 0.

    Returns:
      Scalar in [−1, 1]; NaN where one of the two gradients vanishes.
    """
    rest = jax.tree.map(lambda m, i: (m - i) / beta, meta_gradient, inner_gradient)
    inner = optax.tree.vdot(inner_gradient, rest)
    return inner / (optax.tree.norm(inner_gradient) * optax.tree.norm(rest))
