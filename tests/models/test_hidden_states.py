"""What every head on hidden states can do, with a tiny front-end, in float64."""

import jax
import numpy as np
import pytest

from mldg_jax import mldg
from mldg_jax.models import detector, split
from mldg_jax.models.hidden_states import statistics
from mldg_jax.models.loss import cross_entropy
from mldg_jax.models.whisper import WhisperEncoder
from tests import signals, small
from tests.models import layered_heads

ATTRIBUTES = {
    "pooling": {"dim": 6},
    "linear": {},
    "mhfa": {"dim": 6, "heads": 2},
    "sls": {"dim": 6},
}
EMBEDDING = {"pooling": 12, "linear": 32, "mhfa": 12, "sls": 6}
every = pytest.mark.parametrize("kind", ATTRIBUTES)
KEY = jax.random.key(3)


@pytest.fixture
def parts(kind, float64):
    """Returns detector, trainable with LoRA, the rest, and half an episode."""
    shape = {"layers": 1, "dim": 32, "heads": 2, "hidden": 24, "positions": 30}
    read = detector.LAST if kind == "linear" else ()
    head = detector.HEADS[kind](**ATTRIBUTES[kind])
    model = detector.Detector(WhisperEncoder(**shape), head, read)
    waveform = np.concatenate([signals.speech_like(1_600, i) for i in range(4)])
    frontend = small.double(
        model.frontend.init(jax.random.key(0), waveform.astype(float))["params"]
    )
    trainable, stats, frozen = small.double(
        split.init_parameters(
            jax.random.key(1), model, frontend, waveform.astype(float), rank=2
        )
    )
    halves = waveform.astype(float).reshape(2, 2, 2, -1)
    label = np.array([[0, 1], [1, 0]])
    episode = {
        name: {"waveform": half, "label": label}
        for name, half in zip(("meta_train", "meta_test"), halves, strict=True)
    }
    return model, small.fill(trainable), stats, frozen, episode


def test_statistics_are_measured_by_layer_and_channel():
    hidden = layered_heads.states()
    measured = statistics([x.astype(np.float32) for x in hidden])
    mean = np.array([x.mean((0, 1)) for x in hidden])
    deviation = np.array([x.std((0, 1)) for x in hidden])
    np.testing.assert_allclose(measured["shift"], mean, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(measured["scale"], 1 / deviation, rtol=1e-3)


@every
def test_the_second_order_meta_gradient_is_that_of_finite_differences(kind, parts):
    model, trainable, stats, frozen, episode = parts
    objective = mldg.mldg(
        cross_entropy(model, stats, frozen), inner_lr=0.01, order="second"
    )
    value = jax.jit(lambda x: objective(x, episode, KEY)[0])
    gradient = jax.jit(jax.grad(value))(trainable)
    leaves = jax.tree.leaves(gradient)
    assert all(np.any(x) for x in leaves)  # every parameter matters
    norm = np.sqrt(sum(np.vdot(x, x) for x in leaves))

    def along(t):
        moved = jax.tree.map(lambda x, g: x + t * g / norm, trainable, gradient)
        return float(value(moved))

    slope = (along(1e-5) - along(-1e-5)) / 2e-5
    assert slope == pytest.approx(norm, rel=1e-6)


@every
def test_the_embedding_reaches_the_penalties(kind, parts):
    model, trainable, stats, frozen, episode = parts
    loss_fn = cross_entropy(model, stats, frozen)
    _, aux = loss_fn(trainable, episode["meta_train"], KEY)
    assert aux.features.shape == (2, 2, EMBEDDING[kind])
    own = trainable["head"]["logits"]
    by_hand = aux.features @ own["kernel"] + own["bias"]
    np.testing.assert_allclose(aux.logits, by_hand, atol=1e-12)


@every
def test_the_prefix_stands_in_for_the_waveform(kind, parts):
    model, trainable, stats, frozen, episode = parts
    batch = episode["meta_train"]
    flat = batch["waveform"].reshape(4, -1)
    prefix = detector.frontend_prefix(model, frozen["frontend"], flat)
    cached = {
        "prefix": prefix.reshape(2, 2, *prefix.shape[1:]),
        "label": batch["label"],
    }
    loss_fn = cross_entropy(model, stats, frozen)
    one, other = (loss_fn(trainable, x, KEY)[0] for x in (batch, cached))
    assert abs(one - other) < 1e-12
