"""Tests the Whisper front-end against ``transformers`` with the same weights.

Uses utterances of DebSpoof if it has been built (in data/ or $MLDG_DATA_DIR).
"""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mldg_jax.common.errors import UserError
from mldg_jax.data.corpus import find_corpus, load_split
from mldg_jax.models import whisper
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
