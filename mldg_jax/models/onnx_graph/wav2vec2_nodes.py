"""Nodes of wav2vec 2.0 and its relatives HuBERT, UniSpeech-SAT and WavLM.

See ``models.wav2vec2``, ``models.positional`` and ``models.relative_positions``.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mldg_jax.models.hubert import HuBERT
from mldg_jax.models.onnx_graph.graph_builder import GraphBuilder
from mldg_jax.models.onnx_graph.transformer_nodes import (
    conv1d,
    dense,
    layer_norm,
    transformer_layers,
)
from mldg_jax.models.relative_positions import distance_buckets
from mldg_jax.models.wav2vec2 import Wav2Vec2
from mldg_jax.models.wavlm import WavLM

Params = Mapping[str, Any]


def wav2vec2(
    graph: GraphBuilder, module: Wav2Vec2, params: Params, waveform: str, samples: int
) -> tuple[str, list[str], int]:
    """Adds the encoder.

    Args:
      graph: to add to.
      module: the encoder.
      params: its parameters, adapters merged.
      waveform: (batch, samples).
      samples: length of a window.

    Returns:
      ``(output, hidden states, frames)``: the output and ``layers + 1`` hidden states,
      each (batch, frames, dim).
    """
    x = _standardize(graph, waveform) if module.normalize else waveform
    with graph.scope("extractor"):
        x = _extractor(graph, module, params["extractor"], x)
    if not isinstance(module, HuBERT) or module.normalize_channels:
        x = layer_norm(graph, x, params["projection_norm"], "projection_norm")
    x = dense(graph, x, params["projection"], "projection")
    with graph.scope("positional"):
        positions = _positional(graph, module, params["positional"], x)
    x = graph.op("Add", x, positions)

    def norm(x: str) -> str:
        return layer_norm(graph, x, params["encoder_norm"], "encoder_norm")

    frames = module.frame_count(samples)
    positions = None
    if isinstance(module, WavLM):
        positions = graph.constant(_position_bias(module, params, frames))
    states = transformer_layers(
        graph,
        x if module.pre_norm else norm(x),
        params,
        layers=module.layers,
        heads=module.heads,
        pre_norm=module.pre_norm,
        positions=positions,
    )
    output = norm(states[-1]) if module.pre_norm else states[-1]
    return output, states, frames


def _position_bias(module: WavLM, params: Params, frames: int) -> np.ndarray:
    """Returns what the layers' gates scale, (heads, frames, frames)."""
    index = distance_buckets(frames, module.buckets, module.max_distance)
    return np.asarray(params["position_bias"])[index].transpose(2, 0, 1)


def _standardize(graph: GraphBuilder, waveform: str) -> str:
    mean = graph.op("ReduceMean", waveform, [1], keepdims=1)
    centred = graph.op("Sub", waveform, mean)
    variance = graph.op(
        "ReduceMean", graph.op("Mul", centred, centred), [1], keepdims=1
    )
    deviation = graph.op("Sqrt", graph.op("Add", variance, 1e-7))
    return graph.op("Div", centred, deviation)


def _extractor(graph: GraphBuilder, module: Wav2Vec2, params: Params, x: str) -> str:
    """Adds the convolutions: (batch, samples) → (batch, frames, channels)."""
    x = graph.op("Unsqueeze", x, [1])  # (batch, 1, samples)
    last = len(module.strides) - 1
    for i, stride in enumerate(module.strides):
        x = conv1d(graph, x, params[f"conv_{i}"], f"conv_{i}", stride=stride)
        name = f"norm_{i}"
        if module.extractor_norm == "layer":
            x = graph.op("Transpose", x, perm=[0, 2, 1])
            x = graph.op("Gelu", layer_norm(graph, x, params[name], name))
            if i < last:
                x = graph.op("Transpose", x, perm=[0, 2, 1])
            continue
        if i == 0:  # groups of one channel: each is normalised over time
            with graph.scope(name):
                scale = graph.weight("scale", params[name]["scale"])
                bias = graph.weight("bias", params[name]["bias"])
                x = graph.op("InstanceNormalization", x, scale, bias, epsilon=1e-5)
        x = graph.op("Gelu", x)
    if module.extractor_norm != "layer":
        x = graph.op("Transpose", x, perm=[0, 2, 1])
    return x


def _positional(graph: GraphBuilder, module: Wav2Vec2, params: Params, x: str) -> str:
    """Adds the position embedding of frames (batch, frames, dim)."""
    direction = np.asarray(params["direction"], np.float64)  # (taps, in a group, out)
    norm = np.sqrt((direction**2).sum(axis=(1, 2)))
    gain = np.asarray(params["gain"], np.float64) / norm
    kernel = {"kernel": direction * gain[:, None, None], "bias": params["bias"]}
    half = module.positional_width // 2
    x = graph.op("Transpose", x, perm=[0, 2, 1])
    x = conv1d(
        graph,
        x,
        kernel,
        "conv",
        padding=(half, half - 1),
        groups=module.positional_groups,
    )
    return graph.op("Transpose", graph.op("Gelu", x), perm=[0, 2, 1])
