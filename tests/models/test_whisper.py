"""The Whisper encoder against frozen numbers of ``transformers``.

Live parity, on any clip, is in tests/parity.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mldg_jax import lora
from mldg_jax.models.whisper import WhisperEncoder, log_mel
from tests.signals import speech_like

GOLDEN = Path(__file__).parents[1] / "golden" / "whisper.npz"
ATTENTION = r".*/attention/(query|key|value|out)/kernel"


@pytest.fixture(scope="module")
def golden():
    return np.load(GOLDEN)


def test_log_mel_is_whispers(golden):
    mel = log_mel(jnp.asarray(speech_like(12_800)))
    np.testing.assert_allclose(mel, golden["log_mel"], rtol=0, atol=1e-4)


def test_every_layer_equals_transformers(frontend, golden):
    waveform = jnp.asarray(speech_like(12_800))
    encoder = WhisperEncoder()
    final, hidden = encoder.apply({"params": frontend}, waveform, hidden_states=True)
    ours = np.stack([*hidden, final])[:, :, golden["frames"]]
    assert ours.shape == golden["hidden"].shape  # (stem + 4 layers + final, 2, 10, 384)
    # The last layer has activations near 30, where float32 resolves 2e-6 of the value.
    np.testing.assert_allclose(ours, golden["hidden"], rtol=1e-5, atol=1e-4)


def test_parameter_count_is_the_published_one(frontend):
    assert lora.count(frontend) == 8_208_384
    assert frontend["positions"].size == 576_000


def test_positions_are_the_sinusoids_of_a_fresh_model(frontend):
    """The wheel's positions are float16; the fresh ones are exact."""
    fresh = WhisperEncoder().init(jax.random.key(0), jnp.zeros((1, 1600)))["params"]
    difference = np.abs(fresh["positions"] - frontend["positions"]).max()
    assert difference < 6e-4


def test_b_zero_is_the_frozen_encoder_bit_for_bit(frontend):
    waveform = jnp.asarray(speech_like(6_400))
    adapters = lora.init(jax.random.key(0), frontend, [ATTENTION], rank=8)
    assert lora.count(adapters) == 4 * 4 * 8 * (384 + 384)
    encoder = WhisperEncoder(lora_scale=2.0)
    plain = encoder.apply({"params": frontend}, waveform)
    adapted = encoder.apply({"params": lora.join(frontend, adapters)}, waveform)
    np.testing.assert_array_equal(adapted, plain)


def test_merged_adapters_give_the_same_frames(frontend):
    waveform = jnp.asarray(speech_like(6_400))
    adapters = lora.init(jax.random.key(0), frontend, [ATTENTION], rank=8)
    adapters = jax.tree.map(lambda x: x + 0.01, adapters)
    encoder = WhisperEncoder(lora_scale=0.5)
    factored = encoder.apply({"params": lora.join(frontend, adapters)}, waveform)
    merged = lora.merge(frontend, adapters, scale=0.5)
    dense = encoder.apply({"params": merged}, waveform)
    plain = encoder.apply({"params": frontend}, waveform)
    assert np.abs(factored - plain).max() > 0.1
    np.testing.assert_allclose(dense, factored, rtol=0, atol=1e-4)
