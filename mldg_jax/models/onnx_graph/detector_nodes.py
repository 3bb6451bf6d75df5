"""The graph of a whole detector: waveform → logits and score."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import numpy as np

from mldg_jax.common.errors import UserError
from mldg_jax.models.aasist import AASIST, AASISTHead
from mldg_jax.models.detector import Detector, locates
from mldg_jax.models.linear import LinearHead
from mldg_jax.models.mhfa import MHFAHead
from mldg_jax.models.onnx_graph.aasist_nodes import aasist, aasist_head
from mldg_jax.models.onnx_graph.graph_builder import (
    LOGITS,
    SCORE,
    WAVEFORM,
    GraphBuilder,
)
from mldg_jax.models.onnx_graph.linear_nodes import linear
from mldg_jax.models.onnx_graph.mhfa_nodes import mhfa
from mldg_jax.models.onnx_graph.pooling_nodes import pooling
from mldg_jax.models.onnx_graph.sls_nodes import sls
from mldg_jax.models.onnx_graph.wav2vec2_nodes import wav2vec2
from mldg_jax.models.onnx_graph.whisper_nodes import whisper
from mldg_jax.models.pooling import PoolingHead
from mldg_jax.models.sls import SLSHead
from mldg_jax.models.wav2vec2 import Wav2Vec2
from mldg_jax.models.whisper import WhisperEncoder

SCALE, OFFSET = "calibration/scale", "calibration/offset"  # constants
# Heads that take hidden states: (graph, params, batch_stats, states) → logits.
STATE_HEADS = {PoolingHead: pooling, LinearHead: linear, MHFAHead: mhfa, SLSHead: sls}
OUTPUTS = {SCORE: ["batch"], LOGITS: ["batch", 2]}


def detector_graph(
    module: nn.Module,
    variables: Mapping[str, Any],
    samples: int,
    *,
    scale: float = 1.0,
    offset: float = 0.0,
) -> GraphBuilder:
    """Writes the graph of a detector.

    Args:
      module: a ``Detector``, or ``AASIST`` on raw waveforms.
      variables: its parameters, adapters merged, and statistics.
      samples: length of the windows.
      scale, offset: of the calibration: score = scale · (difference of the logits) +
        offset.

    Returns:
      The graph, with input ``waveform`` (batch, samples) and the outputs ``OUTPUTS``.

    Raises:
      UserError: the front-end has no writer.
      ValueError: another part of the model has none, or adapters are not merged.
    """
    graph = GraphBuilder()
    params, stats = variables["params"], variables.get("batch_stats", {})
    if isinstance(module, AASIST):
        logits = aasist(graph, module, params, stats, WAVEFORM, samples)
    elif isinstance(module, Detector):
        logits = _detector(graph, module, params, stats, samples)
    else:
        raise ValueError(f"no graph for a {type(module).__name__}")
    difference = graph.op("MatMul", logits, graph.constant([-1.0, 1.0]))
    for name, value in ((SCALE, scale), (OFFSET, offset)):
        graph.constants[name] = np.asarray(value, np.float32)
    score = graph.op("Add", graph.op("Mul", difference, SCALE), OFFSET)
    graph.rename(logits, LOGITS)
    graph.rename(score, SCORE)
    return graph


def _detector(
    graph: GraphBuilder, module: Detector, params: Any, stats: Any, samples: int
) -> str:
    if locates(module):
        raise UserError(
            "the head frame cannot be exported to ONNX, and so not to a web page; mldg "
            "score --segments scores frames"
        )
    encoder, given = module.frontend, (params["frontend"], WAVEFORM, samples)
    with graph.scope("frontend"):
        if isinstance(encoder, WhisperEncoder):
            output, hidden, frames = whisper(graph, encoder, *given)
        elif isinstance(encoder, Wav2Vec2):
            output, hidden, frames = wav2vec2(graph, encoder, *given)
        else:
            raise UserError(
                f"the front-end {type(encoder).__name__} cannot be exported to ONNX; "
                "whisper, wav2vec2, hubert, wavlm and unispeech_sat can. Use --format "
                "merged, or score with mldg_jax"
            )
    head_stats = stats.get("head", {})
    with graph.scope("head"):
        if (writer := STATE_HEADS.get(type(module.head))) is not None:
            return writer(graph, params["head"], head_stats, module.chosen(hidden))
        if isinstance(module.head, AASISTHead):
            return aasist_head(
                graph, module.head, params["head"], head_stats, output, frames
            )
    raise ValueError(f"no graph for a {type(module.head).__name__}")
