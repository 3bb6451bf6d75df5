"""What a foreign checkpoint says about its model, compared with the module.

Weights of the same shapes can belong to another function: heads, strides and the place
of a normalisation show in no array. ``transformers`` keeps them in config.json beside
the weights, fairseq in ``cfg.model`` among them.
"""

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn

from mldg_jax.common import text_files
from mldg_jax.common.errors import UserError
from mldg_jax.models import front_ends, wav2vec2

CONFIG = "config.json"
# The weights decide these: fewer layers are a choice, and masks have no effect on
# scores.
_FREE = ("layers", "mask_embedding")
# fairseq's names of settings with the same values as transformers'
_FAIRSEQ = {
    "layer_norm_first": "do_stable_layer_norm",
    "encoder_attention_heads": "num_attention_heads",
    "activation_fn": "hidden_act",
    "conv_bias": "conv_bias",
    "conv_pos": "num_conv_pos_embeddings",
    "conv_pos_groups": "num_conv_pos_embedding_groups",
    "num_buckets": "num_buckets",
    "max_distance": "max_bucket_distance",
}


def check(
    weights: Path, kind: str, module: nn.Module, fairseq: Mapping[str, Any]
) -> None:
    """Refuses weights whose own settings describe another function than the module.

    Args:
      weights: the file; config.json is looked for beside it. One without
        ``model_type`` is not of ``transformers`` and is not read.
      kind: of the front-end, a key of ``front_ends.KINDS``.
      module: the front-end.
      fairseq: ``Contents.settings`` of the checkpoint.

    Raises:
      UserError: they differ; one report names all differences and how to set them. Or
        the settings are those of another architecture, or config.json is damaged.
    """
    path = weights.parent / CONFIG
    config = text_files.read_json(path, dict) if path.is_file() else {}
    if "model_type" in config:
        compare_config(kind, module, config, str(path))
    if fairseq and isinstance(module, wav2vec2.Wav2Vec2):
        compare_config(
            kind, module, _translated(kind, fairseq, module), f"{weights} (cfg)"
        )


def compare(module: nn.Module, theirs: Mapping[str, Any], name: str) -> None:
    """Refuses a module whose attributes are not those of its weights.

    Args:
      module: the front-end.
      theirs: attributes of the weights' own module.
      name: where they are from, for the message.

    Raises:
      UserError: they differ; one report names all differences and how to set them.
    """
    differing = {
        attribute: value
        for attribute, value in theirs.items()
        if attribute not in _FREE and getattr(module, attribute) != value
    }
    if differing:
        here = ", ".join(f"{k}={getattr(module, k)!r}" for k in differing)
        there = ", ".join(f"{k}={value!r}" for k, value in differing.items())
        raise UserError(
            f"{name} describes another model than model.frontend: {there} there, "
            f"{here} here. These weights would load and compute something else; set "
            f"model.frontend to {there}"
        )


def compare_config(
    kind: str, module: nn.Module, config: Mapping[str, Any], name: str
) -> None:
    """Refuses a module whose attributes are not those of a ``transformers`` config.

    Args:
      kind: of the front-end, a key of ``front_ends.KINDS``.
      module: the front-end.
      config: content of config.json, or of its part about the front-end.
      name: where it is from, for the message.

    Raises:
      UserError: as ``compare``, or the config is of another architecture.
    """
    try:
        theirs = front_ends.KINDS[kind].from_hf(config)
    except (ValueError, TypeError) as error:
        raise UserError(f"{name} does not fit model.frontend: {error}") from None
    compare(module, theirs, name)


def _translated(
    kind: str, fairseq: Mapping[str, Any], module: wav2vec2.Wav2Vec2
) -> dict[str, Any]:
    """Returns fairseq's settings by the names of ``transformers``.

    Settings that are missing are the module's: fairseq's own defaults have changed.
    """
    config = front_ends.KINDS[kind].to_hf(module) | {
        theirs: fairseq[ours] for ours, theirs in _FAIRSEQ.items() if ours in fairseq
    }
    if "extractor_mode" in fairseq:
        layer = str(fairseq["extractor_mode"]).endswith("layer_norm")
        config["feat_extract_norm"] = "layer" if layer else "group"
    layers = fairseq.get("conv_feature_layers")
    if isinstance(layers, str):  # such as "[(512, 10, 5)] + [(512, 3, 2)] * 4"
        try:
            shapes = _evaluated(ast.parse(layers, mode="eval").body)
            channels, kernels, strides = map(list, zip(*shapes, strict=True))
        except (SyntaxError, ValueError, TypeError, RecursionError):
            raise UserError(
                f"cfg.model.conv_feature_layers is {layers[:200]!r}; it must be a list "
                "of (channels, kernel, stride)"
            ) from None
        config.update(conv_dim=channels, conv_kernel=kernels, conv_stride=strides)
    return config


def _evaluated(node: ast.expr) -> list[tuple[int, ...]]:
    """Evaluates sums and multiples of lists of tuples, and nothing else."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _evaluated(node.left) + _evaluated(node.right)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        return _evaluated(node.left) * min(ast.literal_eval(node.right), 100)
    return list(ast.literal_eval(node))
