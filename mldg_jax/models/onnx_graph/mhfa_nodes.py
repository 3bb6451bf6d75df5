"""Nodes of multi-head factorised attentive pooling; see ``models.mhfa``."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import softmax

from mldg_jax.models.onnx_graph.graph_builder import GraphBuilder
from mldg_jax.models.onnx_graph.state_nodes import standardised
from mldg_jax.models.onnx_graph.transformer_nodes import dense


def mhfa(
    graph: GraphBuilder,
    params: Mapping[str, Any],
    batch_stats: Mapping[str, Any],
    hidden: Sequence[str],
) -> str:
    """Adds the head.

    Args:
      graph: to add to.
      params: ``key_weights``, ``key``, ``value_weights``, ``value``, ``attention`` and
        ``logits``.
      batch_stats: ``shift`` and ``scale``, (layers, width).
      hidden: (batch, frames, width), one value per layer.

    Returns:
      (batch, 2), column 1 bona fide.
    """
    layers = standardised(graph, batch_stats, hidden)

    def compressed(name: str) -> str:
        weights = softmax(np.asarray(params[f"{name}_weights"], np.float64))
        with graph.scope(f"{name}_weights"):
            terms = [
                graph.op("Mul", x, graph.weight(str(i), weight))
                for i, (x, weight) in enumerate(zip(layers, weights, strict=True))
            ]
        return dense(graph, graph.op("Sum", *terms), params[name], name)

    key, value = compressed("key"), compressed("value")
    energy = dense(graph, key, params["attention"], "attention")
    attention = graph.op("Softmax", energy, axis=1)  # (batch, frames, heads)
    attention = graph.op("Transpose", attention, perm=[0, 2, 1])
    pooled = graph.op("MatMul", attention, value)  # (batch, heads, dim)
    return dense(graph, graph.op("Flatten", pooled), params["logits"], "logits")
