"""Nodes of the linear head; see ``models.linear``."""

from collections.abc import Mapping, Sequence
from typing import Any

from mldg_jax.models.onnx_graph.graph_builder import GraphBuilder
from mldg_jax.models.onnx_graph.state_nodes import mean_over_frames, standardised
from mldg_jax.models.onnx_graph.transformer_nodes import dense


def linear(
    graph: GraphBuilder,
    params: Mapping[str, Any],
    batch_stats: Mapping[str, Any],
    hidden: Sequence[str],
) -> str:
    """Adds the head.

    Args:
      graph: to add to.
      params: ``logits``.
      batch_stats: ``shift`` and ``scale``, (layers, width).
      hidden: (batch, frames, width), one value per layer.

    Returns:
      (batch, 2), column 1 bona fide.
    """
    layers = standardised(graph, batch_stats, hidden)
    means = [mean_over_frames(graph, x) for x in layers]
    x = graph.op("Concat", *means, axis=-1)
    return dense(graph, x, params["logits"], "logits")
