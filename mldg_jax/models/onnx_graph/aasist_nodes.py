"""Nodes of AASIST, on frames and on raw waveforms; see ``models.aasist``.

Images are (batch, channels, height, width): height is spectral, width is temporal.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mldg_jax.models.aasist import AASIST, AASISTHead, sinc_filters
from mldg_jax.models.onnx_graph.aasist_graph_nodes import batch_norm_factors, readout
from mldg_jax.models.onnx_graph.graph_builder import GraphBuilder
from mldg_jax.models.onnx_graph.transformer_nodes import dense

Params = Mapping[str, Any]
CHANNELS, HEIGHT, WIDTH = 1, 2, 3  # axes of an image


def aasist_head(
    graph: GraphBuilder,
    module: AASISTHead,
    params: Params,
    stats: Params,
    frames: str,
    count: int,
) -> str:
    """Adds the back-end of SSL-AASIST.

    Args:
      graph: to add to.
      module: the head.
      params, stats: its parameters and the statistics of its normalisations.
      frames: (batch, frames, width).
      count: number of frames.

    Returns:
      (batch, 2), column 1 bona fide.
    """
    x = dense(graph, frames, params["project"], "project")
    x = graph.op("Unsqueeze", x, [CHANNELS])  # (batch, 1, frames, dim)
    x = graph.op("MaxPool", x, kernel_shape=[3, 3], strides=[3, 3])
    x = graph.op("Transpose", x, perm=[0, 1, 3, 2])
    with graph.scope("encoder"):
        x = _encoder(graph, params["encoder"], stats["encoder"], x, module.channels, 1)
    x = _batch_norm(graph, x, params["norm"], stats["norm"], "norm")
    x = graph.op("Selu", x)
    spectral, temporal = _attended(graph, params, stats, x)
    attributes = {"ratios": (0.5, 0.5, 0.5), "temperatures": (2.0, 100.0)}
    with graph.scope("readout"):
        vector = readout(
            graph,
            params["readout"],
            stats["readout"],
            (spectral, module.dim // 3),
            (temporal, count // 3),
            **attributes,
        )
    return dense(graph, vector, params["logits"]["dense"], "logits")


def aasist(
    graph: GraphBuilder,
    module: AASIST,
    params: Params,
    stats: Params,
    waveform: str,
    samples: int,
) -> str:
    """Adds AASIST on raw waveforms.

    Args:
      graph: to add to.
      module: the model.
      params, stats: its parameters and the statistics of its normalisations.
      waveform: (batch, samples).
      samples: length of a window.

    Returns:
      (batch, 2), column 1 bona fide.
    """
    bank = sinc_filters(module.filters, module.taps)  # (taps, filters)
    x = graph.op("Unsqueeze", waveform, [CHANNELS])
    x = graph.op("Conv", x, graph.constant(bank.T[:, None]))  # (batch, filters, time)
    x = graph.op("Unsqueeze", graph.op("Abs", x), [CHANNELS])
    x = graph.op("MaxPool", x, kernel_shape=[3, 3], strides=[3, 3])
    with graph.scope("encoder"):
        x = _encoder(graph, params["encoder"], stats["encoder"], x, module.channels, 3)
    x = graph.op("Abs", x)
    frames = (samples - len(bank) + 1) // 3
    for _ in module.channels:
        frames //= 3
    with graph.scope("readout"):
        vector = readout(
            graph,
            params["readout"],
            stats["readout"],
            (
                _nodes(graph, graph.op("ReduceMax", x, [WIDTH], keepdims=0)),
                module.filters // 3,
            ),
            (_nodes(graph, graph.op("ReduceMax", x, [HEIGHT], keepdims=0)), frames),
            ratios=module.ratios,
            temperatures=module.temperatures,
        )
    return dense(graph, vector, params["logits"]["dense"], "logits")


def _nodes(graph: GraphBuilder, x: str) -> str:
    """Turns (batch, channels, nodes) into (batch, nodes, channels)."""
    return graph.op("Transpose", x, perm=[0, 2, 1])


def _batch_norm(
    graph: GraphBuilder, x: str, params: Params, stats: Params, name: str
) -> str:
    """Adds the normalisation of an image's channels."""
    factor, shift = batch_norm_factors(params, stats)
    with graph.scope(name):
        x = graph.op("Mul", x, graph.weight("factor", factor[:, None, None]))
        return graph.op("Add", x, graph.weight("shift", shift[:, None, None]))


def _convolution(
    graph: GraphBuilder, x: str, kernel: Any, bias: Any, name: str, pads: list[int]
) -> str:
    """Adds a convolution of images; the kernel is (height, width, in, out)."""
    with graph.scope(name):
        kernel = graph.weight("kernel", np.transpose(kernel, (3, 2, 0, 1)))
        return graph.op("Conv", x, kernel, graph.weight("bias", bias), pads=pads)


def _encoder(
    graph: GraphBuilder, params: Params, stats: Params, x: str, channels: Any, pool: int
) -> str:
    """Adds the residual blocks, each with max-pooling over ``pool`` columns."""
    x = graph.op("Selu", _batch_norm(graph, x, params["norm"], stats["norm"], "norm"))
    for i in range(len(channels)):
        name = f"block_{i}"
        with graph.scope(name):
            x = _block(graph, params[name], stats[name], x)
        if pool > 1:
            x = graph.op("MaxPool", x, kernel_shape=[1, pool], strides=[1, pool])
    return x


def _block(graph: GraphBuilder, params: Params, stats: Params, x: str) -> str:
    # The normalisation between the convolutions is a part of the first one's weights.
    # ``norm1`` has no effect, see ``ResidualBlock``.
    factor, shift = batch_norm_factors(params["norm2"], stats["norm2"])
    first = params["conv1"]
    kernel = np.asarray(first["kernel"], np.float64) * factor
    bias = np.asarray(first["bias"], np.float64) * factor + shift
    y = _convolution(graph, x, kernel, bias, "conv1", [1, 1, 1, 1])
    y = graph.op("Selu", y)
    y = _convolution(graph, y, *_both(params["conv2"]), "conv2", [0, 1, 0, 1])
    if "shortcut" in params:
        x = _convolution(graph, x, *_both(params["shortcut"]), "shortcut", [0, 1, 0, 1])
    return graph.op("Add", x, y)


def _both(params: Params) -> tuple[Any, Any]:
    return params["kernel"], params["bias"]


def _attended(
    graph: GraphBuilder, params: Params, stats: Params, x: str
) -> tuple[str, str]:
    """Adds the attention-weighted sums of an image over width and over height."""

    def pointwise(x: str, kernel: Any, bias: Any, name: str) -> str:
        kernel = np.asarray(kernel)[None, None]
        return _convolution(graph, x, kernel, bias, name, [0, 0, 0, 0])

    y = pointwise(x, *_both(params["attention_in"]), "attention_in")
    y = graph.op("Selu", y)
    factor, shift = batch_norm_factors(
        params["attention_norm"], stats["attention_norm"]
    )
    kernel, bias = (np.asarray(v, np.float64) for v in _both(params["attention_out"]))
    y = pointwise(y, factor[:, None] * kernel, bias + shift @ kernel, "attention_out")

    def summed(axis: int) -> str:
        weights = graph.op("Softmax", y, axis=axis)
        return _nodes(
            graph,
            graph.op("ReduceSum", graph.op("Mul", x, weights), [axis], keepdims=0),
        )

    return summed(WIDTH), summed(HEIGHT)
