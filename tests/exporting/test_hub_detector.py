"""The folder for a model hub, without torch; tests/parity loads it with torch."""

import json
import re
import shutil

import numpy as np
import pytest
import yaml
from safetensors import safe_open

from mldg_jax import cli
from mldg_jax.common.errors import UserError
from mldg_jax.exporting import hub_card, hub_detector
from mldg_jax.exporting.formats import export_run
from mldg_jax.models.detector import create_detector
from mldg_jax.models.pretrained import torch_state
from mldg_jax.scoring import model_card, scorer
from tests import random_runs


@pytest.fixture(autouse=True)
def without_onnx(monkeypatch):
    """The ONNX model has tests of its own, and takes seconds."""
    monkeypatch.setattr(hub_detector, "_has_onnx", lambda: False)


@pytest.fixture
def run(tmp_path):
    return random_runs.write(tmp_path / "run", "whisper", "pooling", calibrated=True)


def read(folder):
    """Returns config.json, and heading and text of the README."""
    config = json.loads((folder / "config.json").read_text())
    _, heading, text = (folder / "README.md").read_text().split("---\n", 2)
    return config, yaml.safe_load(heading), text


def test_the_folder_says_what_it_is(run, tmp_path):
    code = export_run(run, tmp_path / "out", "hub")
    config, heading, text = read(tmp_path / "out")
    assert config["id2label"] == {"0": "spoof", "1": "bonafide"}
    assert config["auto_map"]["AutoModelForAudioClassification"].startswith("modeling_")
    assert config["calibration"]["scale"] == 0.7 and config["window"] == 6_400
    assert heading["pipeline_tag"] == "audio-classification"
    assert {"custom_code", "anti-spoofing"} <= set(heading["tags"])
    assert "base_model" not in heading  # random weights are on no hub
    assert (
        "**0 is `spoof`, 1 is `bonafide`.**" in text
        and "calibration is applied" in text
    )
    assert "has no ONNX model" in text and "`adapters/`" in text
    assert "metrics.jsonl" not in text and str(tmp_path) not in text
    assert f"name = {str(tmp_path / 'out')!r}" in code and "hf upload ORG/NAME" in code
    (block,) = re.findall(r"```python\n(import soundfile.*?)```", text, re.S)
    assert len(block.splitlines()) <= 20


def test_the_card_has_the_evaluation_with_its_intervals(own_smoke_run, tmp_path):
    entry = {
        "name": "eval",
        "n_bonafide": 50,
        "n_spoof": 60,
        "metrics": {"eer": 0.1234, "min_dcf": 0.3, "act_dcf": 0.4, "cllr": 0.5},
        "intervals": {"eer": [0.1, 0.15]},
        "by_attack": {"A77": 0.2},
        "resampled": "speakers",
        "trained_on": [],
    }
    (own_smoke_run / model_card.EVALUATIONS).write_text(json.dumps([entry]))
    export_run(own_smoke_run, tmp_path / "out", "hub")
    _, heading, text = read(tmp_path / "out")
    assert "12.34 [10.00, 15.00]" in text and "EER by attack, %, eval: A77 20.0" in text
    assert heading["model-index"][0]["results"][0]["metrics"][0]["value"] == 0.1234
    assert heading["base_model"] == "openai/whisper-tiny.en"
    assert heading["license"] == "other" and heading["license_name"]
    assert "openai/whisper-tiny.en" in text.split("## Adapters")[1]


def test_paths_of_this_machine_stay_here(run, tmp_path):
    config = json.loads((run / "config.json").read_text())
    assert hub_detector.base_name("facebook/wav2vec2-xls-r-300m")
    assert hub_detector.base_name(str(tmp_path)) is None
    config["provenance"] = {
        "command": "mldg train --workdir /home/me/secret",
        "versions": {"jax": "1"},
        "revision": "",
    }
    (run / "config.json").write_text(json.dumps(config))
    export_run(run, tmp_path / "out", "hub")
    for path in (tmp_path / "out").rglob("*"):
        assert path.is_dir() or b"/home/me" not in path.read_bytes()


def test_another_export_replaces_it_and_a_foreign_folder_is_kept(run, tmp_path):
    out = tmp_path / "out"
    export_run(run, out, "hub")
    assert (out / "adapters" / "adapter_config.json").exists()
    full = random_runs.write(tmp_path / "full", "whisper", "pooling", rank=0)
    export_run(full, out, "hub")
    assert not (out / "adapters").exists()  # the old ones are not this run's
    assert read(out)[0]["calibration"] is None
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "README.md").write_text("---\nlicense: mit\n---\n")
    (foreign / "model.safetensors").write_text("precious")
    with pytest.raises(UserError, match="no export with --format hub wrote"):
        export_run(run, foreign, "hub")
    assert (foreign / "model.safetensors").read_text() == "precious"
    assert hub_card.MARK in (out / "README.md").read_text()


def test_it_is_not_complete_until_the_end(run, tmp_path, monkeypatch):
    out = tmp_path / "out"
    export_run(run, out, "hub")

    def fail(*arguments):
        raise UserError("the disk is full")

    monkeypatch.setattr(hub_detector, "_write_weights", fail)
    with pytest.raises(UserError, match="full"):
        export_run(run, out, "hub")
    assert not (out / "config.json").exists()


@pytest.mark.parametrize(
    ("frontend", "head"),
    [("whisper", "pooling"), ("xls-r", "aasist"), ("base", "pooling")],
)
def test_weights_adapters_and_head_come_back(tmp_path, frontend, head):
    run = random_runs.write(tmp_path / "run", frontend, head)
    out = tmp_path / "out"
    export_run(run, out, "hub")
    parts = scorer.load_parameters(run)
    model = parts.config.model
    trainable, stats, scale = torch_state.read_adapters(
        out / "adapters", model, create_detector(model), random_runs.SAMPLES
    )
    for theirs, ours in ((trainable, parts.trainable), (stats, parts.batch_stats)):
        assert_same(theirs, ours)
    assert scale == 4 / 3
    with safe_open(out / "model.safetensors", "numpy") as file:
        state = {name: file.get_tensor(name) for name in set(file.keys())}
    assert not any("lora" in name for name in state)
    assert_same(
        torch_state.to_variables(
            model, create_detector(model), state, random_runs.SAMPLES
        ),
        parts.scorer().variables,
    )


def assert_same(theirs, ours):
    import jax

    jax.tree.map(np.testing.assert_array_equal, theirs, ours)


def test_command(run, tmp_path, capsys):
    out = str(tmp_path / "out")
    assert cli.main(["export", str(run), out, "--format", "hub"]) == 0
    assert "trust_remote_code=True" in capsys.readouterr().out
    shutil.copytree(out, tmp_path / "copy")
    assert cli.main(["export", out, str(tmp_path / "again"), "--format", "hub"]) == 2
    assert "is an export for a hub" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["hub", "onnx"])
def test_a_front_end_that_a_form_does_not_know(tmp_path, form):
    run = random_runs.write(tmp_path / "run", "w2v-bert", "pooling")
    with pytest.raises(UserError, match="cannot") as info:
        export_run(run, tmp_path / "out", form)
    assert "whisper, wav2vec2, hubert" in str(info.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("frontend", ["w2v-bert", "wavlm"])
def test_the_adapters_of_any_front_end(tmp_path, frontend):
    run = random_runs.write(tmp_path / "run", frontend, "pooling")
    code = export_run(run, tmp_path / "out", "peft")
    assert ("merge_and_unload" in code) == (frontend == "wavlm")
    text = (tmp_path / "out" / "README.md").read_text()
    assert ("have no effect on the attention" in text) == (frontend == "wavlm")
    export_run(run, tmp_path / "merged", "merged")
    config = json.loads((tmp_path / "merged" / "config.json").read_text())
    assert config["num_hidden_layers"] == 2
