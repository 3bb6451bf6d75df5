"""Averages of parameters against the authors' code and against their definitions."""

import functools
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mldg_jax import lora
from mldg_jax.models.aasist_blocks import BatchNorm
from mldg_jax.models.layers import LoRADense
from mldg_jax.models.pooling import PoolingHead
from mldg_jax.training import averaging

GOLDEN = Path(__file__).parents[1] / "golden" / "objectives" / "sma.npz"
close = functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-12)


def subtree(golden, prefix):
    return {
        name.removeprefix(prefix): golden[name]
        for name in golden.files
        if name.startswith(prefix)
    }


@pytest.mark.parametrize("kind", ["numpy", "jax"])
@pytest.mark.parametrize("case", ["start1", "start3"])
def test_the_uniform_average_equals_the_authors_code(case, kind, float64):
    update = functools.partial(averaging.update, include_before_start=True)
    convert = np.asarray
    if kind == "jax":
        update, convert = jax.jit(update), jnp.asarray
    with np.load(GOLDEN, allow_pickle=False) as golden:
        start = golden[f"{case}/hparams/sma_start_iter"].item()
        before = subtree(golden, f"{case}/before/")
        state = averaging.init(jax.tree.map(convert, before))
        jax.tree.map(close, state.average, subtree(golden, f"{case}/before_sma/"))
        for t in range(golden[f"{case}/num_steps"].item()):
            after = subtree(golden, f"{case}/step{t}/after/")
            number = golden[f"{case}/step{t}/global_iter"].item()
            state = update(state, jax.tree.map(convert, after), number, start)
            sma = subtree(golden, f"{case}/step{t}/sma/")
            jax.tree.map(close, state.average, sma)
            assert state.count - 1 == golden[f"{case}/step{t}/sma_count"]
            assert {type(x) for x in state.average.values()} == {type(convert(0.0))}
            net = state.average
            x = golden[f"{case}/step{t}/x0"]
            hidden = np.tanh(x @ net["0.weight"].T + net["0.bias"])
            logits = hidden @ net["1.weight"].T + net["1.bias"]
            close(logits, golden[f"{case}/step{t}/sma_logits"])


@pytest.mark.parametrize(("include", "first"), [(False, 3), (True, 2)])
def test_the_uniform_average_is_the_mean_from_its_start_on(include, first):
    iterates = np.random.default_rng(0).normal(size=(8, 5))
    state = averaging.init(iterates[0])
    for n in range(1, 8):
        state = averaging.update(state, iterates[n], n, 3, include_before_start=include)
        close(state.average, iterates[min(n, first) : n + 1].mean(0))
        assert state.count == max(1, n - first + 1)


def test_the_average_from_step_0_of_constant_parameters_is_the_parameters():
    theta = {"a": np.float32([0.1, 0.7, 1e6]), "b": jnp.float32(0.3)}
    state = averaging.init(theta)
    for n in range(1, 20):
        state = averaging.update(state, theta, n, 0)
    jax.tree.map(np.testing.assert_array_equal, state.average, theta)
    assert state.average["a"].dtype == state.average["b"].dtype == np.float32
    assert state.count == 20


def test_the_uniform_average_scans():
    iterates = jnp.arange(6.0)

    def body(state, n):
        return averaging.update(state, iterates[n], n, 2), None

    state, _ = jax.lax.scan(body, averaging.init(iterates[0]), jnp.arange(1, 6))
    assert state.average == 3.5 and state.count == 4


def test_the_initial_average_is_a_copy():
    """Otherwise a step that donates its parameters would destroy the average."""
    theta = np.ones(3)
    state = averaging.init(theta)
    theta[:] = 2
    assert (state.average == 1).all()


def test_weighted_average_is_its_formula():
    values = np.random.default_rng(1).normal(size=(4, 3))
    weights = np.array([0.5, 0.0, 2.0, 1.0])
    trees = [{"x": row, "y": (row[0],)} for row in values]
    averaged = averaging.weighted_average(iter(trees), weights)
    expected = weights @ values / weights.sum()
    close(averaged["x"], expected)
    close(averaged["y"][0], expected[0])


def test_weighted_average_of_equal_trees_is_the_tree():
    tree = {"x": jnp.float32([0.1, 3e7])}
    averaged = averaging.weighted_average([tree] * 7, np.full(7, 1 / 7))
    np.testing.assert_array_equal(averaged["x"], tree["x"])
    assert averaged["x"].dtype == jnp.float32


def test_a_tree_of_weight_0_does_not_matter():
    trees = [np.full(2, np.nan), np.ones(2), np.full(2, np.nan)]
    assert (averaging.weighted_average(trees, [0, 0.1, 0]) == 1).all()


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1], "shorter"),
        ([0, 0], "at least one"),
        ([1, -1], "a weight is -1"),
        ([1, float("nan")], "a weight is nan"),
    ],
)
def test_impossible_weights_are_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        averaging.weighted_average([np.ones(1), np.ones(1)], weights)


def runs(ranks=(2, 2, 2)):
    """Returns frozen parameters and the trained ones of several runs."""
    rng = np.random.default_rng(2)
    frozen = {"layer": {"kernel": rng.normal(size=(5, 4)), "bias": rng.normal(size=4)}}
    trainables = [
        {
            "layer": {
                lora.A: rng.normal(size=(5, rank)),
                lora.B: rng.normal(size=(rank, 4)),
            },
            "head": {"kernel": rng.normal(size=(4, 2))},
        }
        for rank in ranks
    ]
    return frozen, trainables


def adapters(trainable):
    return {"layer": trainable["layer"]}


def merged(frozen, trainable, scale):
    return lora.merge(frozen, adapters(trainable), scale=scale)["layer"]["kernel"]


@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize("ranks", [(2, 2, 2), (1, 3)])
def test_the_average_of_runs_is_the_average_of_the_merged_kernels(ranks, scale):
    frozen, trainables = runs(ranks)
    scales = [0.5, 2.0, 4.0][: len(ranks)]
    averaged = averaging.average_runs(trainables, scales, scale=scale)
    kernels = [merged(frozen, *run) for run in zip(trainables, scales, strict=True)]
    close(merged(frozen, averaged, scale), np.mean(kernels, axis=0))
    heads = [x["head"]["kernel"] for x in trainables]
    close(averaged["head"]["kernel"], np.mean(heads, axis=0))
    assert averaged["layer"][lora.A].shape == (5, sum(ranks))
    assert isinstance(averaged["layer"][lora.A], np.ndarray)


def test_averaging_factors_is_another_model():
    frozen, trainables = runs()
    averaged = averaging.average_runs(trainables, [1.0] * 3)
    factors = averaging.weighted_average(trainables, [1.0] * 3)
    difference = merged(frozen, averaged, 1.0) - merged(frozen, factors, 1.0)
    assert np.abs(difference).max() > 0.1


@pytest.mark.parametrize("name", [lora.A, lora.B])
def test_averaging_factors_is_the_same_model_if_runs_share_one(name):
    frozen, trainables = runs()
    for trainable in trainables:
        trainable["layer"][name] = trainables[0]["layer"][name]
    averaged = averaging.average_runs(trainables, [1.0] * 3)
    factors = averaging.weighted_average(trainables, [1.0] * 3)
    close(merged(frozen, averaged, 1.0), merged(frozen, factors, 1.0))


def test_the_average_does_not_depend_on_the_basis_of_a_run():
    """A @ R, R⁻¹ @ B is the same run; averaging factors would notice."""
    frozen, trainables = runs()
    before = merged(frozen, averaging.average_runs(trainables, [1.0] * 3), 1.0)
    rotation = np.array([[0.0, 2.0], [-1.0, 3.0]])
    layer = trainables[1]["layer"]
    layer[lora.A] = layer[lora.A] @ rotation
    layer[lora.B] = np.linalg.solve(rotation, layer[lora.B])
    after = merged(frozen, averaging.average_runs(trainables, [1.0] * 3), 1.0)
    close(before, after)


@pytest.mark.parametrize("number", [1, 4])
def test_the_average_of_equal_runs_is_the_run(number):
    frozen, (run, *_) = runs()
    averaged = averaging.average_runs([run] * number, [0.7] * number, scale=0.7)
    close(merged(frozen, averaged, 0.7), merged(frozen, run, 0.7))
    np.testing.assert_array_equal(averaged["head"]["kernel"], run["head"]["kernel"])


def test_layers_with_adapters_take_the_average(float64):
    frozen, trainables = runs()
    averaged = averaging.average_runs(trainables, [2.0] * 3, scale=2.0)
    x = np.random.default_rng(3).normal(size=(3, 5))
    params = lora.join(frozen, adapters(averaged))["layer"]
    layer = LoRADense(4, lora_scale=2.0)
    expected = x @ merged(frozen, averaged, 2.0) + frozen["layer"]["bias"]
    close(layer.apply({"params": params}, x), expected)


def test_runs_that_do_not_fit_are_refused():
    _, trainables = runs()
    with pytest.raises(ValueError, match="2 scales"):
        averaging.average_runs(trainables, [1.0, 1.0])
    with pytest.raises(ValueError, match="0 runs"):
        averaging.average_runs([], [])
    with pytest.raises(ValueError, match="a scale of 0"):
        averaging.average_runs(trainables, [1.0] * 3, scale=0.0)
    del trainables[1]["head"]
    with pytest.raises(ValueError, match="head/kernel"):
        averaging.average_runs(trainables, [1.0] * 3)


class Normalised(nn.Module):
    """Two BatchNorms, the second behind the first, and a constant that is neither."""

    @nn.compact
    def __call__(self, x, train=False):
        constant = self.variable("batch_stats", "constant", jnp.ones, 3).value
        x = nn.tanh(BatchNorm(name="first")(x * constant, train))
        return BatchNorm(name="second")(x, train)


def normalised(dtype, old):
    """Returns a model's update of statistics, variables and batches."""
    batches = np.random.default_rng(4).normal(size=(4, 8, 3)) * [1, 2, 0.1] + [0, 5, 9]
    model = Normalised()
    variables = model.init(jax.random.key(0), jnp.asarray(batches[0], dtype))
    stats = jax.tree.map(lambda x: jnp.full_like(x, old), variables["batch_stats"])
    stats["constant"] = jnp.asarray([1.0, 0.5, 0.1], dtype)

    @jax.jit
    def update_stats(params, batch_stats, batch):
        model_variables = {"params": params, "batch_stats": batch_stats}
        options = {"train": True, "mutable": ["batch_stats"]}
        return model.apply(model_variables, batch, **options)[1]["batch_stats"]

    return update_stats, variables["params"], stats, jnp.asarray(batches, dtype)


def by_hand(constant, batches):
    """Returns the mean over batches of their statistics, computed with NumPy."""
    x = np.asarray(batches, np.float64) * np.asarray(constant, np.float64)
    mean, var = x.mean(1), x.var(1)
    y = np.tanh((x - mean[:, None]) / np.sqrt(var[:, None] + 1e-5))
    unbiased = 8 / 7
    return {
        "first": {"mean": mean.mean(0), "var": var.mean(0) * unbiased},
        "second": {"mean": y.mean(1).mean(0), "var": y.var(1).mean(0) * unbiased},
        "constant": constant,
    }


@pytest.mark.parametrize("old", [0.0, 1.0, 20.0])
def test_batch_stats_are_the_mean_over_batches(old, float64):
    update_stats, params, stats, batches = normalised(jnp.float64, old)
    measured = averaging.batch_stats_of(
        update_stats, params, stats, batches, momentum=0.9
    )
    jax.tree.map(close, measured, by_hand(stats["constant"], batches))
    np.testing.assert_array_equal(measured["constant"], stats["constant"])


def test_far_old_statistics_leave_no_rounding_error():
    update_stats, params, stats, batches = normalised(jnp.float32, 1e6)
    measured = averaging.batch_stats_of(
        update_stats, params, stats, batches, momentum=0.9
    )
    expected = by_hand(stats["constant"], batches)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5),
        measured,
        expected,
    )


def test_a_head_without_running_statistics_keeps_its_own():
    hidden = [jnp.ones((2, 3, 4))]
    head = PoolingHead(dim=2)
    variables = head.init(jax.random.key(0), hidden)
    stats = jax.tree.map(lambda x: x + 0.3, variables["batch_stats"])

    def update_stats(params, batch_stats, batch):
        model_variables = {"params": params, "batch_stats": batch_stats}
        options = {"train": True, "mutable": ["batch_stats"]}
        return head.apply(model_variables, batch, **options)[1]["batch_stats"]

    measured = averaging.batch_stats_of(
        update_stats, variables["params"], stats, [hidden] * 3, momentum=0.9
    )
    jax.tree.map(np.testing.assert_array_equal, measured, stats)


def test_no_batches_and_impossible_momenta_are_refused():
    with pytest.raises(ValueError, match="no batches"):
        averaging.batch_stats_of(lambda p, s, b: s, {}, {}, [], momentum=0.9)
    with pytest.raises(ValueError, match="momentum is 1"):
        averaging.batch_stats_of(lambda p, s, b: s, {}, {}, [1], momentum=1.0)
