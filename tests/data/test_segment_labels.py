"""Tests of segment labels."""

import numpy as np
import pytest

from mldg_jax.data import segment_labels as segments
from mldg_jax.data.episodes import crop


@pytest.mark.parametrize(
    ("text", "parts", "written"),
    [
        ("0.52-1.10 2-2.46", ((0.52, 1.1), (2.0, 2.46)), "0.52-1.1 2-2.46"),
        ("2-3;0-1,0.5-1.5", ((0.0, 1.5), (2.0, 3.0)), "0-1.5 2-3"),
        ("ALL", ((0.0, np.inf),), "all"),
        ("-", (), "-"),
        (" ", None, ""),
    ],
)
def test_text_is_read_and_written(text, parts, written):
    assert segments.parse(text) == parts
    assert segments.to_text(parts) == written


@pytest.mark.parametrize("text", ["1", "2-1", "1-1", "a-b", "-1-2", "1-2-3", "none"])
def test_other_text_is_refused(text):
    with pytest.raises(ValueError, match="START-END"):
        segments.parse(text)


def test_frames_and_intervals_are_inverse():
    rng = np.random.default_rng(0)
    for frames in (1, 2, 7, 50):
        label = rng.integers(0, 2, frames).astype(np.int8)
        parts = segments.of_frames(label)
        assert segments.frame_labels(parts, frames).tolist() == label.tolist()
        read = segments.parse(segments.to_text(parts))
        np.testing.assert_allclose(read or (), parts)
    assert segments.of_frames([0, 0]) == ((0.0, 0.04),)


def test_unknown_labels_are_marked():
    assert segments.frame_labels(None, 3).tolist() == [-1] * 3


@pytest.mark.parametrize("length", [1_000, 9_000, 16_000])
@pytest.mark.parametrize("speed", [0.9, 1.0, 1.1])
def test_the_labels_of_a_crop_are_those_of_its_samples(length, speed):
    """Crops a waveform that holds its own labels, sample by sample."""
    samples, spoof = 6_400, [(0.05, 0.2), (0.31, 0.4)]
    truth = segments.labels_at(spoof, (np.arange(length) + 0.5) / 16_000)
    span = round(samples * speed)
    for start in (0.0, 0.37, 0.999):
        cropped = crop(truth, span, start)
        middles = (np.arange(20) + 0.5) * 320 * span / samples
        expected = cropped[middles.astype(int)]
        found = segments.crop_labels(spoof, length, samples, start, span)
        assert found.tolist() == expected.tolist()
