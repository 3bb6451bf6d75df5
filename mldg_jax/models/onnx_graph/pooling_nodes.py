"""Nodes of the pooling head; see ``models.pooling``."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import softmax

from mldg_jax.models.onnx_graph.graph_builder import GraphBuilder
from mldg_jax.models.onnx_graph.state_nodes import standardised
from mldg_jax.models.onnx_graph.transformer_nodes import dense


def pooling(
    graph: GraphBuilder,
    params: Mapping[str, Any],
    batch_stats: Mapping[str, Any],
    hidden: Sequence[str],
) -> str:
    """Adds the head.

    Args:
      graph: to add to.
      params: ``layer_weights``, ``project`` and ``logits``.
      batch_stats: ``shift`` and ``scale``, (layers, width).
      hidden: (batch, frames, width), one value per layer.

    Returns:
      (batch, 2), column 1 bona fide.
    """
    weights = softmax(np.asarray(params["layer_weights"], np.float64))[:, None]
    factors = weights * np.asarray(batch_stats["scale"], np.float64)
    terms = standardised(graph, {**batch_stats, "scale": factors}, hidden)
    x = graph.op("Sum", *terms)
    x = dense(graph, x, params["project"], "project")
    x = graph.op("Gelu", x, approximate="tanh")
    mean = graph.op("ReduceMean", x, [1], keepdims=1)
    centred = graph.op("Sub", x, mean)
    variance = graph.op(
        "ReduceMean", graph.op("Mul", centred, centred), [1], keepdims=0
    )
    deviation = graph.op("Sqrt", graph.op("Add", variance, 1e-5))
    mean = graph.op("Squeeze", mean, [1])
    x = graph.op("Concat", mean, deviation, axis=-1)
    return dense(graph, x, params["logits"], "logits")
