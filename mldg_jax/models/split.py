"""The split of a detector's parameters: what is frozen and what is trained.

params = {"frontend": pretrained, "head": trained}
batch_stats = {"head": neither trained nor frozen, see the head}
method "frozen":  φ = head
method "lora":    φ = head ∪ adapters in the front-end's transformer
method "full":    φ = head ∪ front-end, fine-tuning without adapters
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from mldg_jax import lora
from mldg_jax.common.config import ModelSection
from mldg_jax.common.errors import UserError
from mldg_jax.models.detector import DTYPES, Detector
from mldg_jax.models.pooling import PoolingHead, statistics

PROJECTIONS = ("query", "key", "value", "out")  # of attention
FEED_FORWARD = ("mlp_in", "mlp_out")


def adapter_targets(names: Any) -> str:
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


def init_parameters(
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
        if not measures_examples(detector):
            examples = examples[:1]  # only shapes count
        params = {"params": {"frontend": frontend}}
        features: Any = detector.apply(params, examples, method="features")
        made = detector.head.init(key, features)
        if measures_examples(detector):
            return made["params"], statistics(features)
        return made["params"], made.get("batch_stats", {})

    head, batch_stats = init_head(head_key, frontend, examples)
    trainable, frozen = {"head": head}, {"frontend": frontend}
    if full:
        return {**trainable, **frozen}, {"head": batch_stats}, {"frontend": {}}
    if rank:
        adapters = lora.init(lora_key, frozen, [adapter_targets(adapted)], rank=rank)
        trainable = lora.join(trainable, adapters)
    return trainable, {"head": batch_stats}, frozen


def measures_examples(detector: Detector) -> bool:
    """Says whether the head's input is standardised on examples at the start."""
    return isinstance(detector.head, PoolingHead)


def split_options(config: ModelSection) -> dict[str, Any]:
    """What a config's ``model`` section says of the split: keywords of ``init``."""
    return {
        "rank": config.lora.rank,
        "adapted": config.lora.targets,
        "full": config.full,
    }


def variables(
    trainable: Mapping[str, Any],
    batch_stats: Mapping[str, Any],
    frozen: Mapping[str, Any],
) -> dict[str, Any]:
    """What ``detector.apply`` takes, from the parts of ``init``."""
    return {"params": lora.join(frozen, trainable), "batch_stats": batch_stats}


def store_frozen(frozen: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    """The frozen parameters as a training step holds them.

    Nothing is ever added to them, so the matrices may be stored in the compute dtype,
    which halves their memory; vectors stay as they are.
    """
    to = DTYPES[dtype]
    return jax.tree.map(
        lambda x: x.astype(to) if to is not None and x.ndim == 2 else x, frozen
    )
