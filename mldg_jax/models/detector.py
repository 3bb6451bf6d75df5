"""The detector: front-end + back-end. What of it is trained: ``models.split``."""

from collections.abc import Mapping
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
DTYPES = {"float32": None, "bfloat16": jnp.bfloat16}  # None: that of the parameters


class Detector(nn.Module):
    """Waveform → logits.

    Attributes:
      frontend: a front-end, (batch, samples) → frames (batch, frames, dim).
      head: a back-end; ``PoolingHead`` takes the states of every layer, others the
        front-end's output.
    """

    frontend: nn.Module
    head: nn.Module

    def __call__(self, waveform: jax.Array, train: bool = False) -> jax.Array:
        """Maps (batch, samples) at 16 kHz to (batch, 2) logits, column 1 bona fide.

        The front-end also takes what ``prefix`` makes of waveforms.
        """
        return self.classify(self.features(waveform, train), train)

    def features(self, waveform: jax.Array, train: bool = False) -> Any:
        """What the head takes, in float32 at least."""
        if isinstance(self.head, PoolingHead):
            found = self.frontend(waveform, train=train, hidden_states=True)[1]
        else:
            found = self.frontend(waveform, train=train)
        return jax.tree.map(
            lambda x: x.astype(jnp.promote_types(x.dtype, jnp.float32)), found
        )

    def classify(self, features: Any, train: bool = False) -> jax.Array:
        """Maps the features of a batch to (batch, 2) logits."""
        return self.head(features, train)


def create_detector(
    config: ModelSection,
    axis_name: str | None = None,
    compute: ComputeSection | None = None,
) -> Detector:
    """Builds the detector a config's ``model`` section describes.

    Args:
      config: the section.
      axis_name: the pmap axis over which BatchNorm is synchronised in training.
      compute: a config's ``compute`` section, for the front-end; its defaults if None.
        The head, the losses and all statistics are float32 always.

    Raises:
      UserError: an unknown kind, attribute or dtype.
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
    """The attributes of a part, checked."""
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
    """The front-end up to its first adapter, which never changes in training.

    Log-mel and stem, or convolutional extractor and positional convolution.

    Args:
      detector: the model.
      frontend: its front-end's parameters.
      waveform: (batch, samples).

    Returns:
      (batch, frames, dim) in the front-end's dtype: the front-end takes it in place of
      the waveform, and gives what it gives for the waveform.
    """
    stem = detector.frontend.clone(layers=0, scan=False)
    found = stem.apply({"params": frontend}, waveform, hidden_states=True)
    return cast(Any, found)[1][0]


def score_logits(logits: jax.Array) -> jax.Array:
    """Logits (…, 2) → scores (…): higher is more bona fide."""
    return logits[..., 1] - logits[..., 0]
