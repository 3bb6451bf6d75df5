"""AASIST against frozen outputs of the published code, and in training mode.

The golden files hold published weights (MIT, see aasist.LICENSE there) and the outputs
of the published code in evaluation mode. Training mode against torch is in
tests/parity.
"""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mldg_jax import lora, models
from mldg_jax.models.aasist import AASIST, AASIST_L, AASISTHead, sinc_filters
from mldg_jax.models.pretrained import convert, key_tables

GOLDEN = Path(__file__).parents[1] / "golden"
# Every kind of layer, and compiled in seconds.
SMALL = AASISTHead(dim=12, channels=(3, 4))


def shapes(model, *shape):
    """Returns the shapes of a model's variables without computing anything."""
    made = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros(shape))
    return {"params": made["params"], "batch_stats": made["batch_stats"]}


def published(file, table, expected):
    """Returns a golden file and its weights as our variables."""
    golden = np.load(GOLDEN / file)
    state = {
        name.removeprefix("param/"): golden[name]
        for name in golden.files
        if name.startswith("param/")
    }
    return golden, state, convert.to_ours(table, state, expected)


def run(model, variables, x):
    """Returns logits and the read-out vector."""
    apply = jax.jit(functools.partial(model.apply, mutable="intermediates"))
    logits, sown = apply(variables, x)
    return logits, sown["intermediates"]["logits"]["hidden"][0]


@pytest.mark.parametrize("frames", [49, 201])
def test_head_equals_the_published_code(frames):
    model = AASISTHead()
    golden, _, variables = published(
        "ssl_aasist.npz", key_tables.SSL_AASIST, shapes(model, 1, 49, 1024)
    )
    logits, hidden = run(model, variables, golden[f"features_{frames}"])
    np.testing.assert_allclose(logits, golden[f"logits_{frames}"], rtol=0, atol=1e-5)
    assert hidden.shape == (len(logits), 160)


@pytest.mark.parametrize("samples", [32_000, 64_600])
def test_raw_model_equals_the_published_code(samples):
    model = AASIST()
    golden, _, variables = published(
        "aasist.npz", key_tables.AASIST, shapes(model, 1, 4_000)
    )
    logits, hidden = run(model, variables, golden[f"x_{samples}"])
    np.testing.assert_allclose(logits, golden[f"logits_{samples}"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(hidden, golden[f"hidden_{samples}"], rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("file", "table", "model", "shape"),
    [
        ("ssl_aasist.npz", key_tables.SSL_AASIST, AASISTHead(), (1, 49, 1024)),
        ("aasist.npz", key_tables.AASIST, AASIST(), (1, 4_000)),
    ],
)
def test_tables_are_inverted_exactly(file, table, model, shape):
    _, state, variables = published(file, table, shapes(model, *shape))
    back = convert.to_theirs(table, variables)
    assert back.keys() == state.keys()
    for name, value in state.items():
        np.testing.assert_array_equal(back[name], value)


@pytest.mark.parametrize(
    ("model", "shape", "count"),
    [
        (AASISTHead(), (1, 201, 1024), 447_242),
        (AASIST(), (1, 64_600), 297_866),
        (AASIST(**AASIST_L), (1, 64_600), 85_306),
    ],
)
def test_parameter_counts_are_the_published_ones(model, shape, count):
    assert lora.count(shapes(model, *shape)["params"]) == count


@pytest.mark.parametrize(
    ("model", "lengths"),
    [
        (AASISTHead(), [(3, 32), (4, 32), (50, 32), (1499, 32)]),
        (AASIST(), [(2_315,), (16_000,), (160_000,)]),
    ],
)
def test_any_length(model, lengths):
    for length in lengths:
        made = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((2, *length)))
        logits = jax.eval_shape(model.apply, made, jnp.zeros((2, *length)))
        assert logits.shape == (2, 2)


def test_filters_divide_the_band():
    """Without the window they would add up to an impulse; its centre is 1 anyway."""
    total = sinc_filters(70, 128).sum(axis=1)
    impulse = np.zeros(129)
    impulse[64] = 1.0
    np.testing.assert_allclose(total, impulse, atol=1e-12)


# ---- training mode of the whole head ----


@pytest.fixture(scope="module")
def small():
    """Returns variables of ``SMALL`` and features (4, 14, 6) in float64."""
    with jax.enable_x64(True):
        x = jax.random.normal(jax.random.key(1), (4, 14, 6))
        return jax.jit(SMALL.init)(jax.random.key(0), x), x


@jax.jit
def train_mode(variables, x, key):
    """Returns logits and the new statistics of ``SMALL``."""
    rngs = {"dropout": key}
    return SMALL.apply(variables, x, True, rngs=rngs, mutable="batch_stats")


def test_dropout_follows_its_key(float64, small):
    one, again, other = (train_mode(*small, jax.random.key(i))[0] for i in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 1e-3


def test_every_statistic_moves(float64, small):
    _, state = train_mode(*small, jax.random.key(0))
    before, after = small[0]["batch_stats"], state["batch_stats"]
    moved = jax.tree.map(lambda a, b: bool((a != b).all()), before, after)
    assert all(jax.tree.leaves(moved))


def test_examples_are_independent_in_evaluation(float64, small):
    variables, x = small
    apply = jax.jit(SMALL.apply)
    together = apply(variables, x)
    np.testing.assert_allclose(apply(variables, x[2:3]), together[2:3], rtol=1e-9)


def test_vmap_over_parameters(float64, small):
    variables, x = small
    both = jax.tree.map(lambda v: jnp.stack([v, 1.1 * v]), variables)
    together = jax.jit(jax.vmap(SMALL.apply, in_axes=(0, None)))(both, x)
    for i in range(2):
        alone = jax.jit(SMALL.apply)(jax.tree.map(lambda v: v[i], both), x)  # noqa: B023
        np.testing.assert_allclose(together[i], alone, rtol=1e-9)


@pytest.mark.full  # test_whole_detector.py has those of the whole detector
def test_first_and_second_derivatives_are_the_finite_differences(float64, small):
    """In training mode, with respect to every parameter and the features."""
    variables, x = small
    point = jax.tree.map(np.asarray, {"params": variables["params"], "x": x})
    rng = np.random.default_rng(0)
    direction = jax.tree.map(lambda v: rng.normal(size=v.shape), point)

    def loss(point):
        parts = {"params": point["params"], "batch_stats": variables["batch_stats"]}
        logits, _ = train_mode.__wrapped__(parts, point["x"], jax.random.key(0))
        return -jax.nn.log_softmax(logits)[:, 1].mean()

    def slope(point):
        products = jax.tree.map(jnp.vdot, jax.grad(loss)(point), direction)
        return sum(jax.tree.leaves(products))

    @jax.jit
    def derivatives(point):
        """Returns loss, its slope along the direction, and the slope's gradient."""
        return loss(point), *jax.value_and_grad(slope)(point)

    def move(step):
        return jax.tree.map(lambda v, d: v + step * d, point, direction)

    step = 1e-6
    (ahead, slope_ahead, _), (behind, slope_behind, _) = map(
        derivatives, (move(step), move(-step))
    )
    _, first, second = derivatives(point)
    np.testing.assert_allclose(first, (ahead - behind) / (2 * step), rtol=1e-6)
    products = jax.tree.map(np.vdot, second, direction)
    curvature = (slope_ahead - slope_behind) / (2 * step)
    assert abs(curvature) > 1e-2
    np.testing.assert_allclose(sum(jax.tree.leaves(products)), curvature, rtol=1e-5)


def test_configs_of_the_published_code():
    large = {
        "architecture": "AASIST",
        "nb_samp": 64_600,
        "first_conv": 128,
        "filts": [70, [1, 32], [32, 32], [32, 64], [64, 64]],
        "gat_dims": [64, 32],
        "pool_ratios": [0.5, 0.7, 0.5, 0.5],
        "temperatures": [2.0, 2.0, 100.0, 100.0],
    }
    light = large | {
        "filts": [70, [1, 32], [32, 32], [32, 24], [24, 24]],
        "gat_dims": [24, 32],
        "pool_ratios": [0.4, 0.5, 0.7, 0.5],
    }
    assert models.build("aasist", large) == models.build("aasist") == AASIST()
    assert models.build("aasist", light) == AASIST(**AASIST_L)
    with pytest.raises(ValueError, match="kind is 'ssl'"):
        models.build("ssl")
