"""Models: front-ends, back-ends, and the detector that combines one of each."""

from typing import Any

import flax.linen as nn

from mldg_jax.models import aasist, front_ends

KINDS = (*front_ends.KINDS, "aasist", "ssl_aasist")


def build(kind: str, config: Any = None) -> nn.Module:
    """Builds a model by name.

    Args:
      kind: a front-end of ``front_ends.KINDS``, (batch, samples) → frames (batch,
        frames, dim); "aasist", (batch, samples) → logits (batch, 2); "ssl_aasist",
        frames (batch, frames, 1024) → logits. Column 1 of the logits is bona fide.
      config: a ``transformers`` config or its dictionary (front-ends), the official
        AASIST ``model_config`` dictionary (aasist), or the attributes of our module.
        None gives the default of the module: XLS-R 300M for "wav2vec2", Whisper tiny.en
        for "whisper", AASIST, or the paper's back-end.

    Returns:
      The module, without parameters.

    Raises:
      ValueError: the kind is unknown, or the module does not support the config.
    """
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}; it must be one of {', '.join(KINDS)}")
    config = dict(config.to_dict() if hasattr(config, "to_dict") else config or {})
    if kind in front_ends.KINDS:
        return front_ends.build(kind, config)
    if kind == "aasist":
        foreign = {"architecture", "gat_dims"} & config.keys()
        return aasist.AASIST(**aasist.from_official(config) if foreign else config)
    return aasist.AASISTHead(**config)
