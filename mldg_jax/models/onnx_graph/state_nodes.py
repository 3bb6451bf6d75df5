"""Nodes that the heads on hidden states share; see ``models.hidden_states``."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mldg_jax.models.onnx_graph.graph_builder import GraphBuilder


def standardised(
    graph: GraphBuilder, batch_stats: Mapping[str, Any], hidden: Sequence[str]
) -> list[str]:
    """Adds the standardisation of every layer.

    Args:
      graph: to add to.
      batch_stats: ``shift`` and ``scale``, (layers, width).
      hidden: (batch, frames, width), one value per layer.

    Returns:
      The same shapes.
    """
    # The shift is subtracted first: channels whose mean is many times their deviation
    # would lose digits if the product were shifted.
    shifts, scales = (np.asarray(batch_stats[name]) for name in ("shift", "scale"))
    return [
        graph.op(
            "Mul",
            graph.op("Sub", x, graph.weight(f"shift_{i}", shift)),
            graph.weight(f"scale_{i}", scale),
        )
        for i, (x, shift, scale) in enumerate(zip(hidden, shifts, scales, strict=True))
    ]


def mean_over_frames(graph: GraphBuilder, x: str) -> str:
    """Adds the mean over time.

    Args:
      graph: to add to.
      x: (batch, frames, width).

    Returns:
      (batch, width).
    """
    return graph.op("ReduceMean", x, [1], keepdims=0)
