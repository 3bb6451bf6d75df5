"""Losses to analyse.

A loss is a function ``loss_fn(trainable, batch, key) -> (loss, aux)``, as in ``mldg``.
The functions of ``mldg_jax.analysis`` compile the losses they are given. Arrays that a
plain function closes over become constants of the compiled program, which takes minutes
to compile for a frozen front-end. A loss that needs arrays is therefore a
``jax.tree_util.Partial`` of a function and those arrays. The training loss,
``models.loss.cross_entropy``, closes over its arrays: wrap it in a function that takes
them as arguments, or analyse it for small models only.
"""

import functools
from collections.abc import Callable, Hashable, Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import Partial

from mldg_jax.mldg import LossFn
from mldg_jax.models import split
from mldg_jax.models.detector import Detector, last_layer_inputs
from mldg_jax.objectives import LossAux


def evaluation(
    detector: Detector,
    batch_stats: Mapping[str, Any],
    frozen: Mapping[str, Any],
) -> Partial:
    """Returns the cross-entropy in evaluation mode: running statistics, no dropout.

    The loss of an example does not depend on the rest of its batch, so the loss and
    gradient of an attack are the means over its examples. The parameters need not be
    divided into trainable and frozen as in training: the two trees are joined.

    Args:
      detector: the model.
      batch_stats: running statistics of the model.
      frozen: all parameters that ``trainable`` lacks.

    Returns:
      A loss of a batch, a dictionary of ``waveform`` (domains, examples, samples) and
      ``label`` (domains, examples), in nats, averaged over examples, then over domains.
      Its key is ignored and may be None. Its aux has ``by_example`` (domains, examples)
      and ``by_domain`` (domains,).
    """
    # Flax hashes modules by their attributes.
    return Partial(_evaluation(cast(Hashable, detector)), batch_stats, frozen)


@functools.lru_cache
def _evaluation(detector: Any) -> Callable:
    """Returns one function for equal detectors, so that they share programs."""

    def loss(batch_stats, frozen, trainable, batch, key=None):
        del key
        waveform, label = batch["waveform"], batch["label"]
        variables = split.variables(trainable, batch_stats, frozen)
        flat = waveform.reshape(-1, waveform.shape[-1])
        logits = detector.apply(variables, flat).reshape(*label.shape, 2)
        by_example = optax.softmax_cross_entropy_with_integer_labels(logits, label)
        by_domain = by_example.mean(axis=1)
        aux = {"by_example": by_example, "by_domain": by_domain}
        return by_domain.mean(), aux

    return loss


def for_objectives(
    detector: Detector,
    batch_stats: Mapping[str, Any],
    frozen: Mapping[str, Any],
) -> Partial:
    """Returns the loss of ``evaluation`` in the form that every objective takes.

    Domains are evaluated one after the other, as by ``one_by_one``.

    Args:
      detector: the model.
      batch_stats: running statistics of the model; aux returns them unchanged.
      frozen: all parameters that ``trainable`` lacks.

    Returns:
      A loss of the batches of ``evaluation``, whose aux is a ``LossAux``.
    """
    return Partial(_for_objectives(cast(Hashable, detector)), batch_stats, frozen)


@functools.lru_cache
def _for_objectives(detector: Any) -> Callable:
    """Returns one function for equal detectors, so that they share programs."""

    def loss(batch_stats, frozen, trainable, batch, key=None):
        del key
        variables = split.variables(trainable, batch_stats, frozen)

        @jax.checkpoint
        def last_layer(variables, waveform):
            with last_layer_inputs() as inputs:
                logits = detector.apply(variables, waveform)
            return logits, inputs[-1] if inputs else None

        logits, features = jax.lax.map(
            lambda waveform: last_layer(variables, waveform), batch["waveform"]
        )
        label = batch["label"]
        by_domain = optax.softmax_cross_entropy_with_integer_labels(logits, label).mean(
            axis=1
        )
        return by_domain.mean(), LossAux(
            by_domain, batch_stats, features, logits, label
        )

    return loss


def one_by_one(loss_fn: LossFn) -> Partial:
    """Returns a loss that evaluates its domains sequentially to save memory.

    Only one domain's activations are in memory at a time; the backward pass recomputes
    them. Value and derivatives of every order are unchanged if the loss is a mean over
    independent domains, as that of ``evaluation`` is.

    Args:
      loss_fn: a loss of batches whose leaves have a leading axis of domains.

    Returns:
      A loss with the same arguments. It passes the same key to every domain and stacks
      aux over domains.
    """
    return Partial(_one_by_one, as_tree(loss_fn))


def _one_by_one(loss_fn, trainable, batch, key=None):
    @jax.checkpoint
    def domain_loss(trainable, domain):
        return loss_fn(trainable, jax.tree.map(lambda x: x[None], domain), key)

    losses, aux = jax.lax.map(lambda domain: domain_loss(trainable, domain), batch)
    return jnp.mean(losses), aux


def as_tree(function: Callable) -> Partial:
    """Wraps a function as a pytree, so that it can be an argument of ``jax.jit``.

    Args:
      function: any function, or a ``Partial``, which is returned as it is.

    Returns:
      A ``Partial`` whose leaves are the function's arrays and whose code is static.
    """
    return function if isinstance(function, Partial) else Partial(function)
