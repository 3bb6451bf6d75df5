"""The detector: front-end + back-end, and which parameters are whose.

The only place that says what is frozen and what is trained:

    params = {"frontend": pretrained, never trained here, "head": trained}
    batch_stats = {"head": measured, neither trained nor frozen weights}
    arm "frozen":  φ = head
    arm "lora":    φ = head ∪ adapters in the front-end's attention
"""

from collections.abc import Callable, Mapping
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from mldg_jax import lora
from mldg_jax.models.pooling import PoolingHead, statistics
from mldg_jax.models.whisper import WhisperEncoder

ATTENTION = r"frontend/.*/attention/(query|key|value|out)/kernel"


class Detector(nn.Module):
    """Waveform → logits.

    Attributes:
      frontend: keyword arguments of ``WhisperEncoder``.
      head: keyword arguments of ``PoolingHead``.
      lora_scale: alpha / rank.
    """

    frontend: Mapping[str, Any]
    head: Mapping[str, Any]
    lora_scale: float = 1.0

    @nn.compact
    def __call__(self, waveform: jax.Array) -> jax.Array:
        """Maps (batch, samples) at 16 kHz to (batch, 2) logits, column 1 bona fide."""
        encoder = WhisperEncoder(
            **self.frontend, lora_scale=self.lora_scale, name="frontend"
        )
        _, hidden = encoder(waveform)
        return PoolingHead(**self.head, name="head")(hidden)


def create(config: Any) -> Detector:
    """Builds the detector a config's ``model`` section describes."""
    rank = config.lora.rank
    return Detector(
        frontend=flax.core.freeze(dict(config.frontend)),  # hashable
        head=flax.core.freeze(dict(config.head)),
        lora_scale=config.lora.alpha / rank if rank else 1.0,
    )


def init(
    key: jax.Array,
    detector: Detector,
    frontend: Mapping[str, Any],
    examples: jax.Array,
    *,
    rank: int,
) -> tuple[dict, dict, dict]:
    """Makes the parameter split.

    Args:
      key: PRNG key of the head's and the adapters' initial values.
      detector: the model.
      frontend: pretrained front-end parameters.
      examples: (n, samples) training waveforms, on which the head's input is
        standardised.
      rank: LoRA rank; 0 leaves the front-end frozen and trains the head only.

    Returns:
      ``(trainable, batch_stats, frozen)``, see ``variables``.

    Raises:
      ValueError: the front-end's paths or shapes are not the model's.
    """
    head_key, lora_key = jax.random.split(key)
    encoder = WhisperEncoder(**detector.frontend)

    def shapes(tree):
        return jax.tree.map(jnp.shape, tree)

    expected = jax.eval_shape(encoder.init, head_key, examples[:1])["params"]
    if shapes(expected) != shapes(frontend):
        raise ValueError("the front-end's parameters are not of this model's shape")

    @jax.jit
    def init_head(key, frontend, examples):
        _, hidden = encoder.apply({"params": frontend}, examples)
        params = PoolingHead(**detector.head).init(key, hidden)["params"]
        return params, statistics(hidden)

    head, measured = init_head(head_key, frontend, examples)
    trainable, batch_stats = {"head": head}, {"head": measured}
    frozen = {"frontend": frontend}
    if rank:
        adapters = lora.init(lora_key, frozen, [ATTENTION], rank=rank)
        trainable = lora.join(trainable, adapters)
    return trainable, batch_stats, frozen


def variables(
    trainable: Mapping[str, Any],
    batch_stats: Mapping[str, Any],
    frozen: Mapping[str, Any],
) -> dict[str, Any]:
    """What ``detector.apply`` takes, from the parts of ``init``."""
    return {"params": lora.join(frozen, trainable), "batch_stats": batch_stats}


def score(logits: jax.Array) -> jax.Array:
    """Logits (…, 2) → scores (…): higher is more bona fide."""
    return logits[..., 1] - logits[..., 0]


def loss(
    detector: Detector, batch_stats: Mapping[str, Any], frozen: Mapping[str, Any]
) -> Callable[[Any, Any, jax.Array], tuple[jax.Array, dict]]:
    """Returns the ``loss_fn(trainable, batch, key)`` that ``mldg`` takes.

    A batch is ``{"waveform": (domains, examples, samples), "label": (domains,
    examples)}``, labels 1 bona fide and 0 spoof. The loss is cross-entropy averaged
    over examples, then over domains; aux holds it ``by_domain`` (domains,).
    """

    def loss_fn(trainable, batch, key):
        del key  # nothing random in this detector
        waveform, label = batch["waveform"], batch["label"]
        flat = waveform.reshape(-1, waveform.shape[-1])
        logits = detector.apply(variables(trainable, batch_stats, frozen), flat)
        loss = optax.softmax_cross_entropy_with_integer_labels(
            logits.reshape(*label.shape, 2), label
        )
        by_domain = loss.mean(axis=1)
        return by_domain.mean(), {"by_domain": by_domain}

    return loss_fn
