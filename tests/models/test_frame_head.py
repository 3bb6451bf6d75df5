"""Tests of the head that locates spoof, and of its loss."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mldg_jax import mldg
from mldg_jax.common.config import ModelSection
from mldg_jax.models.detector import Detector, create_detector, locates
from mldg_jax.models.frame_head import FrameHead, on_grid
from mldg_jax.models.hidden_states import statistics
from mldg_jax.models.loss import cross_entropy
from mldg_jax.models.split import init_parameters, variables
from mldg_jax.models.whisper import WhisperEncoder
from mldg_jax.objectives import coral
from tests import small

SAMPLES = 3_200  # ten frames
FRONT = {"layers": 1, "dim": 16, "heads": 2, "hidden": 32, "positions": 40}


@pytest.fixture(scope="module")
def model():
    """A detector with its parameters, in double precision."""
    with jax.enable_x64(True):
        detector = Detector(
            WhisperEncoder(**FRONT, lora_scale=1.0), FrameHead(dim=6, temperature=0.7)
        )
        rng = np.random.default_rng(0)
        waveform = jnp.array(0.1 * rng.normal(size=(4, SAMPLES)))
        frontend = detector.frontend.init(jax.random.key(1), waveform)["params"]
        parts = init_parameters(jax.random.key(2), detector, frontend, waveform, rank=2)
        trainable, stats, frozen = jax.tree.map(lambda x: x.astype(float), parts)
        yield detector, small.fill(trainable), stats, frozen


def batch(seed=0, domains=2, examples=2):
    rng = np.random.default_rng(seed)
    shape = domains, examples
    return {
        "waveform": jnp.array(0.1 * rng.normal(size=(*shape, SAMPLES))),
        "label": jnp.array(rng.integers(0, 2, shape)),
        "frame_label": jnp.array(rng.integers(-1, 2, (*shape, 10)), jnp.int8),
    }


def log_softmax(x):
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def test_the_head_is_its_equation():
    rng = np.random.default_rng(0)
    hidden = [jnp.array(rng.normal(size=(3, 7, 5)), jnp.float32) for _ in range(2)]
    head = FrameHead(dim=4, temperature=0.5)
    made = head.init(jax.random.key(0), hidden)
    made = {**made, "batch_stats": statistics(hidden)}
    out = head.apply(made, hidden, method="locate")
    params = jax.tree.map(np.asarray, made["params"])
    x = sum((np.array(h) - np.array(h).mean((0, 1))) / np.array(h).std((0, 1))
            for h in hidden) / 2  # fmt: skip
    x = x @ params["project"]["kernel"] + params["project"]["bias"]
    x = np.asarray(jax.nn.gelu(x))
    frames = x @ params["logits"]["kernel"] + params["logits"]["bias"]
    score = frames[..., 1] - frames[..., 0]
    a = np.exp(-score / 0.5)
    a /= a.sum(1, keepdims=True)
    expected = (a[..., None] * frames).sum(1)
    np.testing.assert_allclose(out.frames, frames, atol=1e-4)
    np.testing.assert_allclose(out.utterance, expected, atol=1e-4)
    np.testing.assert_array_equal(head.apply(made, hidden), out.utterance)
    whole = expected[:, 1] - expected[:, 0]
    assert (score.min(1) <= whole).all() and (whole <= score.mean(1)).all()
    layer = params["logits"]
    mapped = np.asarray(out.embedding) @ layer["kernel"] + layer["bias"]
    np.testing.assert_allclose(mapped, out.utterance, atol=1e-5)


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_the_loss_is_that_of_utterance_and_labelled_frames(model, labelled, weight):
    detector, trainable, stats, frozen = model
    detector = detector.clone(head=detector.head.clone(frame_weight=weight))
    with jax.enable_x64(True):
        given = batch()
        given["frame_label"] = given["frame_label"].at[0, 0].set(-1)
        given["frame_label"] = given["frame_label"].at[1, 1].set(1)  # misses the spoof
        given["label"] = given["label"].at[1].set(0)
        given["frame_label"] = given["frame_label"].at[1, 0, :5].set(0)
        if not labelled:
            del given["frame_label"]
        value, aux = cross_entropy(detector, stats, frozen)(
            trainable, given, jax.random.key(0)
        )
        flat = given["waveform"].reshape(-1, SAMPLES)
        located = detector.apply(
            variables(trainable, stats, frozen), flat,
            method=lambda module, x: module.locate(module.features(x)),
        )  # fmt: skip
    losses = []
    label = np.array(given["label"]).ravel()
    target = np.repeat(label[:, None], 10, 1)
    if labelled:
        target = np.array(given["frame_label"]).reshape(-1, 10)
        label[3] = 1
    for i, row in enumerate(target):
        loss = -log_softmax(np.array(located.utterance[i]))[label[i]]
        frames = [-log_softmax(np.array(located.frames[i, t]))[k]
                  for t, k in enumerate(row) if k >= 0]  # fmt: skip
        losses.append(loss + weight * (np.mean(frames) if frames else 0))
    by_domain = np.reshape(losses, (2, 2)).mean(1)
    np.testing.assert_allclose(aux.by_domain, by_domain, rtol=1e-10)
    np.testing.assert_allclose(value, by_domain.mean(), rtol=1e-10)
    assert aux.features.shape == (2, 2, 6) and aux.logits.shape == (2, 2, 2)
    np.testing.assert_array_equal(aux.batch_stats["head"]["shift"],
                                  stats["head"]["shift"])  # fmt: skip


@pytest.mark.parametrize("order", ["first", "second"])
def test_meta_gradients_of_both_orders(model, order):
    """Compares the meta-gradient with differences of its definition."""
    detector, trainable, stats, frozen = model
    with jax.enable_x64(True):
        loss_fn = cross_entropy(detector, stats, frozen)
        episode = {"meta_train": batch(1), "meta_test": batch(2)}
        key = jax.random.key(0)
        objective = mldg.mldg(loss_fn, inner_lr=0.1, order=order)
        gradient, _ = jax.grad(objective, has_aux=True)(trainable, episode, key)

        def loss(point, half):
            return loss_fn(point, episode[half], key)[0]

        inner = jax.grad(loss)(trainable, "meta_train")
        direction = jax.tree.map(
            lambda x: jnp.array(np.random.default_rng(3).normal(size=x.shape)),
            trainable,
        )

        def along(t):
            """Evaluates F + G(φ') at a distance; first order keeps the inner step."""
            point = optax.tree.add_scale(trainable, t, direction)
            step = jax.grad(loss)(point, "meta_train") if order == "second" else inner
            adapted = optax.tree.add_scale(point, -0.1, step)
            return loss(point, "meta_train") + loss(adapted, "meta_test")

        h = 1e-5
        slope = (along(h) - along(-h)) / (2 * h)
        found = optax.tree.vdot(gradient, direction)
    assert float(found) == pytest.approx(float(slope), rel=1e-6)


def test_the_penalty_of_an_objective_sees_the_embedding(model):
    detector, trainable, stats, frozen = model
    with jax.enable_x64(True):
        loss_fn = cross_entropy(detector, stats, frozen)
        episode = {"meta_train": batch(1), "meta_test": batch(2)}
        objective = coral(loss_fn, penalty_weight=1.0)
        key = jax.random.key(0)
        state = objective.init(trainable)
        value, (_, aux) = objective.apply(trainable, state, episode, key)
    assert np.isfinite(value) and aux.penalty > 0


def test_micro_batches_change_nothing(model):
    detector, trainable, stats, frozen = model
    with jax.enable_x64(True):
        key = jax.random.key(0)
        whole, parts = (
            cross_entropy(detector, stats, frozen, n)(trainable, batch(), key)[0]
            for n in (1, 2)
        )
    assert float(whole) == pytest.approx(float(parts), rel=1e-12)


@pytest.mark.parametrize(
    ("count", "samples", "expected"),
    [
        (10, 3_200, list(range(10))),
        (10, 3_300, [*range(10), 9]),
        (9, 3_200, [*range(9), 8]),  # wav2vec 2.0
        (5, 3_200, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]),  # 40 ms
        (20, 3_200, list(range(1, 20, 2))),  # 10 ms
    ],
)
def test_frames_are_brought_to_the_grid(count, samples, expected):
    frames = jnp.arange(count)[None, :, None] * jnp.ones((2, 1, 3))
    found = on_grid(frames, samples)
    assert found[1, :, 2].astype(int).tolist() == expected


def test_the_config_chooses_it():
    section = ModelSection(
        frontend={"kind": "whisper", **FRONT},
        head={"kind": "frame", "dim": 4, "temperature": 2.0, "frame_weight": 3.0},
    )
    detector = create_detector(section)
    assert isinstance(detector.head, FrameHead) and locates(detector)
    assert (detector.head.temperature, detector.head.frame_weight) == (2.0, 3.0)
    pooling = ModelSection(frontend=section.frontend, head={"kind": "pooling"})
    assert not locates(create_detector(pooling))
