"""Collects the nodes and weights of an ONNX graph.

Only ``GraphBuilder.model`` needs the package ``onnx``.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

# Opset 20 is the first with Gelu; IR 9 is what came with it. onnxruntime reads both
# since 1.17, and onnxruntime-web since 1.18.
OPSET, IR_VERSION = 20, 9
WAVEFORM, SCORE, LOGITS = "waveform", "score", "logits"  # input and outputs
LARGEST_HALF = float(np.finfo(np.float16).max)

Storage = Literal["float32", "exact", "half"]


class GraphBuilder:
    """An ONNX graph in the making; values are referred to by name.

    Attributes:
      constants: arrays by name, which are stored as they are: filters, indices, shapes.
      weights: parameters by name, float32, which may be stored as float16.
      nodes: keyword arguments of ``onnx.helper.make_node``, in order.
    """

    def __init__(self) -> None:
        self.constants: dict[str, np.ndarray] = {}
        self.weights: dict[str, np.ndarray] = {}
        self.nodes: list[dict[str, Any]] = []
        self._scopes: list[str] = []

    @contextlib.contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Prefixes the names of the nodes and weights that are added inside.

        Args:
          name: appended to the present prefix, after a slash.
        """
        self._scopes.append(name)
        try:
            yield
        finally:
            self._scopes.pop()

    def _named(self, name: str) -> str:
        return "/".join([*self._scopes, name])

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        """Adds an array that is stored as it is; an equal one is shared.

        Args:
          value: array or nested sequence of numbers.
          dtype: of the array.

        Returns:
          Its name.
        """
        array = np.asarray(value, dtype)
        if array.size <= 64:
            numbers = ",".join(f"{x:g}" for x in array.ravel())
            shape = "x".join(map(str, array.shape))
            name = f"constant/{array.dtype}[{shape}]({numbers})"
            if not np.array_equal(self.constants.setdefault(name, array), array):
                name = f"{name}#{len(self.constants)}"  # equal only as printed
        else:
            name = self._named(f"constant_{len(self.constants)}")
        self.constants[name] = array
        return name

    def weight(self, name: str, value: Any) -> str:
        """Adds a parameter.

        Args:
          name: unique within the scope.
          value: array, converted to float32.

        Returns:
          Its name, with the scope's prefix.
        """
        name = self._named(name)
        if name in self.weights:
            raise ValueError(f"two weights are named {name}")
        self.weights[name] = np.ascontiguousarray(value, np.float32)
        return name

    def op(self, kind: str, *inputs: Any, outputs: int = 1, **attributes: Any) -> Any:
        """Adds a node.

        Args:
          kind: ONNX operator.
          *inputs: names of values; numbers and lists become constants, int64 if they
            consist of integers, else float32.
          outputs: number of outputs.
          **attributes: of the operator.

        Returns:
          The name of the output; a list of names if there are several.
        """
        name = self._named(f"{kind}_{len(self.nodes)}")
        names = [name] if outputs == 1 else [f"{name}:{i}" for i in range(outputs)]
        self.nodes.append(
            {
                "op_type": kind,
                "inputs": [
                    x if isinstance(x, str) else self._number(x) for x in inputs
                ],
                "outputs": names,
                "name": name,
                **attributes,
            }
        )
        return names[0] if outputs == 1 else names

    def _number(self, value: Any) -> str:
        array = np.asarray(value)
        is_integer = np.issubdtype(array.dtype, np.integer)
        return self.constant(array, np.int64 if is_integer else np.float32)

    def rename(self, name: str, new: str) -> None:
        """Gives a value a name of its own, as outputs have.

        Args:
          name: of the value.
          new: its new name, without the scope's prefix.
        """
        for node in self.nodes:
            for key in ("inputs", "outputs"):
                node[key] = [new if x == name else x for x in node[key]]

    def matrices(self, prefix: str) -> list[str]:
        """Lists the matrix products with a weight.

        Args:
          prefix: of the nodes' names.

        Returns:
          Names of the nodes.
        """
        return [
            node["name"]
            for node in self.nodes
            if node["op_type"] == "MatMul"
            and node["name"].startswith(prefix)
            and node["inputs"][1] in self.weights
        ]

    def model(
        self,
        samples: int,
        outputs: Mapping[str, Sequence[Any]],
        metadata: Mapping[str, str],
        storage: Mapping[str, Storage] | Storage = "exact",
    ) -> Any:
        """Builds the model.

        Args:
          samples: length of the input's windows.
          outputs: shape of each output; the batch is a string.
          metadata: ``metadata_props``.
          storage: how weights of two dimensions and more are stored, for all or by
            name ("float32" for one that is not named). "float32"; "exact": as float16
            where this loses nothing; "half": as float16. A node casts them to float32,
            once, when the model is loaded.

        Returns:
          An ``onnx.ModelProto``; of a large model, protobuf cannot serialise it without
          external data.
        """
        from onnx import TensorProto, helper

        casts, tensors = [], []
        for name, array in self.weights.items():
            chosen = storage if isinstance(storage, str) else storage.get(name)
            half = _as_half(array, chosen or "float32")
            if half is None:
                tensors.append(_tensor(name, array))
                continue
            tensors.append(_tensor(f"{name}.float16", half))
            casts.append(
                helper.make_node(
                    "Cast", [f"{name}.float16"], [name], f"{name}.cast", to=1
                )
            )
        tensors += [_tensor(name, array) for name, array in self.constants.items()]
        graph = helper.make_graph(
            [*casts, *(helper.make_node(**node) for node in self.nodes)],
            "detector",
            [
                helper.make_tensor_value_info(
                    WAVEFORM, TensorProto.FLOAT, ["batch", samples]
                )
            ],
            [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))
                for name, shape in outputs.items()
            ],
            tensors,
        )
        model = helper.make_model(
            graph,
            producer_name="mldg_jax",
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET)],
        )
        helper.set_model_props(model, dict(metadata))
        return model


def _as_half(array: np.ndarray, storage: Storage) -> np.ndarray | None:
    """Returns a weight as float16; None if it is to be stored as float32."""
    if storage == "float32" or array.ndim < 2 or np.abs(array).max() > LARGEST_HALF:
        return None
    half = array.astype(np.float16)
    return half if storage == "half" or np.array_equal(half, array) else None


def _tensor(name: str, array: np.ndarray) -> Any:
    from onnx import numpy_helper

    return numpy_helper.from_array(np.asarray(array, order="C"), name)
