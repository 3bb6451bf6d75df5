"""The meta-objectives: functions whose ``jax.grad`` is the meta-gradient.

MLDG (Li et al., "Learning to generalize: meta-learning for domain generalization",
AAAI 2018, arXiv 1710.03463), with every domain a spoofing attack:

    φ' = φ − inner_lr · ∇F(φ)                 F: loss on the meta-train attacks
    objective(φ) = F(φ) + beta · G(φ')        G: loss on the meta-test attacks

There is no hand-written backward pass: differentiating the objective, a pure function
of the trained parameters φ, *is* the method. First order is one ``stop_gradient``.

A ``loss_fn(trainable, batch, key) -> (loss, aux)`` returns a scalar and any pytree; an
``objective(trainable, episode, key)`` returns ``(value, Aux)``; an episode is
``{"meta_train": batch, "meta_test": batch}``. Each evaluation of the loss has its own
key and batch statistics; nothing in its aux reaches another evaluation.

Under ``jax.pmap`` each device holds a slice of every domain. With ``axis_name`` set,
gradients inside the objective are averaged over devices, so the mean of its gradient is
the meta-gradient of the whole episode, in both orders.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

Batch = Any
LossFn = Callable[[Any, Batch, jax.Array], tuple[jax.Array, Any]]
Order = Literal["first", "second"]
AxisName = str | None
BETA = 1.0  # default weight of the meta-test loss


class Aux(NamedTuple):
    """The auxiliary output of every objective.

    Attributes:
      loss: the objective's value; for sam, sagm and fish the mean loss at φ.
      train_aux: the loss's aux at φ, of meta-train; without halves of all attacks.
      meta_train_loss: F(φ). This and the following are None without halves.
      meta_test_loss: G(φ').
      inner_gradient: ∇F(φ), a tree like φ.
      inner_gradient_norm: ‖∇F(φ)‖.
      adapted: φ', a tree like φ.
      test_aux: the loss's aux at φ', of meta-test.
      penalty: what an objective adds to the mean loss, before its weight.
    """

    loss: jax.Array
    train_aux: Any
    meta_train_loss: jax.Array | None = None
    meta_test_loss: jax.Array | None = None
    inner_gradient: Any = None
    inner_gradient_norm: jax.Array | None = None
    adapted: Any = None
    test_aux: Any = None
    penalty: jax.Array | None = None


Objective = Callable[[Any, dict[str, Batch], jax.Array], tuple[jax.Array, Aux]]


def _value_and_grad(loss_fn: LossFn, axis_name: AxisName) -> Callable:
    """Returns ``loss_fn`` with its gradient, averaged over devices along an axis."""
    value_and_grad = jax.value_and_grad(loss_fn, has_aux=True)

    def evaluate(trainable, batch, key):
        loss_and_aux, gradient = value_and_grad(trainable, batch, key)
        if axis_name is not None:
            gradient = jax.lax.pmean(gradient, axis_name)
        return loss_and_aux, gradient

    return evaluate


def _check(**options: Any) -> None:
    """Refuses negative numbers; ignores traced values."""
    for name, value in options.items():
        if isinstance(value, int | float) and not value >= 0:
            raise ValueError(f"{name} is {value}; it must be at least 0")


def _result(value, f, f_aux, g, g_aux, inner_gradient, adapted) -> tuple:
    norm = optax.tree.norm(jax.lax.stop_gradient(inner_gradient))
    return value, Aux(value, f_aux, f, g, inner_gradient, norm, adapted, g_aux)


def erm(loss_fn: LossFn) -> Objective:
    """Returns empirical risk minimisation on all attacks of the episode, the control.

    The halves are concatenated along the domain axis; ``"meta_test"`` may be missing.

    Args:
      loss_fn: ``(trainable, batch, key) -> (loss, aux)``.

    Returns:
      The objective.
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
    axis_name: AxisName = None,
) -> Objective:
    """Returns the MLDG objective F(φ) + beta · G(φ − inner_lr · ∇F(φ)).

    Args:
      loss_fn: ``(trainable, batch, key) -> (loss, aux)``.
      inner_lr: step size of the inner gradient step, ≥ 0; at 0, φ' = φ.
      beta: weight of the meta-test loss, ≥ 0; at 0, the objective is ERM on meta-train.
      inner_steps: number of inner steps, ≥ 1; F is the loss before the first.
      order: ``"second"`` differentiates through ∇F (Li et al. 2018); ``"first"`` treats
        it as a constant (their stop-gradient flag, used by arXiv 2502.10838).
      inner_optimizer: replaces ``inner_lr``; its state is fresh in every episode.
      axis_name: the pmap axis over which the inner gradient is averaged.

    Returns:
      The objective.

    Raises:
      ValueError: an invalid value, or not exactly one of inner_lr and inner_optimizer.
    """
    if order not in ("first", "second"):
        raise ValueError(f"order is {order!r}; it must be 'first' or 'second'")
    _check(inner_lr=inner_lr, beta=beta)
    if inner_steps < 1:
        raise ValueError(f"inner_steps is {inner_steps}; it must be at least 1")
    if (inner_lr is None) == (inner_optimizer is None):
        raise ValueError("give either inner_lr or inner_optimizer, not both")
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
    loss_fn: LossFn, *, inner_lr: float, beta: float = BETA, axis_name: AxisName = None
) -> Objective:
    """Returns MLDG-GC: F(φ) + beta · G(φ) − beta · inner_lr · cos(∇F(φ), ∇G(φ)).

    The first-order Taylor expansion of ``mldg`` in inner_lr, with the gradients' inner
    product replaced by their cosine (Li et al. 2018); there is no inner step (φ' = φ).
    Its gradient is of second order. The value is NaN if a gradient vanishes.

    Args:
      loss_fn, inner_lr, beta, axis_name: as for ``mldg``; inner_lr weighs the cosine.

    Returns:
      The objective.

    Raises:
      ValueError: inner_lr or beta is negative.
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
    loss_fn: LossFn, *, inner_lr: float, beta: float = BETA, axis_name: AxisName = None
) -> Objective:
    """Returns MLDG-GN: F(φ) + beta · ‖∇G(φ')‖² with φ' = φ − inner_lr · ∇F(φ).

    Favours φ whose step on meta-train leads to where the meta-test loss is flat (Li et
    al. 2018). Its gradient is of second order.

    Args:
      loss_fn, inner_lr, beta, axis_name: as for ``mldg``; beta weighs the squared norm.

    Returns:
      The objective; its ``meta_test_loss`` is G(φ'), which is not part of the value.

    Raises:
      ValueError: inner_lr or beta is negative.
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
    axis_name: AxisName = None,
) -> Objective:
    """Returns MLDG as in DomainBed (Gulrajani and Lopez-Paz, arXiv 2007.01434).

    Unlike ``mldg``, it is first order over pairs of one domain each; its inner step is
    a fresh step of the outer optimiser; and it divides by the number of *all* domains.

    Args:
      loss_fn, beta, axis_name: as for ``mldg``.
      inner_optimizer: e.g. ``optax.adam(lr)``.
      num_domains: divisor of the sum over pairs, ≥ 1.

    Returns:
      An objective of stacked pairs, as from ``pairs``; in its aux the losses are summed
      over pairs and divided by ``num_domains``, other entries are stacked.

    Raises:
      ValueError: num_domains < 1 or a negative beta.
    """
    if num_domains < 1:
        raise ValueError(f"num_domains is {num_domains}; it must be at least 1")
    pair = mldg(
        loss_fn, beta=beta, inner_optimizer=inner_optimizer, axis_name=axis_name
    )

    def objective(trainable, episode, key):
        num_pairs = len(jax.tree.leaves(episode)[0])
        keys = jax.random.split(key, num_pairs)
        values, aux = jax.vmap(pair, in_axes=(None, 0, 0))(trainable, episode, keys)
        names = ("loss", "meta_train_loss", "meta_test_loss")
        losses = {name: getattr(aux, name).sum() / num_domains for name in names}
        return values.sum() / num_domains, aux._replace(**losses)

    return objective


def pairs(episode: dict[str, Batch]) -> dict[str, Batch]:
    """Returns the episode for ``domainbed``: every domain paired with the next.

    Args:
      episode: leaves (domains, …) in each half, d domains in total.

    Returns:
      Leaves (d, 1, …): domain k in meta-train, domain k + 1 mod d in meta-test.
    """
    halves = episode["meta_train"], episode["meta_test"]
    pooled = jax.tree.map(lambda *x: jnp.concatenate(x)[:, None], *halves)
    following = jax.tree.map(lambda x: jnp.roll(x, -1, axis=0), pooled)
    return {"meta_train": pooled, "meta_test": following}


def cosine(x: Any, y: Any) -> jax.Array:
    """Computes the cosine between two trees.

    Args:
      x, y: of the same structure and shapes.

    Returns:
      () in [−1, 1]; NaN if one of them is zero.
    """
    return optax.tree.vdot(x, y) / (optax.tree.norm(x) * optax.tree.norm(y))


def gradient_cosine(
    meta_gradient: Any, inner_gradient: Any, beta: float | jax.Array
) -> jax.Array:
    """Computes the cosine between ∇F(φ) and ∇G(φ') of a first-order ``mldg`` step.

    The first-order meta-gradient is ∇F(φ) + beta · ∇G(φ'). If the cosine is positive,
    descending the meta-train loss also lowers the meta-test loss.

    Args:
      meta_gradient: gradient of the first-order ``mldg`` objective.
      inner_gradient: ``aux.inner_gradient`` of the same step.
      beta: the objective's beta, > 0.

    Returns:
      () in [−1, 1].
    """
    outer = jax.tree.map(lambda m, i: (m - i) / beta, meta_gradient, inner_gradient)
    return cosine(inner_gradient, outer)
