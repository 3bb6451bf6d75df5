"""Means of layers: those of the frames themselves, computed once, all layers."""

import jax
import numpy as np
import pytest

from mldg_jax.common.errors import UserError
from mldg_jax.data.corpus import Corpus
from mldg_jax.experiments.probing import layer_means
from mldg_jax.scoring.windows import windows_of
from mldg_jax.training.config_files import read_config_file
from tests import signals

SHAPE = "{kind: whisper, layers: 3, dim: 16, heads: 2, hidden: 24, positions: 60}"


@pytest.fixture(scope="module")
def front_end():
    """A random front-end of three layers and windows of 1,600 samples."""
    config = read_config_file(
        "tests/tiny.py:mldg", ["model.weights=random", f"model.frontend={SHAPE}"]
    )
    return layer_means.open_front_end(config)


@pytest.fixture
def rows() -> Corpus:
    """Recordings of several windows, 24 in all: more than one batch."""
    whole = signals.corpus()
    return whole.take(np.array([0, 1, 71, 72, 73, 2]))


def by_hand(front_end, waveform):
    windows = np.stack(list(windows_of(waveform, front_end.samples)))
    variables = {"params": {"frontend": front_end.params}}
    states = front_end.detector.apply(variables, windows, method="layers")
    return np.stack([np.asarray(x, np.float64).mean((0, 1)) for x in states])


def test_they_are_means_over_frames_and_windows(front_end, rows, tmp_path):
    counts = [len(list(windows_of(rows.waveform(i), 1_600))) for i in range(6)]
    assert sum(counts) > layer_means.BATCH and len(set(counts)) > 1
    done = []
    means = layer_means.read(front_end, rows, tmp_path, progress=done.append)
    assert means.shape == (6, 4, 16) and means.dtype == np.float32 and sum(done) == 6
    for i, mean in enumerate(means):
        expected = by_hand(front_end, rows.waveform(i))
        np.testing.assert_allclose(mean, expected, atol=1e-5)


def test_what_is_kept_is_not_computed_again(front_end, rows, tmp_path, monkeypatch):
    computed = []
    original = layer_means._means

    def counting(front_end, waveforms):
        for mean in original(front_end, waveforms):
            computed.append(1)
            yield mean

    monkeypatch.setattr(layer_means, "_means", counting)
    first = layer_means.read(front_end, rows.take(np.arange(4)), tmp_path)
    assert len(computed) == 4
    again = layer_means.read(front_end, rows.take(np.arange(6)[::-1]), tmp_path)
    assert len(computed) == 6
    np.testing.assert_array_equal(again[::-1][:4], first)
    # another front-end has a file of its own
    params = jax.tree.map(lambda x: 2 * x, front_end.params)
    other = layer_means.read(front_end._replace(params=params), rows, tmp_path)
    assert len(computed) == 12 and np.abs(other - again[::-1]).max() > 1e-3
    path, _ = tmp_path.glob("*.npz")
    path.write_bytes(b"not an archive")
    with pytest.raises(UserError, match="delete it, and it is computed again"):
        for each in (front_end, front_end._replace(params=params)):
            layer_means.read(each, rows, tmp_path)


def test_all_layers_of_the_weights_or_those_of_the_config():
    config = read_config_file("configs/debspoof.py:mldg")
    assert config.model.frontend["layers"] == 2
    assert layer_means.open_front_end(config).depth == 4  # of Whisper tiny
    assert layer_means.open_front_end(config, whole=False).depth == 2
