"""What an export says about itself; tests/parity loads it with torch."""

import json

import jax
import numpy as np
import pytest
from safetensors import safe_open

from mldg_jax.common import run_folder
from mldg_jax.exporting.front_end import export_run
from mldg_jax.models import split
from mldg_jax.models.detector import create_detector
from mldg_jax.training.config_files import read_config_file


def keys(path):
    with safe_open(path, framework="numpy") as file:
        return set(file.keys())


def test_adapters_are_named_for_the_model_that_is_loaded(smoke_run, tmp_path):
    """peft passes over names that it does not find: they must be AutoModel's."""
    code = export_run(smoke_run, tmp_path, "peft")
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "openai/whisper-tiny.en"
    assert all(x.startswith("encoder.layers.") for x in config["target_modules"])
    names = keys(tmp_path / "adapter_model.safetensors")
    assert all(x.startswith("base_model.model.encoder.layers.") for x in names)
    assert "WhisperModel.from_pretrained('openai/whisper-tiny.en')" in code
    assert "encoder = model.encoder" in code
    readme = (tmp_path / "README.md").read_text()
    assert "from_pretrained(model, '.')" in readme and str(tmp_path) not in readme


def test_a_merged_encoder_says_its_class(smoke_run, tmp_path):
    code = export_run(smoke_run, tmp_path, "merged")
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architectures"] == ["WhisperEncoder"]
    readme = (tmp_path / "README.md").read_text()
    assert f"WhisperEncoder.from_pretrained({str(tmp_path)!r})" in code
    assert "WhisperEncoder.from_pretrained('.')" in readme
    assert "`AutoModel` makes a whole `WhisperModel`" in readme
    seconds = run_folder.read_config(smoke_run).crop_samples / 16_000
    assert f"{seconds:.2f} s of log-mel spectrogram" in readme


@pytest.mark.parametrize("form", ["peft", "merged"])
def test_wav2vec2_says_whether_it_standardises(tmp_path, form):
    config = read_config_file("tests/tiny.py:mldg")
    shapes = split.parameter_shapes(
        create_detector(config.model), config.model, config.crop_samples
    )
    zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), tuple(shapes))
    run_folder.write_config(tmp_path, config)
    run_folder.write_trainable(tmp_path, *zeros)
    code = export_run(tmp_path, tmp_path / "out", form)
    assert "Wav2Vec2Model.from_pretrained" in code
    assert "16 kHz, not standardised" in (tmp_path / "out" / "README.md").read_text()
