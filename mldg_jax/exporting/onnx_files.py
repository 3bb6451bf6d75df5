"""ONNX files and what runs them: ``onnx`` and ``onnxruntime``, an optional extra."""

import contextlib
import errno
import importlib.util
import itertools
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mldg_jax.common.errors import UserError
from mldg_jax.models.onnx_graph.graph_builder import LOGITS, SCORE, WAVEFORM

# protobuf cannot serialise more than 2 GiB; the rest is for what is not weights.
LARGEST = 2**31 - 2**24
DATA = ".data"  # appended to the name of a model's file with external data
BATCH = 16  # windows per call


class OnnxExport(NamedTuple):
    """What was written, and how it compares with the detector.

    Attributes:
      files: the model's file, then the one with its weights, if there is one.
      num_bytes: of all files.
      difference: largest difference of a score from JAX, before quantisation.
      num_windows: number of windows that were compared.
      source: where they are from.
      change: mean and largest change of a score by the quantisation; None without.
      metadata: the model's ``metadata_props``.
    """

    files: tuple[Path, ...]
    num_bytes: int
    difference: float
    num_windows: int
    source: str
    change: tuple[float, float] | None
    metadata: dict[str, str]


def require() -> None:
    """Checks that the packages are installed.

    Raises:
      UserError: one is missing.
    """
    for name in ("onnx", "onnxruntime"):
        if importlib.util.find_spec(name) is None:
            raise UserError(
                f"an export to ONNX needs the package {name}, which is not installed: "
                "pip install 'mldg_jax[onnx]'"
            )


@contextlib.contextmanager
def reading_back(folder: Path) -> Iterator[None]:
    """Reports a full disk where native code only leaves a file cut short behind.

    ONNX's shape inference writes files without looking at the result; the next reader,
    protobuf or onnxruntime, then fails to decode them.

    Args:
      folder: the folder of the files.

    Yields:
      Nothing; read inside the ``with`` block what was just written.

    Raises:
      OSError: a file cannot be decoded; ``common.files.writing`` words it for users.
    """
    from google.protobuf.message import DecodeError
    from onnxruntime.capi.onnxruntime_pybind11_state import InvalidProtobuf

    try:
        yield
    except (DecodeError, InvalidProtobuf) as error:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error


def save(model: Any, path: Path, limit: int = LARGEST) -> list[Path]:
    """Writes a model, with its weights in a file of their own if it is large.

    Args:
      model: an ``onnx.ModelProto``; its weights may be moved to the file.
      path: the file to write.
      limit: most bytes of weights in the model's own file.

    Returns:
      The files written: ``path``, perhaps ``path`` with ``.data`` appended.
    """
    import onnx

    num_bytes = sum(len(x.raw_data) for x in model.graph.initializer)
    location = path.name + DATA
    if num_bytes <= limit:
        onnx.save_model(model, path)
        return [path]
    onnx.save_model(
        model,
        path,
        save_as_external_data=True,
        all_tensors_to_one_file=True,
        location=location,
    )
    return [path, path.with_name(location)]


def edit(
    path: Path,
    metadata: Mapping[str, str] | None = None,
    constants: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Changes a model's file; weights in a file of their own are not touched.

    Args:
      path: the file.
      metadata: replaces the ``metadata_props``; None leaves them.
      constants: new values of constants, by name.
    """
    import onnx

    with reading_back(path.parent):
        model = onnx.load(path, load_external_data=False)
    if metadata is not None:
        onnx.helper.set_model_props(model, dict(metadata))
    constants = constants or {}
    for tensor in model.graph.initializer:
        if tensor.name in constants:
            new = onnx.numpy_helper.from_array(constants[tensor.name], tensor.name)
            tensor.CopyFrom(new)
    onnx.save_model(model, path)


def quantise(
    path: Path, output: Path, nodes: Sequence[str], limit: int = LARGEST
) -> list[Path]:
    """Quantises matrix products to int8: weights by column, inputs when they come.

    Args:
      path: model to read.
      output: model to write.
      nodes: names of the products.
      limit: as for ``save``.

    Returns:
      The files written, as ``save``.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it advises everyone to run a preprocessor first
    try:
        with reading_back(output.parent):
            quantize_dynamic(
                path,
                output,
                op_types_to_quantize=["MatMul"],
                nodes_to_quantize=list(nodes),
                per_channel=True,
                weight_type=QuantType.QInt8,
                use_external_data_format=True,
            )
            model = onnx.load(output)
    finally:
        root.setLevel(level)
    for extra in output.parent.glob(f"{output.name}*"):
        extra.unlink()
    return save(model, output, limit)


class OnnxSession:
    """A model in onnxruntime, on the CPU.

    Args:
      path: file of the model.
    """

    def __init__(self, path: str | Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        # Threads that spin while they wait slow each other down on busy cores.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        with reading_back(Path(path).parent):
            self._session = onnxruntime.InferenceSession(
                path, options, providers=["CPUExecutionProvider"]
            )

    def metadata(self) -> dict[str, str]:
        """Returns the model's ``metadata_props``."""
        return dict(self._session.get_modelmeta().custom_metadata_map)

    def outputs(self, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Computes both outputs of one batch.

        Args:
          windows: (batch, samples) float32.

        Returns:
          Scores (batch,) and logits (batch, 2), float32.
        """
        return tuple(self._session.run([SCORE, LOGITS], {WAVEFORM: windows}))

    def scores(self, windows: np.ndarray, batch: int = BATCH) -> np.ndarray:
        """Scores windows, the first alone and the others in batches.

        Args:
          windows: (n, samples) float32, n ≥ 1.
          batch: number of windows of a batch.

        Returns:
          (n,) float64.
        """
        starts = [0, *range(1, len(windows), batch), len(windows)]
        parts = [self.outputs(windows[a:b])[0] for a, b in itertools.pairwise(starts)]
        return np.concatenate(parts).astype(np.float64)
