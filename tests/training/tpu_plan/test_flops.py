"""FLOPs counted from jaxprs, against closed forms and against XLA."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from mldg_jax import mldg
from mldg_jax.training.tpu_plan.flops import count_flops


def flops(function, *arguments, platform="cpu", branch=max):
    jaxpr = jax.make_jaxpr(function)(*arguments)
    return count_flops(jaxpr, platform, branch=branch)


def shape(*dimensions):
    return jax.ShapeDtypeStruct(dimensions, "float32")


def test_a_matrix_product():
    assert flops(jnp.matmul, shape(3, 5), shape(5, 7)) == 2 * 3 * 5 * 7
    assert flops(jnp.matmul, shape(4, 3, 5), shape(4, 5, 7)) == 4 * 2 * 3 * 5 * 7


def test_a_convolution_counts_no_padding():
    def convolve(x, kernel, padding):
        layout = ("NWC", "WIO", "NWC")
        return jax.lax.conv_general_dilated(
            x, kernel, (2,), padding, dimension_numbers=layout
        )

    x, kernel = shape(4, 100, 3), shape(5, 3, 8)
    assert flops(lambda x, k: convolve(x, k, "VALID"), x, kernel) == (
        2 * 4 * 48 * 5 * 3 * 8
    )
    padded = flops(lambda x, k: convolve(x, k, [(1, 0)]), x, kernel)
    assert padded == 2 * 4 * 3 * 8 * (49 * 5 - 1)  # one tap falls on the padding


def mlp_loss(params, x):
    for kernel in params:
        x = jnp.tanh(x @ kernel)
    return x.sum()


def test_the_gradient_of_an_mlp():
    """Three products a layer; two in the first, whose input needs no gradient."""
    params, x = [shape(16, 32), shape(32, 8)], shape(64, 16)
    first, second = 2 * 64 * 16 * 32, 2 * 64 * 32 * 8
    assert flops(jax.grad(mlp_loss), params, x) == 2 * first + 3 * second


def test_recomputation_counts():
    params, x = [shape(16, 32), shape(32, 8)], shape(64, 16)
    forward = 2 * 64 * 16 * 32 + 2 * 64 * 32 * 8
    plain = flops(jax.value_and_grad(mlp_loss), params, x)
    again = flops(jax.value_and_grad(jax.checkpoint(mlp_loss)), params, x)
    assert again == plain + forward


def test_a_scan_counts_as_often_as_it_runs():
    def run(x, kernels):
        return jax.lax.scan(lambda x, kernel: (x @ kernel, None), x, kernels)[0]

    assert flops(run, shape(3, 5), shape(9, 5, 5)) == 9 * 2 * 3 * 5 * 5
    nested = jax.jit(lambda x, kernels: jax.lax.map(lambda y: run(y, kernels), x))
    assert flops(nested, shape(4, 3, 5), shape(9, 5, 5)) == 4 * 9 * 2 * 3 * 5 * 5


def test_a_while_loop_with_products_is_refused():
    def run(x):
        return jax.lax.while_loop(lambda x: x[0, 0] < 1, lambda x: x @ x, x)

    with pytest.raises(ValueError, match="unknown number"):
        flops(run, shape(3, 3))
    assert flops(lambda x: jax.lax.while_loop(jnp.any, jnp.tanh, x), shape(3)) == 0


def test_the_platforms_branch_counts():
    def once(x):
        return x @ x

    def twice(x):
        return x @ x @ x

    def by_platform(x):
        return jax.lax.platform_dependent(x, cpu=once, default=twice)

    product = 2 * 3**3
    assert flops(by_platform, shape(3, 3)) == product
    assert flops(by_platform, shape(3, 3), platform="tpu") == 2 * product
    gradient = jax.grad(lambda x: by_platform(x).sum())
    assert flops(gradient, shape(3, 3), platform="tpu") > flops(gradient, shape(3, 3))


def test_the_dearest_branch_counts_or_the_cheapest():
    def function(x):
        return jax.lax.cond(x[0, 0] > 0, lambda x: x @ x, lambda x: x @ x @ x, x)

    assert flops(function, shape(3, 3)) == 2 * 2 * 3**3
    assert flops(function, shape(3, 3), branch=min) == 2 * 3**3


def test_what_no_output_needs_does_not_count():
    @jax.jit
    def two(x, y):
        return x @ x, y @ y

    assert flops(lambda x, y: two(x, y)[0], shape(3, 3), shape(9, 9)) == 2 * 3**3


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dilation", [1, 2])
def test_against_xla_on_convolutions_and_their_gradients(stride, dilation):
    """XLA counts elementwise work too; there is next to none here."""

    def loss(kernel, x):
        y = jax.lax.conv_general_dilated(
            x, kernel, (stride, stride), "SAME", rhs_dilation=(dilation, dilation),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )  # fmt: skip
        return jnp.vdot(y, y)

    x, kernel = jnp.ones((2, 24, 20, 16)), jnp.ones((3, 3, 16, 32))
    for function in (loss, jax.grad(loss, argnums=(0, 1))):
        check(function, kernel, x, within=0.01)


def test_against_xla_on_a_network():
    class Network(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.relu(nn.Conv(32, (5,), 3, feature_group_count=4)(x))
            x = nn.MultiHeadDotProductAttention(4)(x)
            return nn.Dense(10)(x)

    x = jnp.ones((2, 90, 64))
    params = Network().init(jax.random.key(0), x)

    def loss(params, x):
        return jnp.vdot(Network().apply(params, x), jnp.ones((2, 30, 10)))

    check(jax.grad(loss), params, x, within=0.06)


def test_mldg_costs_what_erm_costs_and_xla_agrees():
    """First order: the inner gradient is the first half of the outer one."""

    def loss(params, batch, key):
        return mlp_loss(params, batch), {}

    params, half = [jnp.ones((64, 64))] * 3, jnp.ones((128, 64))
    episode, key = {"meta_train": half, "meta_test": half}, jax.random.key(0)

    def gradient(objective):
        return lambda params: jax.grad(objective, has_aux=True)(params, episode, key)[0]

    erm = gradient(mldg.erm(loss))
    first = gradient(mldg.mldg(loss, inner_lr=0.1))
    second = gradient(mldg.mldg(loss, inner_lr=0.1, order="second"))
    assert flops(first, params) == flops(erm, params)
    for function in (erm, first, second):
        check(function, params, within=0.05)


def check(function, *arguments, within):
    compiled = jax.jit(function).lower(*arguments).compile()
    theirs = compiled.cost_analysis()["flops"]
    assert flops(function, *arguments) == pytest.approx(theirs, rel=within)
