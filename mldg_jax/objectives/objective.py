"""What an objective is, and the parts that several share.

An objective is a pair of pure functions, ``init(trainable) -> state`` and
``apply(trainable, state, episode, key) -> (value, (state, Aux))``. As in ``mldg``,
``jax.grad(apply)`` with respect to its first argument *is* the method; nothing else is
done to the gradient.

The objectives of this room see all attacks of an episode as one batch of domains; the
two halves have no meaning for them. Under ``jax.pmap`` each device holds a slice of
every domain, and the gradient of the whole is the mean of the devices' gradients. What
is not a mean over examples (a variance of losses, a covariance, a norm of a gradient)
is therefore computed from the examples of all devices, wherever ``axis_name`` is set.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from mldg_jax import mldg
from mldg_jax.mldg import Aux, AxisName, Batch, LossFn


class LossAux(NamedTuple):
    """The auxiliary output of a loss, as objectives and ``make_step`` need it.

    Attributes:
      by_domain: (domains,) the loss of each domain of the batch.
      batch_stats: the statistics after the batch.
      features: (domains, examples, width) the input of the last linear layer; None if
        the loss has none. This and the following may be a list of an array a domain.
      logits: (domains, examples, classes) its output.
      label: (domains, examples) int, the classes.
    """

    by_domain: jax.Array
    batch_stats: Any
    features: Any = None
    logits: Any = None
    label: Any = None


class Objective(NamedTuple):
    """An objective that may carry state from step to step.

    Attributes:
      init: ``trainable -> state``.
      apply: ``(trainable, state, episode, key) -> (value, (state, Aux))``; its
        ``jax.grad`` with respect to the first argument is the method.
    """

    init: Callable[[Any], Any]
    apply: Callable[[Any, Any, Any, jax.Array], tuple[jax.Array, tuple[Any, Aux]]]


def stateless(objective: mldg.Objective) -> Objective:
    """Wraps an objective without state, such as those of ``mldg``.

    Args:
      objective: ``(trainable, episode, key) -> (value, Aux)``.

    Returns:
      The objective, with an empty state.
    """

    def apply(trainable, state, episode, key):
        value, aux = objective(trainable, episode, key)
        return value, (state, aux)

    return Objective(lambda trainable: (), apply)


def pooled(episode: dict[str, Batch]) -> Batch:
    """Joins the halves of an episode along the domains.

    Args:
      episode: ``{"meta_train": batch, "meta_test": batch}``; the second may be missing.

    Returns:
      One batch, with the domains of meta-train first.
    """
    halves = [episode[name] for name in ("meta_train", "meta_test") if name in episode]
    if len(halves) == 1:
        return halves[0]
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *halves)


def mean_over(axis_name: AxisName, tree: Any) -> Any:
    """Averages over devices.

    Args:
      axis_name: the pmap axis, or None on one device.
      tree: arrays of the same shapes on every device.

    Returns:
      The mean of every array, the same on all devices.
    """
    return tree if axis_name is None else jax.lax.pmean(tree, axis_name)


def whole(axis_name: AxisName, tree: Any) -> Any:
    """Gathers the examples of all devices, in the order that one device would see.

    Args:
      axis_name: the pmap axis, or None on one device.
      tree: arrays (domains, examples on this device, …), from every n-th example of a
        domain on each of n devices, as ``data.loader.shard_episode`` deals them out.

    Returns:
      Arrays (domains, examples, …), the same on all devices.
    """
    if axis_name is None:
        return tree

    def gather(x):
        x = jnp.moveaxis(jax.lax.all_gather(x, axis_name), 0, 2)
        # (domains, examples here, devices, …)
        return x.reshape(x.shape[0], -1, *x.shape[3:])

    return jax.tree.map(gather, tree)


def penalised(
    loss_fn: LossFn,
    penalty: Callable[[LossAux], jax.Array],
    *,
    penalty_weight: float,
    anneal_steps: int = 0,
    axis_name: AxisName = None,
) -> Objective:
    """Returns the mean loss of the domains plus a weighted penalty.

    Args:
      loss_fn: ``(trainable, batch, key) -> (loss, LossAux)``.
      penalty: a function of the ``LossAux`` of all devices' examples.
      penalty_weight: its weight after ``anneal_steps``, ≥ 0.
      anneal_steps: number of first steps with weight 1, ≥ 0.
      axis_name: the pmap axis.

    Returns:
      The objective; its state is the number of steps made.

    Raises:
      ValueError: an option is negative.
    """
    check(penalty_weight=penalty_weight, anneal_steps=anneal_steps)

    def apply(trainable, count, episode, key):
        _, aux = loss_fn(trainable, pooled(episode), key)
        aux = of_all_devices(axis_name, aux)
        loss, extra = aux.by_domain.mean(), penalty(aux)
        value = loss + annealed(count, anneal_steps, penalty_weight) * extra
        return value, (count + 1, Aux(value, aux, penalty=extra))

    return Objective(lambda trainable: jnp.zeros((), jnp.int32), apply)


def of_all_devices(axis_name: AxisName, aux: LossAux) -> LossAux:
    """Completes a loss's aux with the examples of the other devices.

    Args:
      axis_name: the pmap axis, or None on one device.
      aux: of the examples on this device.

    Returns:
      The aux of all examples; the statistics stay as they are.
    """
    features, logits, label = whole(axis_name, (aux.features, aux.logits, aux.label))
    by_domain = mean_over(axis_name, aux.by_domain)
    return aux._replace(
        by_domain=by_domain, features=features, logits=logits, label=label
    )


def annealed(
    count: jax.Array, steps: int, weight: float, before: float = 1.0
) -> jax.Array:
    """Returns the weight of a penalty that is switched on after some steps.

    Args:
      count: () int, number of steps made before this one.
      steps: number of steps with the weight ``before``.
      weight: the weight afterwards.
      before: the weight until then.

    Returns:
      () float.
    """
    return jnp.where(count >= steps, weight, before)


def cross_entropies(
    logits: Sequence[jax.Array], label: Sequence[jax.Array]
) -> list[jax.Array]:
    """Computes the cross-entropy of every example.

    Args:
      logits: for each domain (examples, classes).
      label: for each domain (examples,) int.

    Returns:
      For each domain (examples,), in nats.
    """
    return [
        optax.softmax_cross_entropy_with_integer_labels(x, y)
        for x, y in zip(logits, label, strict=True)
    ]


def domain_numbers(batch: Batch, count: int) -> jax.Array:
    """Returns the number of every domain, which tells domains apart between episodes.

    Args:
      batch: with ``"domain"`` (domains,) int32; without it, domains are numbered in
        their order.
      count: number of domains in the batch.

    Returns:
      (domains,) int32.
    """
    return batch["domain"] if "domain" in batch else jnp.arange(count)


def check(**options: Any) -> None:
    """Raises ``ValueError`` for options that are negative or not finite.

    Args:
      **options: numbers by name.

    Raises:
      ValueError: names the first that is out of range.
    """
    for name, value in options.items():
        if not 0 <= value < float("inf"):
            raise ValueError(f"{name} is {value}; it must be at least 0 and finite")
