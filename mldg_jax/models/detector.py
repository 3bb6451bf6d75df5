"""The detector: a front-end and a back-end; see ``split`` for what is trained."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from mldg_jax import lora
from mldg_jax.common import own_code
from mldg_jax.common.config import ComputeSection, ModelSection
from mldg_jax.common.errors import UserError
from mldg_jax.models import front_ends
from mldg_jax.models.aasist import AASISTHead
from mldg_jax.models.frame_head import FrameHead, FrameLogits
from mldg_jax.models.linear import LinearHead
from mldg_jax.models.mhfa import MHFAHead
from mldg_jax.models.pooling import PoolingHead
from mldg_jax.models.sls import SLSHead

FRONTENDS = {name: kind.module for name, kind in front_ends.KINDS.items()}
HEADS = {
    "pooling": PoolingHead,
    "aasist": AASISTHead,
    "linear": LinearHead,
    "mhfa": MHFAHead,
    "sls": SLSHead,
    "frame": FrameHead,
}
LAST = (-1,)  # the hidden states that a head with ``takes_last`` takes
DTYPES = {"float32": None, "bfloat16": jnp.bfloat16}  # None: the parameters' dtype


class Detector(nn.Module):
    """Waveform → logits.

    Attributes:
      frontend: a front-end, (batch, samples) → frames (batch, frames, dim).
      head: a back-end; one with ``takes_layers`` takes hidden states, the others take
        the front-end's output.
      read: the hidden states that such a head takes, by their index in ``layers``,
        -1 for the last; all if empty.
    """

    frontend: nn.Module
    head: nn.Module
    read: tuple[int, ...] = ()

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
          (batch, frames, dim), at least float32; for a head with ``takes_layers`` a
          list of such arrays: ``read`` of ``layers``.
        """
        if getattr(self.head, "takes_layers", False):
            return self.chosen(self.layers(waveform, train))
        return _at_least_float32(self.frontend(waveform, train=train))

    def layers(self, waveform: jax.Array, train: bool = False) -> list[jax.Array]:
        """Computes the front-end's hidden states.

        Args:
          waveform, train: as for ``features``.

        Returns:
          layers + 1 arrays (batch, frames, dim), at least float32: the transformer's
          input and every layer's output, before the last normalisation.
        """
        outputs = self.frontend(waveform, train=train, hidden_states=True)
        return _at_least_float32(outputs[1])

    def chosen(self, states: Sequence[Any]) -> list[Any]:
        """Returns the hidden states that the head takes.

        Args:
          states: a value for each hidden state, in the order of ``layers``.

        Returns:
          Those of ``read``.
        """
        return [states[i] for i in self.read] if self.read else list(states)

    def classify(self, features: Any, train: bool = False) -> jax.Array:
        """Maps the head's input to logits.

        Args:
          features: the output of ``features``.
          train: whether the head is in training mode.

        Returns:
          (batch, 2), column 1 bona fide.
        """
        return self.head(features, train)

    def locate(self, features: Any) -> FrameLogits:
        """Maps the head's input to logits of frames and utterance.

        Args:
          features: the output of ``features``.

        Returns:
          The logits, of a head with ``locates``.
        """
        return self.head.locate(features)


def locates(detector: Detector) -> bool:
    """Returns whether a detector scores frames, and so can tell where spoof is.

    Args:
      detector: the model.
    """
    return getattr(detector.head, "locates", False)


def _at_least_float32(outputs: Any) -> Any:
    return jax.tree.map(
        lambda x: x.astype(jnp.promote_types(x.dtype, jnp.float32)), outputs
    )


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
    frontend_class = find_class("frontend", FRONTENDS, config.frontend)
    head_class = find_class("head", HEADS, config.head)
    frontend = _attributes("frontend", frontend_class, config.frontend) | _supported(
        frontend_class,
        {
            "lora_scale": lora.scale(
                options.rank, options.alpha, rank_stabilised=options.rank_stabilised
            ),
            "lora_dropout": options.dropout,
            "dtype": DTYPES[compute.dtype],
            "remat": compute.remat,
            "scan": compute.scan,
        },
        asked={
            "lora_scale": f"model.lora.rank is {options.rank}" * bool(options.rank),
            "dtype": f"compute.dtype is {compute.dtype}" * (compute.dtype != "float32"),
            "remat": "compute.remat is true" * compute.remat,
            "scan": "compute.scan is true" * compute.scan,
        },
    )
    read = _read(frontend.get("layers"), head_class, config.head["kind"])
    if read and read != LAST:
        frontend["layers"] = max(read)
    head = _attributes("head", head_class, config.head)
    if "axis_name" in head_class.__dataclass_fields__:
        head["axis_name"] = axis_name
    return Detector(frontend_class(**frontend), head_class(**head), read)


def _read(layers: Any, head: type, kind: str) -> tuple[int, ...]:
    """Returns the hidden states that the head takes; () for all."""
    setting = f"model.frontend.layers is {layers}"
    if not isinstance(layers, list | tuple):
        if isinstance(layers, int) and layers < 1:
            raise UserError(f"{setting}; it must be at least 1")
        return LAST if getattr(head, "takes_last", False) else ()
    numbers = [x for x in layers if isinstance(x, int) and x >= 0]
    if numbers != list(layers) or sorted(set(numbers)) != numbers or not sum(numbers):
        raise UserError(
            f"{setting}; a list must have the numbers of the layers to read, rising, 1 "
            "for the first layer and 0 for its input, such as [3, 7]"
        )
    if not getattr(head, "takes_layers", False):
        raise UserError(
            f"{setting}, but the head {kind} reads the last layer only; set it to a "
            "number of layers, or choose a head that reads layers, such as pooling"
        )
    return tuple(numbers)


def find_class(
    part: str, kinds: Mapping[str, type], config: Mapping[str, Any]
) -> type[nn.Module]:
    """Finds the class of a part of the model.

    Args:
      part: "frontend" or "head".
      kinds: this package's classes by name.
      config: the part's config; ``kind`` is one of these names, or names a class of the
        user's own as PACKAGE.MODULE:NAME.

    Returns:
      The class.

    Raises:
      UserError: the kind is unknown, or cannot be imported or is not a Flax module.
    """
    kind, setting = config.get("kind", ""), f"model.{part}.kind"
    if kind in kinds:
        return kinds[kind]
    if not own_code.is_own(kind):
        raise own_code.refusal(setting, kind, kinds)
    own = own_code.find(setting, kind)
    if not (isinstance(own, type) and issubclass(own, nn.Module)):
        raise UserError(
            f"{setting} is {kind!r}, which is not a subclass of flax.linen.Module"
        )
    return own


def _attributes(
    part: str, found: type[nn.Module], config: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns the attributes of a part after checking their names."""
    attributes = {k: v for k, v in config.items() if k != "kind"}
    known = found.__dataclass_fields__
    names = ", ".join(k for k in known if k not in ("name", "parent"))
    for name in attributes.keys() - known.keys():
        has = f"has {names}" if names else "has no attributes"
        if own_code.is_own(config["kind"]):
            has += " (an attribute needs a type: dim: int = 64)"
        raise UserError(f"model.{part}.{name} is unknown; {config['kind']} {has}")
    return attributes


def _supported(
    found: type[nn.Module], options: Mapping[str, Any], asked: Mapping[str, str]
) -> dict[str, Any]:
    """Returns the options that a front-end has; refuses others that are asked for."""
    known = found.__dataclass_fields__
    for name, setting in asked.items():
        if setting and name not in known:
            raise UserError(
                f"{setting}, but the front-end {found.__name__} has no attribute "
                f"{name}: add it, or change the setting"
            )
    return {name: value for name, value in options.items() if name in known}


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
