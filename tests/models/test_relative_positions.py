"""Relative positions against loops over heads and pairs of frames."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, softmax

from mldg_jax.models.relative_positions import (
    GatedAttention,
    ShawAttention,
    by_distance,
    distance_buckets,
)

HEADS, WIDTH, FRAMES, BATCH = 3, 4, 6, 2
MASK = np.arange(FRAMES) < np.array([FRAMES, 4])[:, None]


def drawn(module, x, *given):
    """Returns a module's parameters, random."""
    params = module.init(jax.random.key(0), x, BATCH, *given)["params"]
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda p: 0.5 * rng.normal(size=p.shape), params)


def attention(x, params, score):
    """Computes attention from its definition; ``score`` is for a head and a pair."""

    def project(name, x):
        return x @ params[name]["kernel"] + params[name]["bias"]

    output = np.zeros_like(x)
    for row in range(BATCH):
        parts = []
        for head in range(HEADS):
            part = slice(head * WIDTH, (head + 1) * WIDTH)
            q, k, v = (project(n, x[row])[:, part] for n in ("query", "key", "value"))
            logits = np.empty((FRAMES, FRAMES))
            for i in range(FRAMES):
                for j in range(FRAMES):
                    logits[i, j] = q[i] @ k[j] / WIDTH**0.5
                    logits[i, j] += score(row, head, i, j, q[i])
            logits[:, ~MASK[row]] = -np.inf
            parts.append(softmax(logits, axis=1) @ v)
        output[row] = project("out", np.concatenate(parts, axis=1))
    return output


@pytest.fixture
def frames():
    return np.random.default_rng(0).normal(size=(BATCH, FRAMES, HEADS * WIDTH))


def test_gated_attention(frames, float64):
    rows = frames.reshape(BATCH * FRAMES, -1)
    bias = np.random.default_rng(2).normal(size=(HEADS, FRAMES, FRAMES))
    module = GatedAttention(HEADS)
    params = drawn(module, rows, MASK, False, bias)
    ours = module.apply({"params": params}, rows, BATCH, MASK, False, bias)
    gate = params["gate"]

    def score(row, head, i, j, query):
        part = frames[row, i, head * WIDTH : (head + 1) * WIDTH]
        y = part @ gate["kernel"] + gate["bias"]
        update, reset = expit(y[:4].sum()), expit(y[4:].sum())
        factor = update * (reset * gate["scale"][0, head, 0, 0] - 1) + 2
        return factor * bias[head, i, j]

    expected = attention(frames, params, score)
    np.testing.assert_allclose(ours.reshape(frames.shape), expected, atol=1e-12)


def test_shaw_attention(frames, float64):
    rows = frames.reshape(BATCH * FRAMES, -1)
    module = ShawAttention(HEADS, left=3, right=1)
    params = drawn(module, rows, MASK)
    ours = module.apply({"params": params}, rows, BATCH, MASK)

    def score(row, head, i, j, query):
        distance = min(max(j - i, -3), 1)
        return query @ params["distances"][distance + 3] / WIDTH**0.5

    expected = attention(frames, params, score)
    np.testing.assert_allclose(ours.reshape(frames.shape), expected, atol=1e-12)


@pytest.mark.parametrize("frames", [1, 2, 5, 9])
@pytest.mark.parametrize(("left", "right"), [(3, 1), (0, 0), (20, 20), (1, 4)])
def test_by_distance(frames, left, right):
    scores = np.random.default_rng(0).normal(size=(2, frames, left + right + 1))
    ours = by_distance(jnp.asarray(scores, jnp.float32), left, right)
    for i in range(frames):
        for j in range(frames):
            expected = scores[:, i, min(max(j - i, -left), right) + left]
            np.testing.assert_allclose(ours[:, i, j], expected, rtol=1e-6)


def test_distance_buckets():
    """Sixteen buckets up to distance 64: the edges 4, 8, 16, 32 are exact doublings."""
    buckets = distance_buckets(80, 16, 64)
    assert buckets[10, :11].tolist() == [5] * 3 + [4] * 4 + [3, 2, 1, 0]
    later = buckets[0]
    assert later[:4].tolist() == [0, 9, 10, 11]
    assert set(later[4:8]) == {12} and set(later[8:16]) == {13}
    assert set(later[16:32]) == {14} and set(later[32:]) == {15}
    i, j = np.triu_indices(80, 1)  # earlier keys have the same, in the lower half
    np.testing.assert_array_equal(buckets[j, i], buckets[i, j] - 8)
