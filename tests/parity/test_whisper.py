"""Live parity of the front-end with torch ``transformers``, same weights.

Real clips are taken from DebSpoof where it has been built (data/ or $MLDG_DATA_DIR).
"""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mldg_jax.data import corpus as corpora
from mldg_jax.errors import UserError
from mldg_jax.models import whisper
from mldg_jax.models.whisper import WhisperEncoder, log_mel
from tests.signals import speech_like

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module")
def clips():
    """(n, samples) real clips of one length, or signals where there is no corpus."""
    try:
        folder = corpora.find("debspoof", "small", os.getenv("MLDG_DATA_DIR", "data"))
    except UserError:
        return speech_like(20_480, seed=3)
    split = corpora.load(folder, "dev")
    rows = np.linspace(0, len(split.label) - 1, 12).astype(int)
    return np.stack([split.waveform(r)[:20_480] for r in rows])


def test_log_mel(clips):
    from tests.parity import whisper as reference

    np.testing.assert_allclose(
        log_mel(jnp.asarray(clips)), reference.log_mel(clips), rtol=0, atol=1e-4
    )


@pytest.mark.parametrize("samples", [5_120, 20_480])
def test_every_layer(clips, frontend, samples):
    from tests.parity import whisper as reference

    clips = clips[:, :samples]
    final, hidden = WhisperEncoder().apply(
        {"params": frontend}, jnp.asarray(clips), hidden_states=True
    )
    theirs = reference.hidden_states(clips)
    for ours, expected in zip([*hidden, final], theirs, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-4)


def test_thirty_seconds_in_float64(frontend, monkeypatch, float64):
    """The full position table at the input length ``transformers`` itself demands.

    In double precision: in single, the last layer turns rounding into 1e-3 on some
    inputs, in torch as much as here.
    """
    import torch

    from tests.parity import whisper as reference

    mel = reference.log_mel(speech_like(480_000)[:1]).astype(np.float64)
    monkeypatch.setattr(whisper, "log_mel", lambda waveform, mels: jnp.asarray(mel))
    params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), frontend)
    ours = WhisperEncoder().apply({"params": params}, jnp.zeros((1, 480_000)))
    model = reference.encoder().double()
    with torch.inference_mode():
        theirs = model(torch.tensor(mel).transpose(1, 2)).last_hidden_state
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=0, atol=1e-10)
