"""The hub folder in ``transformers`` and ``peft``: the scores of ``mldg score``."""

import copy
import re
import shutil

import numpy as np
import pytest
import soundfile

import mldg_jax
from mldg_jax import lora
from mldg_jax.exporting import hub_detector
from mldg_jax.models import wav2vec2, wavlm, whisper
from mldg_jax.models.detector import create_detector
from mldg_jax.models.pretrained import convert, encoder_tables, key_tables, torch_state
from mldg_jax.scoring import scorer
from tests import random_runs
from tests.signals import speech_like

pytestmark = [
    pytest.mark.parity,
    # peft 0.21 reads it from transformers 5.23
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated"),
    # peft 0.21 looks for the base model's config on the hub
    pytest.mark.filterwarnings("ignore:Could not find a config file"),
]
CASES = [
    ("whisper", "pooling", True),
    ("xls-r", "aasist", False),
    ("base", "pooling", True),
    ("chosen layers", "pooling", True),
    ("chosen layers", "linear", True),
    ("xls-r", "linear", False),
    ("whisper", "mhfa", True),
    ("xls-r", "sls", False),
    ("hubert", "aasist", False),
    ("unispeech-sat", "aasist", False),
    ("wavlm", "pooling", True),
]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """``transformers`` copies the folder's modules to a cache and imports them there.

    The ONNX model has tests of its own.
    """
    from transformers import dynamic_module_utils

    cache = str(tmp_path / "modules")
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", cache)
    monkeypatch.syspath_prepend(cache)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(hub_detector, "_has_onnx", lambda: False)


def export(tmp_path, frontend, head, calibrated=False, rank=3):
    """Returns a run and its export."""
    run = random_runs.write(
        tmp_path / "run", frontend, head, calibrated=calibrated, rank=rank
    )
    hub_detector.export_run(run, tmp_path / "out", "hub")
    return run, tmp_path / "out"


def torch_model(folder):
    """Returns the model of a folder; every weight must be there, and no other."""
    from transformers import AutoModelForAudioClassification

    model, loading = AutoModelForAudioClassification.from_pretrained(
        folder, trust_remote_code=True, output_loading_info=True
    )
    assert not any(loading.values()), loading
    return model.eval()


def torch_scores(model, waveforms, **options):
    """Returns the scores of (batch, samples)."""
    import torch

    with torch.inference_mode():
        logits = model(torch.as_tensor(waveforms), **options).logits
    return (logits[:, 1] - logits[:, 0]).double().numpy()


def our_scores(run, waveforms):
    detector = scorer.load(run)
    return np.array([detector.score(x, 16_000) for x in waveforms])


@pytest.mark.parametrize(("frontend", "head", "calibrated"), CASES)
def test_scores_are_ours(tmp_path, frontend, head, calibrated):
    run, out = export(tmp_path, frontend, head, calibrated)
    model, detector = torch_model(out), scorer.load(run)
    # shorter than a window, one window, one sample more, several
    for samples in (3_500, 6_400, 6_401, 20_000):
        waveforms = speech_like(samples, seed=samples)
        ours = [detector.score(x, 16_000) for x in waveforms]
        theirs = torch_scores(model, waveforms)
        np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-5)
        assert np.ptp(ours) > 1e-3


def test_padding_of_a_batch_changes_nothing(tmp_path):
    import torch

    run, out = export(tmp_path, "whisper", "pooling")
    long, short = speech_like(15_000)[0], speech_like(7_000)[1]
    batch = np.stack([long, np.pad(short, (0, 8_000))])
    mask = torch.tensor([[1] * 15_000, [1] * 7_000 + [0] * 8_000])
    scores = torch_scores(torch_model(out), batch, attention_mask=mask)
    np.testing.assert_allclose(scores, our_scores(run, [long, short]), atol=1e-5)


def test_pipeline_and_the_loss(tmp_path):
    import torch
    from transformers import pipeline

    run, out = export(tmp_path, "base", "aasist", calibrated=True)
    classify = pipeline("audio-classification", str(out), trust_remote_code=True)
    waveforms = [*speech_like(15_000), speech_like(7_000)[1]]
    ours = our_scores(run, waveforms)
    for batch_size in (1, 3):
        for answer, score in zip(
            classify(waveforms, batch_size=batch_size), ours, strict=True
        ):
            chance = {entry["label"]: entry["score"] for entry in answer}
            odds = np.log(chance["bonafide"] / chance["spoof"])
            assert odds == pytest.approx(score, abs=1e-5)
    label = torch.tensor([1, 0])
    output = torch_model(out)(torch.tensor(np.stack(waveforms[:2])), labels=label)
    expected = np.logaddexp(0, [-ours[0], ours[1]]).mean()
    assert float(output.loss.detach()) == pytest.approx(expected, abs=1e-5)


def test_the_example_of_the_readme(tmp_path, monkeypatch, capsys):
    run, out = export(tmp_path, "whisper", "pooling", calibrated=True)
    (code,) = re.findall(
        r"```python\n(import soundfile.*?)```", (out / "README.md").read_text(), re.S
    )
    code = code.replace("ORG/NAME", str(out))
    waveform = speech_like(30_000)[0]
    soundfile.write(out / "recording.wav", waveform, 16_000, subtype="FLOAT")
    monkeypatch.chdir(out)
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    (ours,) = our_scores(run, [waveform])
    assert names["score"] == pytest.approx(ours, abs=1e-5)
    assert f"score {names['score']:.4f}" in capsys.readouterr().out
    # at another rate, the example resamples as mldg score does
    soundfile.write(out / "recording.wav", waveform, 44_100, subtype="FLOAT")
    exec(compile(code, "README.md", "exec"), names)
    ours = scorer.load(run).score(waveform, 44_100)
    assert names["score"] == pytest.approx(ours, abs=1e-2)  # the ends of the filter


@pytest.mark.parametrize(
    ("frontend", "head"),
    [("whisper", "pooling"), ("xls-r", "aasist"), ("wavlm", "pooling")],
)
def test_peft_both_ways(tmp_path, frontend, head):
    """The code of the README: pretrained encoder, then our adapters and head."""
    import peft
    import transformers
    from transformers import AutoConfig, AutoModelForAudioClassification

    run, out = export(tmp_path, frontend, head)
    parts = scorer.load_parameters(run)
    config = AutoConfig.from_pretrained(out, trust_remote_code=True)
    model = AutoModelForAudioClassification.from_config(config, trust_remote_code=True)
    model.load_base(pretrained(transformers, parts, frontend))
    waveforms = speech_like(9_000)
    before = torch_scores(model.eval(), waveforms)
    adapted = peft.PeftModel.from_pretrained(
        model, str(out), subfolder="adapters"
    ).eval()
    ours = our_scores(run, waveforms)
    read, bound = adapted, {"atol": 1e-5}
    if frontend == "wavlm":  # as the README says
        bound["rtol"] = 5e-6  # its scores are near 10
        assert "model = model.merge_and_unload()" in (out / "README.md").read_text()
        read = copy.deepcopy(adapted).merge_and_unload()
    np.testing.assert_allclose(torch_scores(read, waveforms), ours, **bound)
    assert np.abs(before - ours).max() > 1e-2

    # and back, from the files that peft writes after training further
    import torch

    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name or "modules_to_save" in name:
                parameter.add_(0.01)
    adapted.save_pretrained(tmp_path / "again")
    section = parts.config.model
    trainable, stats, scale = torch_state.read_adapters(
        tmp_path / "again", section, create_detector(section), random_runs.SAMPLES
    )
    merged = lora.merge(parts.frontend, trainable["frontend"], scale=scale)
    params = {"head": trainable["head"], "frontend": merged}
    variables = {"params": params, "batch_stats": stats}
    detector = parts.scorer()._replace(variables=variables)
    trained = [detector.score(x, 16_000) for x in waveforms]
    read = adapted.merge_and_unload() if frontend == "wavlm" else adapted
    np.testing.assert_allclose(torch_scores(read, waveforms), trained, **bound)
    assert np.abs(trained - ours).max() > 1e-3


def pretrained(transformers, parts, frontend):
    """Returns the run's pretrained encoder in torch."""
    import torch

    module = parts.detector.frontend
    if frontend == "whisper":
        kind = transformers.models.whisper.modeling_whisper.WhisperEncoder
        encoder = kind(transformers.WhisperConfig(**whisper.to_hf(module)))
        table = key_tables.WHISPER_HF
    elif frontend == "wavlm":
        config = transformers.WavLMConfig(**wavlm.to_hf(module))
        encoder, table = transformers.WavLMModel(config), encoder_tables.WAVLM_HF
    else:
        config = transformers.Wav2Vec2Config(**wav2vec2.to_hf(module))
        encoder = transformers.Wav2Vec2Model(config)
        table = key_tables.WAV2VEC2_HF
    state = convert.to_theirs(table, {"params": parts.frontend})
    encoder.load_state_dict({name: torch.tensor(x) for name, x in state.items()})
    return encoder


def test_a_fine_tuned_front_end_and_weights_that_transformers_saved(tmp_path):
    """After training further in torch, ``mldg_jax.load`` reads what was saved."""
    import torch

    run, out = export(tmp_path, "whisper", "pooling", calibrated=True, rank=0)
    assert not (out / "adapters").exists()
    model = torch_model(out)
    waveforms = speech_like(9_000)
    np.testing.assert_allclose(
        torch_scores(model, waveforms), our_scores(run, waveforms), atol=1e-5
    )
    with torch.no_grad():
        model.head.logits.bias.add_(torch.tensor([0.0, 0.5]))
        model.frontend.conv1.weight.mul_(1.1)
    model.save_pretrained(tmp_path / "saved")
    shutil.copy(out / "preprocessor_config.json", tmp_path / "saved")
    detector = mldg_jax.load(tmp_path / "saved")
    np.testing.assert_allclose(
        [detector.score(x, 16_000) for x in waveforms],
        torch_scores(model, waveforms),
        atol=1e-5,
    )
