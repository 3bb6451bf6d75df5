"""The loss of training, in the form that ``mldg`` takes.

Training mode concerns the head and the adapters only: BatchNorm takes the statistics of
its batch (over all devices), dropout takes its key. The frozen front-end is always in
evaluation mode: its dropouts were for its own training.

In a meta-step F at φ and G at φ' are each normalised by the statistics of their own
half, over all its attacks and all devices, as two batches of ordinary training are. The
running statistics, which evaluation uses, move once a step, by meta-train at φ alone:
φ' is discarded after the step, and what it saw with it.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax

from mldg_jax.common.errors import UserError
from mldg_jax.models.detector import Detector
from mldg_jax.models.split import variables
from mldg_jax.step import LossAux


def cross_entropy(
    detector: Detector,
    batch_stats: Mapping[str, Any],
    frozen: Mapping[str, Any],
    micro_batches: int = 1,
) -> Callable[[Any, Any, jax.Array], tuple[jax.Array, LossAux]]:
    """Returns the ``loss_fn(trainable, batch, key)`` that ``mldg`` takes.

    A batch is ``{"waveform": (domains, examples, samples), "label": (domains,
    examples)}``, labels 1 bona fide and 0 spoof; or with ``"prefix"`` (domains,
    examples, frames, dim) in place of the waveforms. The loss is cross-entropy in
    training mode, averaged over examples, then over domains; its aux is a ``LossAux``.

    With ``micro_batches`` the front-end, where the memory goes, takes the batch in so
    many parts and computes each again in the backward pass; the head takes the whole.
    So its batch statistics, the loss and every gradient, of any order, are those of the
    whole batch, and memory is that of one part. (LoRA dropout draws other masks.)

    Raises:
      UserError: the utterances of a half cannot be divided by ``micro_batches``.
    """

    def front_end(params, waveform, key):
        options = {"train": True, "rngs": {"dropout": key}, "method": "features"}
        return detector.apply({"params": params}, waveform, **options)

    def loss_fn(trainable, batch, key):
        speech = batch["prefix"] if "prefix" in batch else batch["waveform"]
        label = batch["label"]
        flat = speech.reshape(-1, *speech.shape[2:])
        made = variables(trainable, batch_stats, frozen)
        front_key, head_key = jax.random.split(key)
        features = _in_parts(front_end, micro_batches)(made["params"], flat, front_key)
        logits, updated = detector.apply(
            made,
            features,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": head_key},
            method="classify",
        )
        loss = optax.softmax_cross_entropy_with_integer_labels(
            logits.reshape(*label.shape, 2), label
        )
        by_domain = loss.mean(axis=1)
        return by_domain.mean(), LossAux(by_domain, updated["batch_stats"])

    return loss_fn


def _in_parts(function: Callable, parts: int) -> Callable:
    """``function(params, batch, key)`` of parts of the batch, one after the other."""
    if parts == 1:
        return function

    def in_parts(params, batch, key):
        if len(batch) % parts:
            raise UserError(
                f"{len(batch)} utterances of a half (on each device) cannot be divided "
                f"into {parts} micro-batches: change compute.micro_batches or "
                "episode.examples_per_attack"
            )
        split = batch.reshape(parts, -1, *batch.shape[1:]), jax.random.split(key, parts)
        again = jax.checkpoint(function)
        found = jax.lax.map(lambda part: again(params, *part), split)
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), found)

    return in_parts
