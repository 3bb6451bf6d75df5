"""Names, shared constants and the storage of weights."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from mldg_jax.models.onnx_graph.graph_builder import GraphBuilder


def matrices():
    exact = np.arange(12.0, dtype=np.float32).reshape(3, 4) / 8
    return {"exact": exact, "inexact": exact + 1e-4, "huge": exact * 1e6}


def graph():
    graph = GraphBuilder()
    x = "waveform"
    for name, matrix in matrices().items():
        with graph.scope("part"):
            weight = graph.weight(name, matrix)
            x = graph.op("Add", x, graph.op("ReduceSum", weight, [0, 1], keepdims=0))
    graph.rename(x, "score")
    return graph


@pytest.mark.parametrize(
    ("storage", "halves"),
    [
        ("float32", set()),
        ("exact", {"exact"}),
        ("half", {"exact", "inexact"}),  # float16 ends at 65504
        ({"part/inexact": "half"}, {"inexact"}),
    ],
)
def test_weights_are_stored_as_asked(storage, halves):
    model = graph().model(4, {"score": ["batch", 4]}, {"a": "b"}, storage)
    onnx.checker.check_model(model, full_check=True)
    stored = {x.name: numpy_helper.to_array(x) for x in model.graph.initializer}
    for name, matrix in matrices().items():
        if name in halves:
            array = stored[f"part/{name}.float16"]
            assert array.dtype == np.float16 and f"part/{name}" not in stored
            np.testing.assert_allclose(array, matrix, rtol=1e-3)
        else:
            np.testing.assert_array_equal(stored[f"part/{name}"], matrix)
    assert [(x.key, x.value) for x in model.metadata_props] == [("a", "b")]


def test_equal_constants_are_shared_and_others_are_not():
    graph = GraphBuilder()
    assert graph.constant([1, 2], np.int64) == graph.constant([1, 2], np.int64)
    names = {
        graph.constant(x, dtype)
        for x, dtype in [
            ([1.0], np.float32),
            ([1], np.int64),
            (1.0, np.float32),
            (1.0 + 2**-23, np.float32),  # equal as printed with six digits
            (np.zeros(100), np.float32),
            (np.ones(100), np.float32),
        ]
    }
    assert len(names) == len(graph.constants) - 1 == 6
    assert float(graph.constants[graph.constant(1.0 + 2**-23)]) > 1


def test_a_name_is_used_once():
    graph = GraphBuilder()
    graph.weight("kernel", np.ones(3))
    with pytest.raises(ValueError, match="two weights are named kernel"):
        graph.weight("kernel", np.ones(3))
    with graph.scope("other"):
        assert graph.weight("kernel", np.ones(3)) == "other/kernel"


def test_matrices_are_products_with_weights():
    graph = GraphBuilder()
    with graph.scope("a"):
        product = graph.op("MatMul", "x", graph.weight("w", np.ones((2, 2))))
        graph.op("MatMul", product, product)
        graph.op("MatMul", product, graph.constant(np.ones((2, 2))))
    with graph.scope("b"):
        graph.op("MatMul", "x", graph.weight("w", np.ones((2, 2))))
    assert graph.matrices("a/") == [product]
