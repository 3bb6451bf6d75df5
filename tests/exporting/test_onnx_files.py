"""What a full disk leaves behind."""

import onnx
import pytest

from mldg_jax.common.errors import UserError
from mldg_jax.exporting import onnx_detector, onnx_files

FULL = "cannot write to .*: No space left on device.*free some space"


@pytest.fixture
def cut_short(monkeypatch):
    """Shape inference leaves half of its file, as ONNX does where the disk is full."""
    original = onnx.shape_inference.infer_shapes_path

    def infer(model, output, *rest, **options):
        original(model, output, *rest, **options)
        with open(output, "r+b") as file:
            file.truncate(file.seek(0, 2) // 2)

    monkeypatch.setattr(onnx.shape_inference, "infer_shapes_path", infer)


def test_a_full_disk_during_quantisation_is_named(smoke_run, tmp_path, cut_short):
    with pytest.raises(UserError, match=FULL):
        onnx_detector.write(smoke_run, tmp_path / "out.onnx", quantise="int8")
    assert not list(tmp_path.iterdir())


def test_a_model_cut_short_is_named_by_onnxruntime_and_edit(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x08\x09\x3a\xff\xff\x03")
    for read in (onnx_files.OnnxSession, onnx_files.edit):
        with pytest.raises(OSError, match="No space left"):
            read(path)
