"""CKA in closed form, hidden states and embeddings of real modules."""

import jax
import numpy as np
import pytest

from mldg_jax.analysis import representation
from mldg_jax.models import split
from mldg_jax.models.aasist import AASISTHead
from mldg_jax.models.detector import Detector
from mldg_jax.models.pooling import PoolingHead
from mldg_jax.models.whisper import WhisperEncoder
from tests import signals


def frames(n=300, dim=6, seed=0):
    return np.random.default_rng(seed).normal(size=(n, dim)) * np.arange(1, dim + 1)


def test_cka_ignores_rotation_scale_and_shift():
    x = frames()
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))[0]
    assert representation.cka(x, 3 * x @ turn + 7) == pytest.approx(1, abs=1e-12)


def test_cka_is_the_alignment_of_centred_gram_matrices():
    """The definition by HSIC (Kornblith et al. 2019, equation 3)."""
    x = frames(40)
    y = np.tanh(x[:, :4]) + frames(40, 4, seed=2)
    centre = np.eye(40) - 1 / 40
    k, l = centre @ x @ x.T @ centre, centre @ y @ y.T @ centre
    hsic = (k * l).sum() / np.sqrt((k * k).sum() * (l * l).sum())
    assert representation.cka(x, y) == pytest.approx(hsic, rel=1e-10)
    assert 0.01 < hsic < 0.99


def test_cka_of_unrelated_frames_is_small_and_of_constant_ones_nan():
    assert representation.cka(frames(5_000), frames(5_000, seed=9)) < 0.01
    assert np.isnan(representation.cka(np.ones((10, 3)), frames(10)))


@pytest.mark.usefixtures("float64")
def test_cka_by_layer_is_one_below_the_first_change(problem):
    """Layer 0's adapters change its output, not its input."""
    one = split.variables(problem.trainable, problem.batch_stats, problem.frozen)
    bare = {"params": problem.frozen}
    waveform = problem.batch["waveform"][:, 0]
    found = representation.cka_by_layer(problem.detector, one, bare, waveform, chunk=4)
    assert found.shape == (2,)
    assert found[0] == pytest.approx(1, abs=1e-12) and found[1] < 1 - 1e-5


@pytest.mark.parametrize(
    "head", [PoolingHead(dim=16), AASISTHead(dim=12, channels=(3, 4))]
)
def test_embeddings_are_what_the_last_linear_layer_sees(head):
    """The logits are an affine function of the embeddings."""
    shape = {"layers": 1, "dim": 32, "heads": 2, "hidden": 64, "positions": 100}
    detector = Detector(WhisperEncoder(**shape), head)
    waveform = np.tile(signals.speech_like(6_000), (3, 1))
    waveform *= np.linspace(0.5, 1, 6)[:, None].astype(np.float32)
    variables = jax.jit(detector.init)(jax.random.key(0), waveform[:1])
    found = representation.embeddings(detector, variables, waveform, chunk=4)
    logits = np.asarray(jax.jit(detector.apply)(variables, waveform))
    last = variables["params"]["head"]["logits"]
    last = last.get("dense", last)
    np.testing.assert_allclose(
        found @ last["kernel"] + last["bias"], logits, rtol=0, atol=2e-5
    )
    assert len(found) == 6 and np.ptp(found, axis=0).max() > 0


def test_pca_finds_the_axis_of_the_largest_variance():
    x = frames(500)
    coordinates, share = representation.pca(x)
    centred = x - x.mean(0)
    _, s, vt = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(share, s[:2] ** 2 / (s**2).sum())
    np.testing.assert_allclose(
        np.abs(coordinates), np.abs(centred @ vt[:2].T), atol=1e-9
    )
