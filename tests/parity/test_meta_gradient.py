"""Tests the meta-gradient of the whole detector against torch, in both orders.

The detector is wav2vec 2.0 with LoRA on q, k, v and out and either head, without
dropout, in double precision.
"""

import functools

import jax
import numpy as np
import pytest

from mldg_jax import mldg
from mldg_jax.models import aasist
from mldg_jax.models.detector import Detector
from mldg_jax.models.loss import cross_entropy
from mldg_jax.models.pooling import PoolingHead
from mldg_jax.models.split import init_parameters
from mldg_jax.models.wav2vec2 import Wav2Vec2
from tests.signals import speech_like

pytestmark = [
    pytest.mark.parity,
    # peft 0.21 reads it from transformers 5.23
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated"),
]
FRONT_END = Wav2Vec2(
    layers=2,
    dim=32,
    heads=2,
    hidden=48,
    channels=(16,) * 7,
    positional_groups=4,
    lora_scale=1.5,
)
HEADS = {
    "pooling": PoolingHead(12),
    "aasist": aasist.AASISTHead(12, (3, 4), dropout=0.0),
}
OPTIONS = {"inner_lr": 0.3, "beta": 0.7}
SAMPLES, EXAMPLES = 4_000, 2


def parts(head):
    """Returns a detector and its parameters, moved away from their initial values."""
    detector = Detector(FRONT_END, HEADS[head])
    waveform = speech_like(SAMPLES)
    frontend = FRONT_END.init(jax.random.key(0), waveform)["params"]
    initial = init_parameters(jax.random.key(1), detector, frontend, waveform, rank=3)
    rng = np.random.default_rng(0)
    return detector, jax.tree.map(
        lambda x: np.asarray(x + 0.1 * rng.uniform(size=x.shape)), initial
    )


def half(domains, seed):
    shape = (domains, EXAMPLES)
    clips = [speech_like(SAMPLES, seed + i) for i in range(domains)]
    label = np.arange(domains * EXAMPLES).reshape(shape) % 2
    return {"waveform": np.stack(clips).astype(np.float64), "label": label}


@functools.cache
def theirs(head, order):
    import torch

    from tests.parity import torch_detector

    detector, parameters = parts(head)
    model = torch_detector.detector(detector, *parameters)
    episode = jax.tree.map(torch.tensor, EPISODE)
    gradient = torch_detector.meta_gradient(model, episode, order=order, **OPTIONS)
    return model.table, {name: value.numpy() for name, value in gradient.items()}


EPISODE = {"meta_train": half(2, 0), "meta_test": half(1, 2)}


def distance(one, other):
    """Returns the distance of two gradients, as a fraction of the second."""
    squares = [(((one[k] - v) ** 2).sum(), (v**2).sum()) for k, v in other.items()]
    difference, size = np.sum(squares, axis=0)
    return (difference / size) ** 0.5


@pytest.mark.parametrize(
    ("head", "order"),
    [
        ("pooling", "first"), ("pooling", "second"), ("aasist", "second"),
        pytest.param("aasist", "first", marks=pytest.mark.full),
    ],
)  # fmt: skip
def test_meta_gradient(head, order, float64):
    from tests.parity import torch_detector

    detector, (trainable, batch_stats, frozen) = parts(head)

    @jax.jit
    def meta_gradient(trainable, frozen, episode):
        loss_fn = cross_entropy(detector, batch_stats, frozen)
        objective = mldg.mldg(loss_fn, order=order, **OPTIONS)
        return jax.grad(objective, has_aux=True)(trainable, episode, jax.random.key(0))[
            0
        ]

    table, expected = theirs(head, order)
    ours = torch_detector.names(meta_gradient(trainable, frozen, EPISODE), table)
    assert ours.keys() == expected.keys()
    largest = max(np.abs(g).max() for g in expected.values())
    for name, gradient in expected.items():
        # some vanish, e.g. of a bias before a normalisation: the error is then absolute
        scale = max(np.abs(gradient).max(), 1e-4 * largest)
        error = np.abs(ours[name] - gradient).max() / scale
        assert error < 1e-9, (name, error)
    # The orders differ, so the check above would fail if they were mixed up.
    other = theirs(head, {"first": "second", "second": "first"}[order])[1]
    assert distance(other, expected) > 1e-3
