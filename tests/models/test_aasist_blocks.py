"""Layers of AASIST that are rewritten for speed, against those of JAX and Flax."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mldg_jax.models import aasist_blocks
from mldg_jax.models.aasist_blocks import BatchNorm, Encoder, convolve


@pytest.mark.parametrize(
    ("window", "padding"),
    [
        ((2, 3), ((1, 1), (1, 1))),
        ((2, 3), ((0, 0), (1, 1))),
        ((1, 3), ((0, 0), (2, 0))),
    ],
)
def test_convolution_is_lax_conv_twice_differentiated(float64, window, padding):
    keys = jax.random.split(jax.random.key(0), 4)
    x = jax.random.normal(keys[0], (2, 5, 7, 3))
    kernel = jax.random.normal(keys[1], (*window, 3, 4))
    direction = (
        jax.random.normal(keys[2], x.shape),
        jax.random.normal(keys[3], kernel.shape),
    )

    def plain(x, kernel):
        layout = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), padding, dimension_numbers=layout
        )

    def derivatives(convolution):
        def loss(args):
            return jnp.sin(convolution(*args)).sum()

        def slope(args):
            inner = zip(jax.grad(loss)(args), direction, strict=True)
            return sum(jnp.vdot(g, d) for g, d in inner)

        return (
            loss((x, kernel)),
            jax.grad(loss)((x, kernel)),
            jax.grad(slope)((x, kernel)),
        )

    ours = derivatives(lambda x, kernel: convolve(x, kernel, padding))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12),
        ours,
        derivatives(plain),
    )


def test_kernel_gradients_of_all_platforms_agree(float64):
    keys = jax.random.split(jax.random.key(0), 2)
    x = jax.random.normal(keys[0], (3, 5, 7, 2))
    y = jax.random.normal(keys[1], (3, 6, 7, 4))
    padding = ((1, 1), (1, 1))
    np.testing.assert_allclose(
        aasist_blocks._correlate_matmul(x, y, padding=padding),
        aasist_blocks._correlate_native(x, y, padding=padding),
        rtol=1e-12,
        atol=1e-12,
    )


def test_max_pool_is_flax_max_pool():
    x = jax.random.normal(jax.random.key(0), (2, 7, 11, 3))
    np.testing.assert_array_equal(
        aasist_blocks.max_pool(x, 3, 2), nn.max_pool(x, (3, 2), (3, 2))
    )


def test_selu_and_its_derivatives(float64):
    x = jnp.linspace(-8.0, 8.0, 50)
    ours, reference = aasist_blocks.selu, jax.nn.selu
    for _ in range(3):
        np.testing.assert_allclose(
            jax.vmap(ours)(x), jax.vmap(reference)(x), rtol=1e-12, atol=1e-15
        )
        ours, reference = jax.grad(ours), jax.grad(reference)


def test_statistics_move_as_in_torch():
    """running += 0.1 · (batch − running), with the UNBIASED variance."""
    rng = np.random.default_rng(0)
    x = rng.normal(5.0, 2.0, size=(4, 3, 2)).astype(np.float32)
    norm = BatchNorm()
    variables = norm.init(jax.random.key(0), x)
    y, state = norm.apply(variables, x, True, mutable="batch_stats")
    mean, var = x.mean((0, 1)), x.var((0, 1))
    stats = state["batch_stats"]
    np.testing.assert_allclose(y, (x - mean) / np.sqrt(var + 1e-5), atol=1e-5)
    np.testing.assert_allclose(stats["mean"], 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(stats["var"], 0.9 + 0.1 * var * 12 / 11, rtol=1e-5)


@pytest.mark.parametrize("devices", ["vmap", "pmap"])
def test_statistics_over_an_axis_are_the_whole_batchs(float64, devices):
    """Output, statistics and gradient, with the batch in one piece or in slices."""
    x = jax.random.normal(jax.random.key(1), (4, 6, 9, 1))
    whole, sliced = Encoder((3, 4)), Encoder((3, 4), axis_name="batch")
    variables = jax.jit(whole.init)(jax.random.key(0), x)
    slices = 2 if devices == "vmap" else 1
    options = {"axis_name": "batch", "in_axes": (None, 0)}
    spread = {"vmap": jax.vmap, "pmap": jax.pmap}[devices]

    def loss(params, model, x, spread):
        def forward(params, x):
            parts = {"params": params, "batch_stats": variables["batch_stats"]}
            return model.apply(parts, x, True, mutable="batch_stats")

        y, state = spread(forward)(params, x)
        return jnp.square(y - 1).sum(), (y, state)

    gradient = jax.jit(jax.grad(loss, has_aux=True), static_argnums=(1, 3))
    expected, (y, state) = gradient(variables["params"], whole, x, lambda f: f)
    pieces = x.reshape(slices, -1, *x.shape[1:])
    found, (ys, states) = gradient(
        variables["params"], sliced, pieces, functools.partial(spread, **options)
    )

    def close(a, b):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)

    close(ys.reshape(y.shape), y)
    for i in range(slices):
        jax.tree.map(lambda a, b: close(a[i], b), states, state)  # noqa: B023
    jax.tree.map(close, found, expected)
