"""Embeddings of a recording: the hidden states of the trained front-end."""

from typing import Any

import numpy as np
import pytest

import mldg_jax
from mldg_jax import UserError, lora
from mldg_jax.scoring.scorer import load_parameters
from mldg_jax.scoring.windows import starts
from tests import signals


def test_embed_is_the_front_ends_hidden_states(smoke_run):
    """Window by window, with the adapters not merged, by the module itself."""
    detector = mldg_jax.load(smoke_run)
    wave = np.concatenate(signals.speech_like(5_000))
    layers = detector.embed(wave, 16_000)
    parts = load_parameters(smoke_run)
    params = lora.join(parts.frontend, parts.trainable["frontend"])
    expected = []
    for begin in starts(len(wave), detector.samples):
        window = wave[None, begin : begin + detector.samples]
        output: Any = parts.detector.frontend.apply(
            {"params": params}, window, hidden_states=True
        )
        expected.append(np.stack([x[0] for x in output[1]]))
    assert len(expected) > 1
    np.testing.assert_allclose(layers, np.concatenate(expected, 1), atol=2e-4)
    assert layers.shape[0] == parts.detector.frontend.layers + 1
    output = parts.detector.frontend.apply(
        {"params": parts.frontend}, window, hidden_states=True
    )
    bare = output[1]
    frames = expected[0].shape[1]
    assert abs(layers[-1, -frames:] - bare[-1][0]).max() > 1e-3  # it is the trained one


def test_embed_takes_what_score_takes(smoke_run):
    detector = mldg_jax.load(smoke_run)
    wave = signals.speech_like(12_000)[0]
    stereo = np.stack([wave, wave])
    one = detector.embed(wave, 16_000)
    np.testing.assert_allclose(detector.embed(stereo, 16_000), one, atol=1e-5)
    more = detector.embed(wave, 16_000, overlap=0.5)
    assert more.shape[1] > one.shape[1] and more.shape[::2] == one.shape[::2]
    assert one.dtype == np.float32
    for bad, words in ((wave[:100], "long"), (0 * wave, "every sample is zero")):
        with pytest.raises(UserError, match=words):
            detector.embed(bad, 16_000)
