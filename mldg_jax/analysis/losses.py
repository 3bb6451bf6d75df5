"""The losses that are analysed.

A loss here is ``loss_fn(trainable, batch, key) -> (loss, aux)``, as ``mldg`` takes it.
The functions of this room compile what they are given. Arrays that a plain function
closes over become constants of the program, which for a frozen front-end takes minutes
to compile; so a loss with arrays is a ``jax.tree_util.Partial`` of a function and them.
``models.loss.cross_entropy``, the loss of training, closes over its arrays: analyse it
within a function of your own that takes them as arguments, or only where it is small.
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
from mldg_jax.models.detector import Detector


def evaluation(
    detector: Detector,
    batch_stats: Mapping[str, Any],
    frozen: Mapping[str, Any],
) -> Partial:
    """Cross-entropy in evaluation mode: running statistics, no dropout.

    An example's loss then does not depend on its batch, so the loss and the gradient
    of an attack are the means of those of its examples. What is trained and what is
    frozen need not be the split of training: the two are joined.

    Returns:
      A loss of ``{"waveform": (domains, examples, samples), "label": (domains,
      examples)}``, in nats, averaged over examples, then over domains. Its key is
      ignored and may be None. aux: ``by_example`` (domains, examples) and ``by_domain``
      (domains,).
    """
    # Flax hashes modules by their attributes.
    return Partial(_evaluation(cast(Hashable, detector)), batch_stats, frozen)


@functools.lru_cache
def _evaluation(detector: Any) -> Callable:
    """The same function for equal detectors, so that they share compiled programs."""

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


def one_by_one(loss_fn: LossFn) -> Partial:
    """A loss that takes its domains one after the other, for the memory of one.

    Value and derivatives of every order are the same if the loss is a mean over domains
    that do not see each other, as ``evaluation``'s is; the backward pass computes each
    domain again. Every domain is given the same key; aux is stacked over domains.
    """
    return Partial(_one_by_one, as_tree(loss_fn))


def _one_by_one(loss_fn, trainable, batch, key=None):
    @jax.checkpoint
    def one(trainable, domain):
        return loss_fn(trainable, jax.tree.map(lambda x: x[None], domain), key)

    losses, aux = jax.lax.map(lambda domain: one(trainable, domain), batch)
    return jnp.mean(losses), aux


def as_tree(function: Callable) -> Partial:
    """A function as an argument of ``jax.jit``: its arrays leaves, its code static."""
    return function if isinstance(function, Partial) else Partial(function)
