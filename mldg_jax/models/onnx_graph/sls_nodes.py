"""Nodes of sensitive layer selection; see ``models.sls``."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mldg_jax.models.onnx_graph.graph_builder import GraphBuilder
from mldg_jax.models.onnx_graph.state_nodes import mean_over_frames, standardised
from mldg_jax.models.onnx_graph.transformer_nodes import dense
from mldg_jax.models.sls import GROUP


def sls(
    graph: GraphBuilder,
    params: Mapping[str, Any],
    batch_stats: Mapping[str, Any],
    hidden: Sequence[str],
) -> str:
    """Adds the head.

    Args:
      graph: to add to.
      params: ``gate``, ``hidden`` and ``logits``.
      batch_stats: ``shift`` and ``scale``, (layers, width).
      hidden: (batch, frames, width), one value per layer.

    Returns:
      (batch, 2), column 1 bona fide.
    """
    layers = standardised(graph, batch_stats, hidden)
    kernel = graph.weight("gate/kernel", params["gate"]["kernel"])
    bias = graph.weight("gate/bias", params["gate"]["bias"])
    terms = []
    for x in layers:
        gate = graph.op("MatMul", mean_over_frames(graph, x), kernel)
        gate = graph.op("Sigmoid", graph.op("Add", gate, bias))  # (batch, 1)
        terms.append(graph.op("Mul", x, graph.op("Unsqueeze", gate, [2])))
    x = graph.op("ReduceMax", graph.op("Sum", *terms), [1], keepdims=0)
    groups = np.shape(batch_stats["shift"])[1] // GROUP
    x = graph.op("Slice", x, [0], [groups * GROUP], [1])
    x = graph.op("Reshape", x, [0, groups, GROUP])
    x = graph.op("Selu", graph.op("ReduceMax", x, [2], keepdims=0))
    x = graph.op("Selu", dense(graph, x, params["hidden"], "hidden"))
    return dense(graph, x, params["logits"], "logits")
