"""Detectors from a hub folder, on this machine and in a cache of the hub."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from safetensors.numpy import load_file, save_file

import mldg_jax
from mldg_jax import cli
from mldg_jax.common.errors import UserError
from mldg_jax.exporting import hub_detector
from mldg_jax.scoring import hub_scorer, scorer
from tests import random_runs
from tests.signals import speech_like


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Returns a run and its export."""
    folder = tmp_path_factory.mktemp("hub")
    run = random_runs.write(folder / "run", "xls-r", "aasist", calibrated=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hub_detector, "_has_onnx", lambda: False)
        hub_detector.export_run(run, folder / "out", "hub")
    return run, folder / "out"


@pytest.fixture
def own(pair, tmp_path):
    """Returns a copy of the export that a test may change."""
    return shutil.copytree(pair[1], tmp_path / "own")


def test_scores_are_those_of_the_run(pair):
    run, out = pair
    ours, theirs = scorer.load(run), mldg_jax.load(out)
    assert theirs.calibration == ours.calibration and theirs.samples == ours.samples
    for waveform in speech_like(20_000):
        assert theirs.score(waveform, 16_000) == ours.score(waveform, 16_000)
        assert theirs.score(waveform, 8_000) == ours.score(waveform, 8_000)
    assert mldg_jax.load(str(run)).config == ours.config


@pytest.mark.parity  # needs huggingface_hub
def test_from_a_cache_of_the_hub_without_network(pair, tmp_path):
    """In a new process: huggingface_hub reads the environment when it is imported."""
    run, out = pair
    cached = tmp_path / "hub" / "models--org--name"
    shutil.copytree(out, cached / "snapshots" / "abc")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("abc")
    waveform = speech_like(9_000)[0]
    soundfile.write(tmp_path / "a.wav", waveform, 16_000, subtype="FLOAT")
    program = (
        "from mldg_jax import cli\n"
        "assert cli.main(['score', 'hub:org/name', 'a.wav']) == 0\n"
        "assert cli.main(['score', 'hub:org/other', 'a.wav']) == 2\n"
    )
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment,
        capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    expected = scorer.load(run).score(waveform, 16_000)
    assert float(result.stdout.split()[1]) == pytest.approx(expected, abs=2e-6)
    assert "org/other is not on this machine" in result.stderr


def test_the_code_in_the_folder_is_never_executed(own, tmp_path):
    for name in hub_detector.MODULES:
        (own / name).write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\n")
    mldg_jax.load(own).score(speech_like(9_000)[0], 16_000)
    assert not (tmp_path / "executed").exists()
    assert not any(name in sys.modules for name in ("modeling_mldg", "heads_mldg"))


def test_resuming_notices_other_weights(own, tmp_path):
    """The heading of a score file in progress depends on the weights."""
    from mldg_jax.scoring.score_output import heading_of

    before = heading_of(own, 0.0)
    retrain(own)
    assert heading_of(own, 0.0) != before


def retrain(folder, metadata=None):
    """Changes a weight, as training in torch would."""
    path = folder / "model.safetensors"
    state = load_file(path)
    state["head.out_layer.bias"] = state["head.out_layer.bias"] + np.float32([0, 1])
    save_file(state, path, metadata={"format": "pt", **(metadata or {})})


def test_weights_trained_further_in_torch_load(pair, own):
    retrain(own)
    waveform = speech_like(9_000)[0]
    before = mldg_jax.load(pair[1]).score(waveform, 16_000)
    after = mldg_jax.load(own).score(waveform, 16_000)
    assert after - before == pytest.approx(0.7, abs=1e-5)  # the calibration's scale


def test_damage_is_noticed(own):
    retrain(own, {"sha256": "0" * 64})
    with pytest.raises(UserError, match="is damaged: its content has changed"):
        mldg_jax.load(own)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("mldg"), "it has no entry 'mldg'"),
        (lambda c: c["mldg"].update(steps="many"), "steps"),
        (lambda c: c["calibration"].update(scale=-1), "with a scale above 0"),
        (lambda c: c.update(frontend=None), "frontend is None"),
        (lambda c: c["frontend"].update(num_attention_heads=2), "heads=2"),
        (lambda c: c["mldg"]["model"]["head"].update(dim=30), "expected"),
    ],
)
def test_a_folder_that_was_edited(own, change, message):
    path = own / "config.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=message):
        mldg_jax.load(own)


@pytest.mark.parametrize("name", ["hub:", "hub:name", "hub:../up", "hub:a/b/c"])
def test_a_name_that_is_none(name):
    with pytest.raises(UserError, match="is not a name on the Hugging Face hub"):
        mldg_jax.load(name)


def test_a_model_of_someone_else(own, monkeypatch):
    path = own / "config.json"
    path.write_text('{"model_type": "whisper"}')
    monkeypatch.setattr(
        hub_scorer.hub, "fetch", lambda name, files: own / "model.safetensors"
    )
    with pytest.raises(UserError, match="was not written by `mldg export"):
        mldg_jax.load("hub:org/name")


def test_other_commands_need_the_run(pair, capsys):
    assert cli.main(["analyse", str(pair[1])]) == 2
    assert "is an export for a hub" in capsys.readouterr().err
