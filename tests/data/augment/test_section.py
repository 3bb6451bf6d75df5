"""The ``augment`` section of a config."""

import jax
import jax.export
import numpy as np
import pytest

from mldg_jax.common.config import AugmentSection
from mldg_jax.common.errors import UserError
from mldg_jax.data.augment.section import from_config
from mldg_jax.data.episodes import crop

RATE = 16_000


def tone(frequency: float, samples: int = 32_000) -> np.ndarray:
    time = np.arange(samples) / RATE
    return (0.1 * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


def test_a_config_section_gives_both():
    host, device = from_config(AugmentSection(gain=3.0))
    cut = host(tone(440), 16_000, 0.3, np.random.default_rng(0))
    np.testing.assert_array_equal(cut, crop(tone(440), 16_000, 0.3))
    assert device(jax.random.key(0), cut[None]).shape == (1, 16_000)
    assert from_config(AugmentSection(speed=0.1))[1] is None


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"rawboost": 9}, "rawboost is 9.*1 … 8"),
        ({"noise_snr": (30, 10)}, "noise_snr"),
        ({"gain": -1.0}, "gain is -1.0"),
        ({"speed": 0.5}, "speed is 0.5"),
        ({"equaliser": -1.0}, "equaliser"),
        ({"codec": ("none", "mp5")}, "mp5.*mp3"),
    ],
)
def test_impossible_sections_are_named(section, message):
    with pytest.raises(UserError, match=message):
        from_config(AugmentSection(**section))
