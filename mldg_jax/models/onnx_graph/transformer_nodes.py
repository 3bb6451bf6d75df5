"""Nodes of the layers that the front-ends share; see ``models.layers``.

Frames are (batch, frames, dim) throughout.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mldg_jax import lora
from mldg_jax.models.onnx_graph.graph_builder import GraphBuilder

Params = Mapping[str, Any]


def dense(graph: GraphBuilder, x: str, params: Params, name: str) -> str:
    """Adds a dense layer over the last axis.

    Args:
      graph: to add to.
      x: (…, in).
      params: ``kernel`` (in, out) and, unless the layer has none, ``bias`` (out,).
      name: of the layer.

    Returns:
      (…, out).

    Raises:
      ValueError: the layer has adapters: merge them first.
    """
    if lora.A in params:
        raise ValueError(f"{name} has adapters; merge them before writing the graph")
    with graph.scope(name):
        x = graph.op("MatMul", x, graph.weight("kernel", params["kernel"]))
        if "bias" in params:
            x = graph.op("Add", x, graph.weight("bias", params["bias"]))
    return x


def layer_norm(graph: GraphBuilder, x: str, params: Params, name: str) -> str:
    """Adds a layer normalisation over the last axis, with epsilon 1e-5.

    Args:
      graph: to add to.
      x: (…, dim).
      params: ``scale`` and ``bias``, (dim,).
      name: of the layer.

    Returns:
      (…, dim).
    """
    with graph.scope(name):
        scale = graph.weight("scale", params["scale"])
        bias = graph.weight("bias", params["bias"])
        return graph.op("LayerNormalization", x, scale, bias, axis=-1, epsilon=1e-5)


def conv1d(
    graph: GraphBuilder,
    x: str,
    params: Params,
    name: str,
    *,
    stride: int = 1,
    padding: tuple[int, int] = (0, 0),
    groups: int = 1,
) -> str:
    """Adds a convolution over time.

    Args:
      graph: to add to.
      x: (batch, in, frames).
      params: ``kernel`` (taps, in / groups, out) and perhaps ``bias`` (out,).
      name: of the layer.
      stride: in frames.
      padding: number of zeros before and after.
      groups: of channels.

    Returns:
      (batch, out, frames').
    """
    with graph.scope(name):
        kernel = np.transpose(params["kernel"], (2, 1, 0))
        inputs = [x, graph.weight("kernel", kernel)]
        if "bias" in params:
            inputs.append(graph.weight("bias", params["bias"]))
        return graph.op(
            "Conv", *inputs, strides=[stride], pads=list(padding), group=groups
        )


def transformer_layers(
    graph: GraphBuilder, x: str, params: Params, *, layers: int, heads: int, **options
) -> list[str]:
    """Adds the transformer layers of a front-end.

    Args:
      graph: to add to.
      x: (batch, frames, dim).
      params: of the front-end, with ``layers_0``, ….
      layers: number of layers.
      heads: attention heads.
      **options: ``pre_norm``, see ``TransformerLayer``; ``positions``, see
        ``self_attention``.

    Returns:
      The input and every layer's output.
    """
    states = [x]
    for i in range(layers):
        name = f"layers_{i}"
        with graph.scope(name):
            states.append(_layer(graph, states[-1], params[name], heads, **options))
    return states


def _layer(
    graph: GraphBuilder,
    x: str,
    params: Params,
    heads: int,
    pre_norm: bool = True,
    positions: str | None = None,
) -> str:
    def attention(y: str) -> str:
        with graph.scope("attention"):
            return self_attention(graph, y, params["attention"], heads, positions)

    def mlp(y: str) -> str:
        y = graph.op("Gelu", dense(graph, y, params["mlp_in"], "mlp_in"))
        return dense(graph, y, params["mlp_out"], "mlp_out")

    for name, block in (("attention_norm", attention), ("mlp_norm", mlp)):
        if pre_norm:
            y = layer_norm(graph, x, params[name], name)
            x = graph.op("Add", x, block(y))
        else:
            x = layer_norm(graph, graph.op("Add", x, block(x)), params[name], name)
    return x


def self_attention(
    graph: GraphBuilder,
    x: str,
    params: Params,
    heads: int,
    positions: str | None = None,
) -> str:
    """Adds multi-head self-attention.

    Args:
      graph: to add to.
      x: (batch, frames, dim).
      params: ``query``, ``key``, ``value`` and ``out``, see ``dense``; with
        ``positions`` also ``gate``, see ``relative_positions.Gate``.
      heads: number of heads.
      positions: the bias (heads, frames, frames) that the gate scales; None for none.

    Returns:
      (batch, frames, dim).
    """
    dim = np.shape(params["query"]["kernel"])[1]
    # The logits' scale is a part of the query's weights: a pass over memory less.
    scale = (dim // heads) ** -0.5
    query = {name: np.asarray(value) * scale for name, value in params["query"].items()}

    def project(layer: Params, name: str, axes: list[int]) -> str:
        y = dense(graph, x, layer, name)
        y = graph.op("Reshape", y, [0, 0, heads, dim // heads])
        return graph.op("Transpose", y, perm=axes)

    logits = graph.op(
        "MatMul",
        project(query, "query", [0, 2, 1, 3]),
        project(params["key"], "key", [0, 2, 3, 1]),
    )
    if positions is not None:
        factor = _gate(graph, x, params["gate"], heads, dim // heads)
        logits = graph.op("Add", logits, graph.op("Mul", factor, positions))
    weights = graph.op("Softmax", logits, axis=-1)
    value = project(params["value"], "value", [0, 2, 1, 3])
    mixed = graph.op("Transpose", graph.op("MatMul", weights, value), perm=[0, 2, 1, 3])
    mixed = graph.op("Reshape", mixed, [0, 0, dim])
    return dense(graph, mixed, params["out"], "out")


def _gate(graph: GraphBuilder, x: str, params: Params, heads: int, width: int) -> str:
    """Adds the factor of the position bias, (batch, heads, frames, 1)."""
    # Two outputs, each the sum of four of the published map.
    kernel = np.asarray(params["kernel"]).reshape(width, 2, 4).sum(-1)
    summed = {
        "kernel": kernel,
        "bias": np.asarray(params["bias"]).reshape(2, 4).sum(-1),
    }
    y = graph.op("Reshape", x, [0, 0, heads, width])
    y = graph.op("Sigmoid", dense(graph, y, summed, "gate"))
    y = graph.op("Transpose", y, perm=[0, 2, 1, 3])  # (batch, heads, frames, 2)
    update, reset = graph.op("Split", y, outputs=2, axis=-1, num_outputs=2)
    scale = np.asarray(params["scale"]).reshape(heads, 1, 1)
    reset = graph.op("Mul", reset, graph.constant(scale))
    product = graph.op("Mul", update, graph.op("Sub", reset, 1.0))
    return graph.op("Add", product, 2.0)
