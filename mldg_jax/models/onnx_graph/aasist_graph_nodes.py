"""Nodes of AASIST's graph attention; see ``models.aasist_graph``.

Graph nodes are (batch, nodes, dim); their number is known when the graph is written.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mldg_jax.models.onnx_graph.graph_builder import GraphBuilder
from mldg_jax.models.onnx_graph.transformer_nodes import dense

Params = Mapping[str, Any]
GraphNodes = tuple[str, int]  # a value (batch, nodes, dim) and its number of nodes
EPSILON = 1e-5  # of BatchNorm


def batch_norm_factors(params: Params, stats: Params) -> tuple[np.ndarray, np.ndarray]:
    """Returns BatchNorm in evaluation mode as a factor and a shift.

    Args:
      params: ``scale`` and ``bias``, (channels,).
      stats: ``mean`` and ``var``, (channels,).

    Returns:
      ``(factor, shift)``, each (channels,) float64.
    """
    scale, bias = (np.asarray(params[x], np.float64) for x in ("scale", "bias"))
    mean, var = (np.asarray(stats[x], np.float64) for x in ("mean", "var"))
    factor = scale / np.sqrt(var + EPSILON)
    return factor, bias - mean * factor


def readout(
    graph: GraphBuilder,
    params: Params,
    stats: Params,
    spectral: GraphNodes,
    temporal: GraphNodes,
    *,
    ratios: tuple[float, float, float],
    temperatures: tuple[float, float],
) -> str:
    """Adds ``GraphReadout``.

    Args:
      graph: to add to.
      params, stats: its parameters and the statistics of its normalisations.
      spectral, temporal: the two sets of nodes.
      ratios, temperatures: as its attributes.

    Returns:
      (batch, 5 · dims[1]).
    """

    def attend(kind: str, x: str, count: int, ratio: float) -> GraphNodes:
        name = f"{kind}_attention"
        with graph.scope(name):
            x = _attention(
                graph, params[name], stats[name], (x, count), temperatures[0]
            )
        return _pool(graph, params[f"{kind}_pool"], (x, count), ratio, f"{kind}_pool")

    positions = graph.weight("positions", params["positions"])
    shifted = graph.op("Add", spectral[0], positions)
    spectral = attend("spectral", shifted, spectral[1], ratios[0])
    temporal = attend("temporal", *temporal, ratios[1])
    branches = []
    for name in ("branch_1", "branch_2"):
        with graph.scope(name):
            branches.append(
                _branch(
                    graph,
                    params[name],
                    stats[name],
                    temporal,
                    spectral,
                    ratios[2],
                    temperatures[1],
                )
            )
    *groups, master = (graph.op("Max", *pair) for pair in zip(*branches, strict=True))
    parts = []
    for x in groups:
        parts.append(graph.op("ReduceMax", graph.op("Abs", x), [1], keepdims=0))
        parts.append(graph.op("ReduceMean", x, [1], keepdims=0))
    return graph.op("Concat", *parts, graph.op("Squeeze", master, [1]), axis=-1)


def _pairs(graph: GraphBuilder, x: str, count: int) -> str:
    """Multiplies all pairs of nodes: (batch, pairs, dim), each pair once."""
    rows, columns = np.triu_indices(count)
    one, other = (graph.op("Gather", x, index, axis=1) for index in (rows, columns))
    return graph.op("Mul", one, other)


def _matrix(graph: GraphBuilder, values: str, count: int) -> str:
    """Spreads values of ``_pairs``, (batch, pairs), over (batch, nodes, nodes)."""
    index = np.zeros((count, count), np.int64)
    rows, columns = np.triu_indices(count)
    index[rows, columns] = index[columns, rows] = np.arange(len(rows))
    return graph.op("Gather", values, index, axis=1)


def _attention(
    graph: GraphBuilder,
    params: Params,
    stats: Params,
    nodes: GraphNodes,
    temperature: float,
) -> str:
    x, count = nodes
    energy = dense(graph, _pairs(graph, x, count), params["attention"], "attention")
    vector = np.asarray(params["vector"])[:, 0] / temperature
    logits = graph.op(
        "MatMul", graph.op("Tanh", energy), graph.weight("vector", vector)
    )
    return _mixed(graph, params, stats, x, _matrix(graph, logits, count))


def _mixed(
    graph: GraphBuilder, params: Params, stats: Params, x: str, logits: str
) -> str:
    """Adds the weighted sums of the nodes, and what follows them in a layer."""
    weights = graph.op("Softmax", logits, axis=-1)
    y = dense(graph, graph.op("MatMul", weights, x), params["attended"], "attended")
    y = graph.op("Add", y, dense(graph, x, params["direct"], "direct"))
    factor, shift = batch_norm_factors(params["norm"], stats["norm"])
    with graph.scope("norm"):
        y = graph.op("Mul", y, graph.weight("factor", factor))
        y = graph.op("Add", y, graph.weight("shift", shift))
    return graph.op("Selu", y)


def _heterogeneous(
    graph: GraphBuilder,
    params: Params,
    stats: Params,
    temporal: GraphNodes,
    spectral: GraphNodes,
    master: str,
    temperature: float,
) -> tuple[str, str, str]:
    """Adds ``HeterogeneousAttention``: temporal, spectral and master nodes."""
    split, count = temporal[1], temporal[1] + spectral[1]
    parts = [
        dense(graph, nodes[0], params[name], name)
        for name, nodes in (("temporal", temporal), ("spectral", spectral))
    ]
    x = graph.op("Concat", *parts, axis=1)
    energy = dense(graph, _pairs(graph, x, count), params["attention"], "attention")
    names = ("vector_temporal", "vector_spectral", "vector_mixed")
    vectors = np.concatenate([np.asarray(params[n]) for n in names], 1) / temperature
    logits = graph.op(
        "MatMul", graph.op("Tanh", energy), graph.weight("vectors", vectors)
    )
    # The kinds of its two nodes decide which of the three logits a pair has.
    late, later = (index >= split for index in np.triu_indices(count))
    kind = np.where(late == later, late.astype(int), 2)
    chosen = graph.op("Mul", logits, graph.constant(np.eye(3)[kind]))
    chosen = graph.op("ReduceSum", chosen, [2], keepdims=0)
    master = _master(graph, params, x, master, temperature)
    y = _mixed(graph, params, stats, x, _matrix(graph, chosen, count))
    halves = (
        graph.op("Slice", y, [start], [end], [1])
        for start, end in ((0, split), (split, count))
    )
    return (*halves, master)


def _master(
    graph: GraphBuilder, params: Params, x: str, master: str, temperature: float
) -> str:
    """Adds the master node after it attended to x, (batch, 1, dim)."""
    energy = graph.op("Mul", x, master)
    energy = dense(graph, energy, params["master_attention"], "master_attention")
    vector = np.asarray(params["vector_master"]) / temperature
    logits = graph.op(
        "MatMul", graph.op("Tanh", energy), graph.weight("vector_master", vector)
    )
    weights = graph.op("Transpose", graph.op("Softmax", logits, axis=1), perm=[0, 2, 1])
    y = graph.op("MatMul", weights, x)
    y = dense(graph, y, params["master_attended"], "master_attended")
    direct = dense(graph, master, params["master_direct"], "master_direct")
    return graph.op("Add", y, direct)


def _pool(
    graph: GraphBuilder, params: Params, nodes: GraphNodes, ratio: float, name: str
) -> GraphNodes:
    """Adds ``GraphPool``."""
    x, count = nodes
    count = max(int(count * ratio), 1)
    with graph.scope(name):
        score = graph.op("Sigmoid", dense(graph, x, params["score"], "score"))
        _, index = graph.op("TopK", score, [count], axis=1, outputs=2)
        x = graph.op("Mul", x, score)
        return graph.op("GatherND", x, index, batch_dims=1), count


def _branch(
    graph: GraphBuilder,
    params: Params,
    stats: Params,
    temporal: GraphNodes,
    spectral: GraphNodes,
    ratio: float,
    temperature: float,
) -> list[str]:
    """Adds ``Branch``: temporal, spectral and master nodes."""

    def layer(name: str, temporal: GraphNodes, spectral: GraphNodes, master: str):
        with graph.scope(name):
            return _heterogeneous(
                graph,
                params[name],
                stats[name],
                temporal,
                spectral,
                master,
                temperature,
            )

    master = graph.weight("master", params["master"])
    first = layer("layer_1", temporal, spectral, master)
    temporal, spectral = (
        _pool(graph, params[f"{kind}_pool"], nodes, ratio, f"{kind}_pool")
        for kind, nodes in (
            ("temporal", (first[0], temporal[1])),
            ("spectral", (first[1], spectral[1])),
        )
    )
    second = layer("layer_2", temporal, spectral, first[2])
    pairs = zip((temporal[0], spectral[0], first[2]), second, strict=True)
    return [graph.op("Add", *pair) for pair in pairs]
