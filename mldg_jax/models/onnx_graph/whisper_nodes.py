"""Nodes of Whisper's encoder; see ``models.whisper``."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mldg_jax.models.onnx_graph.graph_builder import GraphBuilder
from mldg_jax.models.onnx_graph.transformer_nodes import (
    conv1d,
    layer_norm,
    transformer_layers,
)
from mldg_jax.models.whisper import HOP, WINDOW, WhisperEncoder, mel_filters


def whisper(
    graph: GraphBuilder,
    module: WhisperEncoder,
    params: Mapping[str, Any],
    waveform: str,
    samples: int,
) -> tuple[str, list[str], int]:
    """Adds the encoder.

    Args:
      graph: to add to.
      module: the encoder.
      params: its parameters, adapters merged.
      waveform: (batch, samples).
      samples: length of a window.

    Returns:
      ``(output, hidden states, frames)``: the normalised output and ``layers + 1``
      hidden states, each (batch, frames, dim).
    """
    frames = (samples // HOP + 1) // 2
    x = log_mel(graph, waveform, module.mels)
    for name, stride in (("conv1", 1), ("conv2", 2)):
        x = conv1d(graph, x, params[name], name, stride=stride, padding=(1, 1))
        x = graph.op("Gelu", x)
    x = graph.op("Transpose", x, perm=[0, 2, 1])  # (batch, frames, dim)
    x = graph.op("Add", x, graph.weight("positions", params["positions"][:frames]))
    states = transformer_layers(
        graph, x, params, layers=module.layers, heads=module.heads
    )
    output = layer_norm(graph, states[-1], params["final_norm"], "final_norm")
    return output, states, frames


def log_mel(graph: GraphBuilder, waveform: str, mels: int) -> str:
    """Adds the log-mel spectrogram.

    The Fourier transform is a strided convolution with windowed cosines and sines:
    onnxruntime refuses its own transform when the batch is not fixed, and a convolution
    needs no copies of overlapping frames.

    Args:
      graph: to add to.
      waveform: (batch, samples).
      mels: number of mel bands.

    Returns:
      (batch, mels, samples // 160).
    """
    bins, half = WINDOW // 2 + 1, WINDOW // 2
    time = np.arange(WINDOW)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * time / WINDOW)
    # The product is reduced before it is multiplied by 2π, which would round it.
    angle = 2 * np.pi * (np.outer(np.arange(bins), time) % WINDOW) / WINDOW
    kernel = np.concatenate([np.cos(angle), np.sin(angle)]) * hann
    with graph.scope("log_mel"):
        x = graph.op("Pad", waveform, [0, half, 0, half], mode="reflect")
        x = graph.op("Unsqueeze", x, [1])
        x = graph.op("Conv", x, graph.constant(kernel[:, None]), strides=[HOP])
        # One frame more than Whisper has: its window begins at the last sample or hop.
        x = graph.op("Slice", x, [0], [-1], [2])
        square = graph.op("Mul", x, x)
        parts = graph.op("Split", square, outputs=2, axis=1, num_outputs=2)
        power = graph.op("Add", *parts)  # (batch, bins, frames)
        x = graph.op("MatMul", graph.constant(mel_filters(mels).T), power)
        x = graph.op("Log", graph.op("Max", x, 1e-10))
        # log10, and the floor at 8 below the utterance's maximum
        x = graph.op("Mul", x, 1 / np.log(10))
        top = graph.op("ReduceMax", x, [1, 2], keepdims=1)
        x = graph.op("Max", x, graph.op("Sub", top, 8.0))
        return graph.op("Mul", graph.op("Add", x, 4.0), 0.25)
