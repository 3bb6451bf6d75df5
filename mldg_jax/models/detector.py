"""The detector: a front-end and a back-end; see ``split`` for what is trained."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from mldg_jax import lora
from mldg_jax.common.config import ComputeSection, ModelSection
from mldg_jax.common.errors import UserError
from mldg_jax.models.aasist import AASISTHead
from mldg_jax.models.pooling import PoolingHead
from mldg_jax.models.wav2vec2 import Wav2Vec2
from mldg_jax.models.whisper import WhisperEncoder

FRONTENDS = {"whisper": WhisperEncoder, "wav2vec2": Wav2Vec2}
HEADS = {"pooling": PoolingHead, "aasist": AASISTHead}
DTYPES = {"float32": None, "bfloat16": jnp.bfloat16}  # None: the parameters' dtype


class Detector(nn.Module):
    """Waveform → logits.

    Attributes:
      frontend: a front-end, (batch, samples) → frames (batch, frames, dim).
      head: a back-end; ``PoolingHead`` takes the hidden states of every layer, the
        others take the front-end's output.
    """

    frontend: nn.Module
    head: nn.Module

    def __call__(self, waveform: jax.Array, train: bool = False) -> jax.Array:
        """Maps (batch, samples) at 16 kHz to (batch, 2) logits, column 1 bona fide.

        Also takes the output of ``frontend_prefix`` in place of waveforms.
        """
        return self.classify(self.features(waveform, train), train)

    def features(self, waveform: jax.Array, train: bool = False) -> Any:
        """Computes the head's input.

        Args:
          waveform: (batch, samples) at 16 kHz, or the output of ``frontend_prefix``.
          train: whether LoRA dropout is on.

        Returns:
          (batch, frames, dim), at least float32; for ``PoolingHead`` a list of such
          arrays, the front-end's ``hidden_states``.
        """
        if isinstance(self.head, PoolingHead):
            outputs = self.frontend(waveform, train=train, hidden_states=True)[1]
        else:
            outputs = self.frontend(waveform, train=train)
        return jax.tree.map(
            lambda x: x.astype(jnp.promote_types(x.dtype, jnp.float32)), outputs
        )

    def classify(self, features: Any, train: bool = False) -> jax.Array:
        """Maps the head's input to logits.

        Args:
          features: the output of ``features``.
          train: whether the head is in training mode.

        Returns:
          (batch, 2), column 1 bona fide.
        """
        return self.head(features, train)


def create_detector(
    config: ModelSection,
    axis_name: str | None = None,
    compute: ComputeSection | None = None,
) -> Detector:
    """Builds the detector that a config's ``model`` section describes.

    Args:
      config: the ``model`` section.
      axis_name: pmap axis over which BatchNorm is synchronised in training.
      compute: the ``compute`` section, which concerns the front-end; None for the
        defaults. The head, the losses and all statistics are always float32.

    Returns:
      The detector, without parameters.

    Raises:
      UserError: a kind, an attribute or the dtype is unknown.
    """
    options, compute = config.lora, compute or ComputeSection()
    if compute.dtype not in DTYPES:
        raise UserError(
            f"compute.dtype is {compute.dtype!r}; it must be one of {', '.join(DTYPES)}"
        )
    frontend = _build("frontend", FRONTENDS, config.frontend) | {
        "lora_scale": lora.scale(
            options.rank, options.alpha, rank_stabilised=options.rank_stabilised
        ),
        "lora_dropout": options.dropout,
        "dtype": DTYPES[compute.dtype],
        "remat": compute.remat,
        "scan": compute.scan,
    }
    layers = frontend.get("layers", 1)
    if isinstance(layers, int) and layers < 1:
        raise UserError(f"model.frontend.layers is {layers}; it must be at least 1")
    head = _build("head", HEADS, config.head)
    if config.head["kind"] == "aasist":
        head["axis_name"] = axis_name
    return Detector(
        FRONTENDS[config.frontend["kind"]](**frontend),
        HEADS[config.head["kind"]](**head),
    )


def _build(
    part: str, kinds: Mapping[str, type], config: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns the attributes of a part after checking their names."""
    kind = config.get("kind", "")
    attributes = {k: v for k, v in config.items() if k != "kind"}
    if kind not in kinds:
        raise UserError(
            f"model.{part}.kind is {kind!r}; it must be one of {', '.join(kinds)}"
        )
    known = kinds[kind].__dataclass_fields__
    for name in attributes.keys() - known.keys():
        raise UserError(
            f"model.{part}.{name} is unknown; {kind} has "
            f"{', '.join(k for k in known if k not in ('name', 'parent'))}"
        )
    return attributes


def frontend_prefix(
    detector: Detector, frontend: Mapping[str, Any], waveform: jax.Array
) -> jax.Array:
    """Runs the front-end below its first adapter, which training never changes.

    This is the log-mel spectrogram and stem of Whisper, or the convolutional extractor
    and positional convolution of wav2vec 2.0.

    Args:
      detector: the model.
      frontend: parameters of its front-end.
      waveform: (batch, samples) at 16 kHz.

    Returns:
      (batch, frames, dim) in the front-end's dtype. The front-end accepts it in place
      of the waveform and returns the same output.
    """
    stem = detector.frontend.clone(layers=0, scan=False)
    outputs = stem.apply({"params": frontend}, waveform, hidden_states=True)
    return cast(Any, outputs)[1][0]


@contextlib.contextmanager
def last_layer_inputs() -> Iterator[list[jax.Array]]:
    """Records the embeddings: what a head's last linear layer sees.

    Yields:
      A list that gets (batch, width) for every application of a detector inside; it
      stays empty for a head that does not end in a ``Dense`` of two features.
    """
    inputs: list[jax.Array] = []

    def record(call, arguments, options, context):
        if isinstance(context.module, nn.Dense) and context.module.features == 2:
            inputs.append(arguments[0])
        return call(*arguments, **options)

    with nn.intercept_methods(record):
        yield inputs


def score_logits(logits: jax.Array) -> jax.Array:
    """Computes scores from logits.

    Args:
      logits: (…, 2), column 1 bona fide.

    Returns:
      (…), the difference of the logits: higher for bona fide.
    """
    return logits[..., 1] - logits[..., 0]
