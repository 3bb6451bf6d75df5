"""The training loss, in the form that ``mldg`` takes.

Training mode concerns only the head and the adapters: BatchNorm uses the statistics of
its batch (over all devices) and dropout is on. The frozen front-end always runs in
evaluation mode: its own dropout was part of its pretraining.

In a meta-step, F at φ and G at φ' are each normalised by the statistics of their own
half of the episode, over all its attacks and all devices, like two batches of ordinary
training. The running statistics, which evaluation uses, are updated once per step, from
meta-train at φ only: φ' is discarded after the step, so its statistics are too.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from mldg_jax.common.errors import UserError
from mldg_jax.data.segment_labels import FRAME_SAMPLES
from mldg_jax.models.detector import Detector, last_layer_inputs, locates
from mldg_jax.models.frame_head import on_grid
from mldg_jax.models.split import variables
from mldg_jax.objectives import LossAux


def cross_entropy(
    detector: Detector,
    batch_stats: Mapping[str, Any],
    frozen: Mapping[str, Any],
    micro_batches: int = 1,
) -> Callable[[Any, Any, jax.Array], tuple[jax.Array, LossAux]]:
    """Returns the cross-entropy loss in training mode, as ``mldg`` takes it.

    Args:
      detector: the model.
      batch_stats: statistics of the head.
      frozen: parameters that are not trained.
      micro_batches: number of parts in which the front-end, which needs most of the
        memory, processes a batch; each part is recomputed in the backward pass. The
        head sees the whole batch, so its batch statistics, the loss and the gradients
        of any order do not change. (LoRA dropout draws different masks.)

    Returns:
      ``loss_fn(trainable, batch, key) -> (loss, LossAux)``. A batch is ``{"waveform":
      (domains, examples, samples), "label": (domains, examples)}``, labels 1 for bona
      fide and 0 for spoof; ``"prefix"`` (domains, examples, frames, dim) may stand in
      place of the waveforms. The loss is averaged over examples, then over domains. It
      raises a ``UserError`` if a batch cannot be divided into ``micro_batches``.

      A head that locates spoof adds ``frame_weight`` times the mean cross-entropy of
      the frames. A batch may have their labels, ``"frame_label"`` (domains, examples,
      frames) for 20 ms each, -1 for those that do not count; without it every frame has
      the label of its utterance. ``logits`` and ``features`` of the aux are those of
      the utterance, ``label`` is that of the crop, see ``crop_labels``.
    """

    def front_end(params, waveform, key):
        options = {"train": True, "rngs": {"dropout": key}, "method": "features"}
        return detector.apply({"params": params}, waveform, **options)

    def loss_fn(trainable, batch, key):
        speech = batch["prefix"] if "prefix" in batch else batch["waveform"]
        label = batch["label"]
        flat = speech.reshape(-1, *speech.shape[2:])
        model = variables(trainable, batch_stats, frozen)
        front_key, head_key = jax.random.split(key)
        features = _in_parts(front_end, micro_batches)(model["params"], flat, front_key)
        of_frames = 0.0
        if locates(detector):
            located: Any = detector.apply(model, features, method="locate")
            logits, inputs, stats = located.utterance, [located.embedding], batch_stats
            of_frames = detector.head.frame_weight * frame_losses(located.frames, batch)
            label = crop_labels(batch)
        else:
            with last_layer_inputs() as inputs:
                logits, updated = detector.apply(
                    model,
                    features,
                    train=True,
                    mutable=["batch_stats"],
                    rngs={"dropout": head_key},
                    method="classify",
                )
            stats = updated["batch_stats"]
        loss = of_frames + optax.softmax_cross_entropy_with_integer_labels(
            logits.reshape(*label.shape, 2), label
        )
        by_domain = loss.mean(axis=1)
        aux = LossAux(
            by_domain,
            stats,
            features=inputs[-1].reshape(*label.shape, -1) if inputs else None,
            logits=logits.reshape(*label.shape, 2),
            label=label,
        )
        return by_domain.mean(), aux

    return loss_fn


def crop_labels(batch: Any) -> jax.Array:
    """Labels the crops of a batch: a crop may miss the spoofed parts of its utterance.

    Args:
      batch: see ``cross_entropy``.

    Returns:
      (domains, examples): 0 if any frame is spoof, 1 if all are bona fide; the label of
      the utterance if the labels of its frames are not known.
    """
    if "frame_label" not in batch:
        return batch["label"]
    frames = batch["frame_label"]
    is_known = (frames >= 0).all(axis=-1)
    of_crop = frames.min(axis=-1).astype(batch["label"].dtype)
    return jnp.where(is_known, of_crop, batch["label"])


def frame_losses(frames: jax.Array, batch: Any) -> jax.Array:
    """Computes the cross-entropy of every example's frames.

    Args:
      frames: (domains · examples, n, 2) logits at the front-end's frame rate.
      batch: see ``cross_entropy``.

    Returns:
      (domains, examples), the mean over the frames that have a label; 0 where none has.
    """
    label = batch["label"]
    if "frame_label" in batch:
        target = batch["frame_label"].reshape(len(frames), -1)
        frames = on_grid(frames, target.shape[1] * FRAME_SAMPLES)
    else:
        target = jnp.broadcast_to(label.reshape(-1, 1), frames.shape[:2])
    counts = target >= 0
    loss = optax.softmax_cross_entropy_with_integer_labels(
        frames, jnp.where(counts, target, 0).astype(jnp.int32)
    )
    total = jnp.where(counts, loss, 0).sum(1)
    return (total / jnp.maximum(counts.sum(1), 1)).reshape(label.shape)


def _in_parts(function: Callable, parts: int) -> Callable:
    """Applies ``function(params, batch, key)`` to one part of the batch at a time."""
    if parts == 1:
        return function

    def in_parts(params, batch, key):
        if len(batch) % parts:
            raise UserError(
                f"a batch of {len(batch)} utterances (per device) cannot be divided "
                f"into {parts} micro-batches; change compute.micro_batches or "
                "episode.examples_per_attack"
            )
        split = batch.reshape(parts, -1, *batch.shape[1:]), jax.random.split(key, parts)
        recomputed = jax.checkpoint(function)
        outputs = jax.lax.map(lambda part: recomputed(params, *part), split)
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), outputs)

    return in_parts
