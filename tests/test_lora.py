"""The parameter split, on our models and on a foreign one."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mldg_jax import lora


class Foreign(nn.Module):
    """A model without LoRA."""

    @nn.compact
    def __call__(self, x):
        x = nn.tanh(nn.Dense(7, name="first")(x))
        return nn.Dense(3, name="second")(x)


@pytest.fixture
def params():
    return Foreign().init(jax.random.key(0), jnp.ones((1, 5)))["params"]


def test_split_and_join_are_inverse(params):
    kernels, rest = lora.split(params, [".*/kernel"])
    assert set(kernels["first"]) == {"kernel"} and set(rest["first"]) == {"bias"}
    joined = lora.join(kernels, rest)
    assert jax.tree.structure(joined) == jax.tree.structure(params)
    assert lora.count(kernels) + lora.count(rest) == lora.count(params)


def test_a_pattern_without_a_match_is_refused(params):
    with pytest.raises(ValueError, match="third"):
        lora.split(params, ["first/kernel", "third/.*"])


def test_join_refuses_to_overwrite(params):
    with pytest.raises(ValueError, match="first/kernel"):
        lora.join(params, {"first": {"kernel": 1}})


def test_a_fresh_adapter_changes_nothing(params):
    adapters = lora.init(jax.random.key(1), params, [".*/kernel"], rank=2)
    merged = lora.merge(params, adapters, scale=4.0)
    jax.tree.map(np.testing.assert_array_equal, merged, params)


def test_initial_values_follow_the_peft_convention(params):
    adapters = lora.init(jax.random.key(1), params, ["first/kernel"], rank=64)
    a, b = adapters["first"]["lora_a"], adapters["first"]["lora_b"]
    assert a.shape == (5, 64) and b.shape == (64, 7)
    # torch's kaiming_uniform_(a=√5) on a (rank, in) weight: within ± 1/√in
    assert np.abs(a).max() <= 5**-0.5 and np.std(a) == pytest.approx(15**-0.5, 0.1)
    assert not b.any()


def test_merge_is_the_formula_and_unmerge_undoes_it(params):
    adapters = lora.init(jax.random.key(1), params, [".*/kernel"], rank=2)
    adapters = jax.tree.map(lambda x: x + 0.3, adapters)
    merged = lora.merge(params, adapters, scale=0.5)
    first = adapters["first"]
    expected = params["first"]["kernel"] + 0.5 * first["lora_a"] @ first["lora_b"]
    np.testing.assert_allclose(merged["first"]["kernel"], expected, rtol=1e-6)
    back = lora.unmerge(merged, adapters, scale=0.5)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), back, params)


def test_any_flax_model_trains_through_merge(params):
    adapters = lora.init(jax.random.key(1), params, [".*/kernel"], rank=2)
    x = jax.random.normal(jax.random.key(2), (4, 5))

    def loss(adapters):
        merged = lora.merge(params, adapters, scale=1.0)
        return jnp.sum(Foreign().apply({"params": merged}, x) ** 2)

    gradient = jax.grad(loss)(adapters)
    assert np.abs(gradient["second"]["lora_b"]).max() > 0  # B moves first: A·0 = 0
    assert not gradient["second"]["lora_a"].any()


@pytest.mark.parametrize(
    ("targets", "rank", "message"),
    [
        ([".*/kernel"], 0, "rank is 0"),
        ([".*/bias"], 2, "matrices named 'kernel'"),
        (["nothing"], 2, "matches none"),
    ],
)
def test_impossible_adapters_are_refused(params, targets, rank, message):
    with pytest.raises(ValueError, match=message):
        lora.init(jax.random.key(0), params, targets, rank=rank)


def test_adapters_of_another_model_are_refused(params):
    other = {"first": {"lora_a": jnp.ones((6, 2)), "lora_b": jnp.ones((2, 7))}}
    with pytest.raises(ValueError, match="another model"):
        lora.merge(params, other, scale=1.0)
