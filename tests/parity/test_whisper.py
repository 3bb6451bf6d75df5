"""Tests the Whisper front-end against ``transformers`` with the same weights.

Uses utterances of DebSpoof if it has been built (in data/ or $MLDG_DATA_DIR).
"""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mldg_jax import models
from mldg_jax.common.errors import UserError
from mldg_jax.data.corpus import find_corpus, load_split
from mldg_jax.models import pretrained, whisper
from mldg_jax.models.whisper import WhisperEncoder, log_mel
from tests.signals import speech_like

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module")
def clips():
    """Returns real utterances (n, samples), or test signals if there is no corpus."""
    try:
        folder = find_corpus("debspoof", "small", os.getenv("MLDG_DATA_DIR", "data"))
    except UserError:
        return speech_like(20_480, seed=3)
    split = load_split(folder, "dev")
    rows = np.linspace(0, len(split.label) - 1, 12).astype(int)
    return np.stack([split.waveform(r)[:20_480] for r in rows])


def test_log_mel(clips):
    from tests.parity import whisper as reference

    np.testing.assert_allclose(
        log_mel(jnp.asarray(clips)), reference.log_mel(clips), rtol=0, atol=1e-4
    )


@pytest.mark.parametrize("samples", [5_120, 20_480])
def test_every_layer(clips, frontend, samples):
    from tests.parity.whisper import hidden_states

    clips = clips[:, :samples]
    final, hidden = WhisperEncoder().apply(
        {"params": frontend}, jnp.asarray(clips), hidden_states=True
    )
    theirs = hidden_states(clips)
    for ours, expected in zip([*hidden, final], theirs, strict=True):
        # The last layer has activations of ±250, where float32 resolves only 1.5e-5.
        atol = max(1e-4, 2e-6 * np.abs(expected).max())
        np.testing.assert_allclose(ours, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("samples", [20_480, 480_000])
def test_every_layer_in_float64(samples, clips, frontend, monkeypatch, float64):
    """Compares up to rounding, also at the 30 s that ``transformers`` requires."""
    from tests.parity import whisper as reference

    clips = clips[:, :samples] if samples < 480_000 else speech_like(samples)[:1]
    mel = reference.log_mel(clips).astype(np.float64)
    monkeypatch.setattr(whisper, "log_mel", lambda waveform, mels: jnp.asarray(mel))
    params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), frontend)
    final, hidden = WhisperEncoder().apply(
        {"params": params}, jnp.zeros(clips.shape), hidden_states=True
    )
    theirs = reference.hidden_states(clips, double=True)
    for ours, expected in zip([*hidden, final], theirs, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-10)


SIZES = {
    "80 bands": {"d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 4},
    "128 bands, as large-v3": {
        "d_model": 48,
        "encoder_layers": 3,
        "encoder_attention_heads": 3,
        "num_mel_bins": 128,
    },
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("form", ["safetensors", "bin"])
@pytest.mark.parametrize("size", SIZES)
def test_any_size(size, form, dtype, monkeypatch, tmp_path):
    """Loads a whole model with random weights, decoder and all, and compares states."""
    import torch
    import transformers

    torch.manual_seed(0)
    small = {
        "decoder_layers": 1,
        "decoder_attention_heads": 1,
        "vocab_size": 60_000,
        "max_source_positions": 50,
    }
    config = transformers.WhisperConfig(
        **small, **SIZES[size], encoder_ffn_dim=64, decoder_ffn_dim=8
    )
    whole = transformers.WhisperModel(config).eval()
    for parameter in whole.encoder.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    if form == "safetensors":
        whole.save_pretrained(tmp_path)
    else:
        torch.save(whole.state_dict(), tmp_path / "pytorch_model.bin")
        config.save_pretrained(tmp_path)
    model = models.build("whisper", config)
    params = pretrained.load(str(tmp_path), "whisper", model)

    waveform = speech_like(16_000)
    extractor = transformers.WhisperFeatureExtractor(feature_size=config.num_mel_bins)
    mel = extractor(
        list(waveform), sampling_rate=16_000, padding=False, return_tensors="np"
    )["input_features"]
    ours = log_mel(jnp.asarray(waveform), config.num_mel_bins)
    np.testing.assert_allclose(ours, mel.transpose(0, 2, 1), rtol=0, atol=1e-4)

    mel = mel.astype(dtype)
    encoder = whole.encoder.to(getattr(torch, dtype))
    with torch.inference_mode():
        result = encoder(torch.tensor(mel), output_hidden_states=True)
    # the last hidden state there is already normalised
    expected = [*result.hidden_states[:-1], result.last_hidden_state]
    with jax.enable_x64(dtype == "float64"):
        given = jnp.asarray(mel.transpose(0, 2, 1))
        monkeypatch.setattr(whisper, "log_mel", lambda waveform, mels: given)
        params = jax.tree.map(lambda x: x.astype(dtype), params)
        final, states = model.apply({"params": params}, waveform, hidden_states=True)
        ours = [np.asarray(x) for x in (*states[:-1], final)]
    errors = [np.abs(a - b.numpy()).max() for a, b in zip(ours, expected, strict=True)]
    print(f"Whisper, {size}, {dtype}: largest difference {max(errors):.1e}")
    assert max(errors) <= {"float32": 2e-5, "float64": 1e-9}[dtype]
