"""The meta-objectives: functions whose ``jax.grad`` is the meta-gradient.

MLDG (Li et al., "Learning to generalize: meta-learning for domain generalization",
AAAI 2018, arXiv 1710.03463), with every domain a spoofing attack:

    φ' = φ − inner_lr · ∇F(φ)                 F: loss on the meta-train attacks
    objective(φ) = F(φ) + beta · G(φ')        G: loss on the meta-test attacks

``mldg_gc`` and ``mldg_gn`` are the variants of the same paper, ``domainbed`` the other
published reference code, ``erm`` the control.

There is no hand-written backward pass: the objective is a pure function of the trained
parameters φ and differentiating it *is* the method. First order is one
``stop_gradient``, around ∇F inside φ'.

A ``loss_fn(trainable, batch, key) -> (loss, aux)`` returns a scalar and any pytree, an
``objective(trainable, episode, key) -> (value, Aux)``; an episode is ``{"meta_train":
batch, "meta_test": batch}``.

Nothing here knows speech, LoRA or devices. With ``axis_name`` set the objective is
meant to run under ``jax.pmap(axis_name=…)`` with each device holding a slice of every
domain: every gradient inside the objective is averaged over devices, so that averaging
the objective's gradient over devices afterwards gives the meta-gradient of the whole
episode, in both orders.

What else happens in a meta-step is the loss's business, and defined once. Every
evaluation of the loss has a key of its own: F at φ and G at φ' are different batches,
and dropout draws anew for each. Batch statistics are those of the batch that is
evaluated. Nothing that an evaluation returns in its aux reaches another evaluation.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

Batch = Any
LossFn = Callable[[Any, Batch, jax.Array], tuple[jax.Array, Any]]
Order = Literal["first", "second"]
BETA = 1.0  # the weight of meta-test where none is given


class Aux(NamedTuple):
    """What every objective returns besides its value.

    Attributes:
      loss: the value.
      train_aux: the loss's own aux at φ: of meta-train, or for ``erm`` of all attacks.
      meta_train_loss: F(φ). This and what follows is None for ``erm``.
      meta_test_loss: G(φ').
      inner_gradient: ∇F(φ), a tree like φ.
      inner_gradient_norm: ‖∇F(φ)‖.
      adapted: φ', a tree like φ.
      test_aux: the loss's own aux of meta-test, at φ'.
    """

    loss: jax.Array
    train_aux: Any
    meta_train_loss: jax.Array | None = None
    meta_test_loss: jax.Array | None = None
    inner_gradient: Any = None
    inner_gradient_norm: jax.Array | None = None
    adapted: Any = None
    test_aux: Any = None


Objective = Callable[[Any, dict[str, Batch], jax.Array], tuple[jax.Array, Aux]]


def _value_and_grad(loss_fn: LossFn, axis_name: str | None) -> Callable:
    """``loss_fn`` with its gradient, averaged over devices if there are several."""

    value_and_grad = jax.value_and_grad(loss_fn, has_aux=True)

    def evaluate(trainable, batch, key):
        found, gradient = value_and_grad(trainable, batch, key)
        if axis_name is not None:
            gradient = jax.lax.pmean(gradient, axis_name)
        return found, gradient

    return evaluate


def _check(**options: Any) -> None:
    """Refuses negative numbers; traced values pass."""
    for name, value in options.items():
        if isinstance(value, int | float) and not value >= 0:
            raise ValueError(f"{name} is {value}; it must be at least 0")


def _result(value, f, f_aux, g, g_aux, inner_gradient, adapted) -> tuple:
    """The value and aux of a meta-objective."""
    norm = optax.tree.norm(jax.lax.stop_gradient(inner_gradient))
    return value, Aux(value, f_aux, f, g, inner_gradient, norm, adapted, g_aux)


def erm(loss_fn: LossFn) -> Objective:
    """Empirical risk minimisation: the loss on all attacks of the episode, pooled.

    The control for ``mldg``: the same clips, one gradient evaluation of each, no inner
    step. The halves are concatenated along their leading (domain) axis; an episode
    without ``"meta_test"`` is pooled over what it holds.
    """

    def objective(trainable, episode, key):
        halves = [episode[k] for k in ("meta_train", "meta_test") if k in episode]
        pooled = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *halves)
        loss, aux = loss_fn(trainable, pooled, key)
        return loss, Aux(loss, aux)

    return objective


def mldg(
    loss_fn: LossFn,
    *,
    inner_lr: float | None = None,
    beta: float = BETA,
    inner_steps: int = 1,
    order: Order = "first",
    inner_optimizer: optax.GradientTransformation | None = None,
    axis_name: str | None = None,
) -> Objective:
    """The MLDG objective F(φ) + beta · G(φ − inner_lr · ∇F(φ)).

    Args:
      loss_fn: ``(trainable, batch, key) -> (loss, aux)``.
      inner_lr: step size of the inner gradient step, ≥ 0. Zero leaves F + beta · G at
        the same φ.
      beta: weight of the meta-test loss, ≥ 0. Zero leaves ERM on meta-train.
      inner_steps: how many such steps lead to φ', ≥ 1; F is the loss before the first.
      order: ``"second"`` differentiates through ∇F (Li et al. 2018); ``"first"`` treats
        it as a constant (their stop-gradient flag, and what arXiv 2502.10838 uses).
      inner_optimizer: makes the inner steps instead of plain gradient descent, from a
        fresh state in every objective; then there is no ``inner_lr``.
      axis_name: the pmap axis over which the inner gradient is averaged.

    Raises:
      ValueError: inner_lr or beta negative, inner_steps < 1, an unknown order, or not
        exactly one of inner_lr and inner_optimizer.
    """
    if order not in ("first", "second"):
        raise ValueError(f"order is {order!r}; it must be 'first' or 'second'")
    _check(inner_lr=inner_lr, beta=beta)
    if inner_steps < 1:
        raise ValueError(f"inner_steps is {inner_steps}; it must be at least 1")
    if (inner_lr is None) == (inner_optimizer is None):
        raise ValueError("give either inner_lr or inner_optimizer")
    optimizer = inner_optimizer or optax.sgd(inner_lr)
    value_and_grad = _value_and_grad(loss_fn, axis_name)

    def objective(trainable, episode, key):
        *train_keys, test_key = jax.random.split(key, inner_steps + 1)
        train, test = episode["meta_train"], episode["meta_test"]
        adapted, state = trainable, optimizer.init(trainable)
        for step, train_key in enumerate(train_keys):
            # F(φ) and ∇F(φ)
            (loss, aux), gradient = value_and_grad(adapted, train, train_key)
            if order == "first":
                gradient = jax.lax.stop_gradient(gradient)
            if step == 0:
                f, f_aux, inner_gradient = loss, aux, gradient

            # φ' = φ − inner_lr · ∇F(φ)
            updates, state = optimizer.update(gradient, state, adapted)
            adapted = optax.apply_updates(adapted, updates)

        # F(φ) + beta · G(φ')
        g, g_aux = loss_fn(adapted, test, test_key)
        return _result(f + beta * g, f, f_aux, g, g_aux, inner_gradient, adapted)

    return objective


def mldg_gc(
    loss_fn: LossFn,
    *,
    inner_lr: float,
    beta: float = BETA,
    axis_name: str | None = None,
) -> Objective:
    """MLDG-GC: F(φ) + beta · G(φ) − beta · inner_lr · cos(∇F(φ), ∇G(φ)).

    The first-order Taylor expansion of ``mldg`` in inner_lr, with the gradients' inner
    product replaced by their cosine (Li et al. 2018). Nothing is adapted: φ' = φ, and
    inner_lr is the weight of the cosine. Its gradient is of second order.

    The value is NaN where a gradient vanishes. Arguments as of ``mldg``.

    Raises:
      ValueError: inner_lr or beta negative.
    """
    _check(inner_lr=inner_lr, beta=beta)
    value_and_grad = _value_and_grad(loss_fn, axis_name)

    def objective(trainable, episode, key):
        train_key, test_key = jax.random.split(key)
        (f, f_aux), f_grad = value_and_grad(trainable, episode["meta_train"], train_key)
        (g, g_aux), g_grad = value_and_grad(trainable, episode["meta_test"], test_key)
        value = f + beta * g - beta * inner_lr * cosine(f_grad, g_grad)
        return _result(value, f, f_aux, g, g_aux, f_grad, trainable)

    return objective


def mldg_gn(
    loss_fn: LossFn,
    *,
    inner_lr: float,
    beta: float = BETA,
    axis_name: str | None = None,
) -> Objective:
    """MLDG-GN: F(φ) + beta · ‖∇G(φ')‖² with φ' = φ − inner_lr · ∇F(φ).

    Asks that the step on meta-train leads where the meta-test loss is flat (Li et al.
    2018). Its gradient is of second order.

    Its ``meta_test_loss`` is G(φ'), which the value does not contain. Arguments as of
    ``mldg``.

    Raises:
      ValueError: inner_lr or beta negative.
    """
    _check(inner_lr=inner_lr, beta=beta)
    value_and_grad = _value_and_grad(loss_fn, axis_name)

    def objective(trainable, episode, key):
        train_key, test_key = jax.random.split(key)
        (f, f_aux), f_grad = value_and_grad(trainable, episode["meta_train"], train_key)
        adapted = optax.tree.add_scale(trainable, -inner_lr, f_grad)
        (g, g_aux), g_grad = value_and_grad(adapted, episode["meta_test"], test_key)
        value = f + beta * optax.tree.vdot(g_grad, g_grad)
        return _result(value, f, f_aux, g, g_aux, f_grad, adapted)

    return objective


def domainbed(
    loss_fn: LossFn,
    *,
    inner_optimizer: optax.GradientTransformation,
    beta: float = BETA,
    num_domains: int,
    axis_name: str | None = None,
) -> Objective:
    """MLDG as DomainBed (Gulrajani and Lopez-Paz, arXiv 2007.01434) implements it.

    It differs from ``mldg`` in three ways: first order over pairs of one meta-train and
    one meta-test domain; a fresh step of the outer optimiser (Adam, at the outer
    learning rate) as the inner step; and the sum over pairs divided by the number of
    *all* domains of the batch.

    Args:
      loss_fn: ``(trainable, batch, key) -> (loss, aux)``.
      inner_optimizer: e.g. ``optax.adam(lr)``.
      beta: weight of the meta-test loss, ≥ 0.
      num_domains: what the sum is divided by, ≥ 1.
      axis_name: as for ``mldg``.

    Returns:
      An objective of episodes whose leaves are stacked over pairs (a leading axis); in
      its aux the losses are summed over pairs and divided by ``num_domains``, the other
      entries are stacked. ``pairs`` makes such episodes.

    Raises:
      ValueError: num_domains < 1 or beta negative.
    """
    if num_domains < 1:
        raise ValueError(f"num_domains is {num_domains}; it must be at least 1")
    pair = mldg(
        loss_fn, beta=beta, inner_optimizer=inner_optimizer, axis_name=axis_name
    )

    def objective(trainable, episode, key):
        pairs = len(jax.tree.leaves(episode)[0])
        keys = jax.random.split(key, pairs)
        values, aux = jax.vmap(pair, in_axes=(None, 0, 0))(trainable, episode, keys)
        names = ("loss", "meta_train_loss", "meta_test_loss")
        losses = {name: getattr(aux, name).sum() / num_domains for name in names}
        return values.sum() / num_domains, aux._replace(**losses)

    return objective


def pairs(episode: dict[str, Batch]) -> dict[str, Batch]:
    """The episode ``domainbed`` takes: every domain with the one after it.

    Leaves lead with a domain axis, d domains together in the random order in which they
    were drawn, and become (d, 1, …): domain k goes with domain k + 1 mod d.
    """
    both = episode["meta_train"], episode["meta_test"]
    pooled = jax.tree.map(lambda *x: jnp.concatenate(x)[:, None], *both)
    following = jax.tree.map(lambda x: jnp.roll(x, -1, axis=0), pooled)
    return {"meta_train": pooled, "meta_test": following}


def cosine(x: Any, y: Any) -> jax.Array:
    """Cosine between two trees of the same shape, in [−1, 1]; NaN where one is zero."""
    return optax.tree.vdot(x, y) / (optax.tree.norm(x) * optax.tree.norm(y))


def gradient_cosine(
    meta_gradient: Any, inner_gradient: Any, beta: float | jax.Array
) -> jax.Array:
    """Cosine between ∇F(φ) and ∇G(φ') of a first-order ``mldg`` step.

    Costs no backward pass: the first-order meta-gradient is ∇F(φ) + beta · ∇G(φ').
    Positive: following the meta-train attacks also serves the held-out ones.

    Args:
      meta_gradient: gradient of the ``mldg`` objective, first order.
      inner_gradient: ``aux.inner_gradient`` of the same step.
      beta: the objective's beta, > 0.
    """
    rest = jax.tree.map(lambda m, i: (m - i) / beta, meta_gradient, inner_gradient)
    return cosine(inner_gradient, rest)
