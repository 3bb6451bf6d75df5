"""The detector: front-end + back-end, and which parameters are whose.

The only place that says what is frozen and what is trained:

    params = {"frontend": pretrained, "head": trained}
    batch_stats = {"head": neither trained nor frozen, see the head}
    arm "frozen":  φ = head
    arm "lora":    φ = head ∪ adapters in the front-end's transformer
    arm "full":    φ = head ∪ front-end, fine-tuning without adapters
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from mldg_jax import lora
from mldg_jax.errors import UserError
from mldg_jax.models.aasist import AASISTHead
from mldg_jax.models.pooling import PoolingHead, statistics
from mldg_jax.models.wav2vec2 import Wav2Vec2
from mldg_jax.models.whisper import WhisperEncoder

FRONTENDS = {"whisper": WhisperEncoder, "wav2vec2": Wav2Vec2}
HEADS = {"pooling": PoolingHead, "aasist": AASISTHead}
PROJECTIONS = ("query", "key", "value", "out")  # of attention
FEED_FORWARD = ("mlp_in", "mlp_out")
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


def create(
    config: Any, axis_name: str | None = None, compute: Any | None = None
) -> Detector:
    """Builds the detector a config's ``model`` section describes.

    Args:
      config: ``frontend`` and ``head``: a ``kind`` and the module's attributes;
        ``lora``: ``rank``, ``alpha`` and, if not the defaults, ``dropout`` and
        ``rank_stabilised``.
      axis_name: the pmap axis over which BatchNorm is synchronised in training.
      compute: a config's ``compute`` section: the front-end's ``dtype``, "float32" or
        "bfloat16", ``remat`` and ``scan``. float32 and neither if None. The head, the
        losses and all statistics are float32 always.

    Raises:
      UserError: an unknown kind, attribute or dtype.
    """
    options = config.lora
    compute = compute or {"dtype": "float32", "remat": False, "scan": False}
    if compute["dtype"] not in DTYPES:
        raise UserError(
            f"compute.dtype is {compute['dtype']!r}; it must be one of "
            f"{', '.join(DTYPES)}"
        )
    frontend = _build("frontend", FRONTENDS, config.frontend) | {
        "lora_scale": lora.scale(
            options.rank,
            options.alpha,
            rank_stabilised=options.get("rank_stabilised", False),
        ),
        "lora_dropout": options.get("dropout", 0.0),
        "dtype": DTYPES[compute["dtype"]],
        "remat": compute["remat"],
        "scan": compute["scan"],
    }
    head = _build("head", HEADS, config.head)
    if config.head.kind == "aasist":
        head["axis_name"] = axis_name
    return Detector(
        FRONTENDS[config.frontend.kind](**frontend), HEADS[config.head.kind](**head)
    )


def _build(part: str, kinds: Mapping[str, type], config: Any) -> dict[str, Any]:
    """The attributes of a part, checked."""
    attributes = {k: v for k, v in dict(config).items() if k != "kind"}
    if config.kind not in kinds:
        raise UserError(
            f"model.{part}.kind is {config.kind!r}; it must be one of "
            f"{', '.join(kinds)}"
        )
    known = kinds[config.kind].__dataclass_fields__
    for name in attributes.keys() - known.keys():
        raise UserError(
            f"model.{part}.{name} is unknown; {config.kind} has "
            f"{', '.join(k for k in known if k not in ('name', 'parent'))}"
        )
    return {  # hashable: a config read from JSON has lists
        k: tuple(v) if isinstance(v, list) else v for k, v in attributes.items()
    }


def targets(names: Any) -> str:
    """The pattern of the kernels that get adapters.

    Args:
      names: of ``PROJECTIONS`` and ``FEED_FORWARD``, in every layer.

    Raises:
      UserError: no name or an unknown one.
    """
    known = PROJECTIONS + FEED_FORWARD
    if not names or set(names) - set(known):
        raise UserError(
            f"model.lora.targets is {tuple(names)}; it takes some of {', '.join(known)}"
        )
    return rf"frontend/layers_\d+/(attention/)?({'|'.join(names)})/kernel"


def init(
    key: jax.Array,
    detector: Detector,
    frontend: Mapping[str, Any],
    examples: jax.Array,
    *,
    rank: int,
    adapted: Any = PROJECTIONS,
    full: bool = False,
) -> tuple[dict, dict, dict]:
    """Makes the parameter split.

    Args:
      key: PRNG key of the head's and the adapters' initial values.
      detector: the model.
      frontend: pretrained front-end parameters.
      examples: (n, samples) training waveforms, on which the head's input is
        standardised, if it is.
      rank: LoRA rank; 0 leaves the front-end frozen and trains the head only.
      adapted: which kernels get adapters, see ``targets``.
      full: every parameter of the front-end is trained, and none is frozen.

    Returns:
      ``(trainable, batch_stats, frozen)``, see ``variables``.

    Raises:
      UserError: adapters are asked for where every parameter is trained.
      ValueError: the front-end's paths or shapes are not the model's.
    """
    if full and rank:
        raise UserError(f"model.full with model.lora.rank {rank}: set the rank to 0")
    head_key, lora_key = jax.random.split(key)

    def shapes(tree):
        return jax.tree.map(jnp.shape, tree)

    expected = jax.eval_shape(detector.frontend.init, head_key, examples[:1])["params"]
    if shapes(expected) != shapes(dict(frontend)):
        raise ValueError("the front-end's parameters are not of this model's shape")

    @jax.jit
    def init_head(key, frontend, examples):
        if not isinstance(detector.head, PoolingHead):
            examples = examples[:1]  # nothing to measure, only shapes count
        params = {"params": {"frontend": frontend}}
        features = detector.apply(params, examples, method="features")
        made = detector.head.init(key, features)
        if isinstance(detector.head, PoolingHead):
            return made["params"], statistics(features)
        return made["params"], made.get("batch_stats", {})

    head, batch_stats = init_head(head_key, frontend, examples)
    trainable, frozen = {"head": head}, {"frontend": frontend}
    if full:
        return {**trainable, **frozen}, {"head": batch_stats}, {"frontend": {}}
    if rank:
        adapters = lora.init(lora_key, frozen, [targets(adapted)], rank=rank)
        trainable = lora.join(trainable, adapters)
    return trainable, {"head": batch_stats}, frozen


def split_options(config: Any) -> dict[str, Any]:
    """What a config's ``model`` section says of the split: keywords of ``init``."""
    return {
        "rank": config.lora.rank,
        "adapted": config.lora.get("targets", PROJECTIONS),
        "full": config.get("full", False),
    }


def variables(
    trainable: Mapping[str, Any],
    batch_stats: Mapping[str, Any],
    frozen: Mapping[str, Any],
) -> dict[str, Any]:
    """What ``detector.apply`` takes, from the parts of ``init``."""
    return {"params": lora.join(frozen, trainable), "batch_stats": batch_stats}


def prefix(
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
    _, states = stem.apply({"params": frontend}, waveform, hidden_states=True)
    return states[0]


def score(logits: jax.Array) -> jax.Array:
    """Logits (…, 2) → scores (…): higher is more bona fide."""
    return logits[..., 1] - logits[..., 0]


def store(frozen: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    """The frozen parameters as a training step holds them.

    Nothing is ever added to them, so the matrices may be stored in the compute dtype,
    which halves their memory; vectors stay as they are.
    """
    to = DTYPES[dtype]
    return jax.tree.map(
        lambda x: x.astype(to) if to is not None and x.ndim == 2 else x, frozen
    )
