"""Runs parts of graphs."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mldg_jax.models.onnx_graph.graph_builder import (
    IR_VERSION,
    OPSET,
    GraphBuilder,
)


def run(
    build: Callable[..., str], inputs: Mapping[str, np.ndarray], graph=None
) -> np.ndarray:
    """Evaluates a value with onnx's reference implementation, which is numpy.

    Args:
      build: ``(graph, *names of the inputs) -> name of the value``.
      inputs: arrays by name.
      graph: to add to; None for a new one.
    """
    import onnx
    from onnx import helper, numpy_helper
    from onnx.reference import ReferenceEvaluator

    graph = graph or GraphBuilder()
    result = build(graph, *inputs)

    def info(name: str, array: Any = None) -> Any:
        shape = None if array is None else array.shape
        return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)

    arrays = graph.weights | graph.constants
    proto = helper.make_graph(
        [helper.make_node(**node) for node in graph.nodes],
        "part",
        [info(name, array) for name, array in inputs.items()],
        [info(result)],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    opset = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(proto, ir_version=IR_VERSION, opset_imports=opset)
    return ReferenceEvaluator(model).run([result], dict(inputs))[0]
