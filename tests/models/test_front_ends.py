"""What every front-end of this package can do, on tiny shapes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mldg_jax import lora, models
from mldg_jax.models import front_ends, split
from mldg_jax.models.split import adapter_targets
from mldg_jax.training.tpu_plan.flops import count_flops

SMALL = {"layers": 2, "dim": 16, "heads": 2, "hidden": 24}
CONVOLUTIONS = {"channels": (8,) * 7, "positional_width": 8, "positional_groups": 4}
SHAPES = {
    "whisper": {"positions": 60},
    "wav2vec2": CONVOLUTIONS,
    "hubert": CONVOLUTIONS,
    "wavlm": CONVOLUTIONS | {"buckets": 8, "max_distance": 6},
    "unispeech_sat": CONVOLUTIONS,
    "wav2vec2_bert": {"mels": 6, "taps": 3, "left": 3, "right": 2},
}
FRAMES = 7
OLDER = ("whisper", "wav2vec2")
every = pytest.mark.parametrize("kind", front_ends.KINDS)
# tests/test_whole_detector.py and tests/training have the others.
newer = pytest.mark.parametrize("kind", [x for x in SHAPES if x not in OLDER])


def draw(seed, tree):
    """Returns random float32 arrays of the shapes of a tree."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda x: (0.3 * rng.normal(size=x.shape)).astype(np.float32), tree
    )


@functools.cache
def small(kind):
    """Returns a module, random parameters, adapters of every target, and frames."""
    module = models.build(kind, SMALL | SHAPES[kind]).clone(lora_scale=0.5)
    audio = jax.ShapeDtypeStruct((1, 2_000), np.float32)
    params = draw(0, jax.eval_shape(module.init, jax.random.key(0), audio)["params"])
    pattern = adapter_targets(split.PROJECTIONS + split.FEED_FORWARD)
    adapters = lora.init(jax.random.key(1), {"frontend": params}, [pattern], rank=2)
    frames = draw(2, jax.ShapeDtypeStruct((4, FRAMES, 16), np.float32))
    return module, params, draw(1, adapters["frontend"]), 3 * frames


def test_every_kind_is_here():
    assert SHAPES.keys() == front_ends.KINDS.keys()


@every
def test_configs_go_there_and_back(kind):
    module, known = models.build(kind, SMALL | SHAPES[kind]), front_ends.KINDS[kind]
    config = known.to_hf(module)
    assert known.module(**known.from_hf(config)) == module
    assert models.build(kind, config) == module
    with pytest.raises(ValueError, match="model_type is 'bert'"):
        known.from_hf({**config, "model_type": "bert"})


@every
def test_adapters_are_in_every_projection(kind):
    _, _, adapters, _ = small(kind)
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(adapters)]
    owners = {"/".join(part.key for part in path[1:-1]) for path in paths}
    first = {"first_mlp_in", "first_mlp_out"} if kind == "wav2vec2_bert" else set()
    attention = {f"attention/{name}" for name in split.PROJECTIONS}
    assert owners == attention | set(split.FEED_FORWARD) | first


@newer
def test_ways_to_compute(kind):
    """Merged adapters, scanned layers and bfloat16 give the same states."""
    module, params, adapters, frames = small(kind)

    @jax.jit
    def states(params, adapters, frames):
        joined = lora.join(params, adapters)
        merged = lora.merge(params, adapters, scale=0.5)
        half = frames.astype(jnp.bfloat16)
        return [
            module.clone(**way).apply({"params": tree}, x, hidden_states=True)[1]
            for way, tree, x in [
                ({}, params, frames),
                ({}, joined, frames),
                ({}, merged, frames),
                ({"scan": True, "remat": True}, joined, frames),
                ({"dtype": jnp.bfloat16}, joined, half),
            ]
        ]

    frozen, factored, merged, scanned, rounded = states(params, adapters, frames)
    assert len(frozen) == module.layers + 1
    assert np.abs(frozen[-1] - factored[-1]).max() > 0.01
    for layer in range(1, module.layers + 1):
        expected = factored[layer]
        np.testing.assert_allclose(merged[layer], expected, rtol=0, atol=2e-5)
        np.testing.assert_allclose(scanned[layer], expected, rtol=0, atol=2e-5)
        assert rounded[layer].dtype == jnp.bfloat16
        error = np.abs(expected - rounded[layer].astype(np.float32)).max()
        assert 0 < error < 0.05 * np.abs(expected).max()


@newer
def test_second_order_gradient(kind, float64):
    """MLDG of second order against differences of its objective."""
    module, params, adapters, frames = jax.tree.map(
        lambda x: x.astype(float) if isinstance(x, np.ndarray) else x, small(kind)
    )
    module = module.clone(layers=1, scan=True, remat=True)
    adapters = {"layers_0": adapters["layers_0"]}

    def loss(adapters, frames):
        joined = {"params": lora.join(params, adapters)}
        return jnp.tanh(module.apply(joined, frames)).var()

    def objective(adapters):
        inner = jax.grad(loss)(adapters, frames[:2])
        moved = jax.tree.map(lambda x, g: x - 0.5 * g, adapters, inner)
        return loss(adapters, frames[:2]) + loss(moved, frames[2:])

    rng = np.random.default_rng(0)
    direction = jax.tree.map(lambda x: rng.normal(size=x.shape), adapters)
    evaluate = jax.jit(jax.value_and_grad(objective))
    _, gradient = evaluate(adapters)
    products = jax.tree.map(lambda g, d: (g * d).sum(), gradient, direction)
    slope = float(sum(jax.tree.leaves(products)))

    def at(step):
        moved = jax.tree.map(lambda x, d: x + step * d, adapters, direction)
        return float(evaluate(moved)[0])

    assert abs(slope) > 1e-5
    assert slope == pytest.approx((at(1e-4) - at(-1e-4)) / 2e-4, rel=1e-5)


def flops(kind):
    """Counts the operations of one layer on a batch of four."""
    module, params, _, frames = small(kind)
    module = module.clone(layers=1)
    program = jax.make_jaxpr(module.apply)({"params": params}, frames)
    return count_flops(program, "tpu")


def test_what_plan_counts():
    """By hand: products of rows × inputs × outputs, two operations each."""
    rows, dim, hidden, heads = 4 * FRAMES, 16, 24, 2
    attention = 4 * rows * dim * dim + 2 * rows * FRAMES * dim
    blocks = attention + 2 * rows * dim * hidden
    assert flops("hubert") == flops("wav2vec2") == 2 * blocks
    gate = rows * dim * 2  # of every head's part: all channels, two outputs
    assert flops("wavlm") == 2 * (blocks + gate)
    distances = rows * dim * 6
    convolution = 3 * rows * dim * dim + _taps(FRAMES, 3) * 4 * dim
    conformer = attention + distances + 4 * rows * dim * hidden + convolution
    assert flops("wav2vec2_bert") == 2 * conformer
    assert heads * 8 == dim


def _taps(frames, taps):
    """Returns the products of a causal convolution that meet an input."""
    return sum(min(taps, t + 1) for t in range(frames))
