"""wav2vec 2.0 against frozen numbers of ``transformers``, in every public shape.

Live parity, also at full size, is in tests/parity.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mldg_jax import lora, models
from mldg_jax.models import positional, pretrained, wav2vec2
from mldg_jax.models.wav2vec2 import Wav2Vec2
from tests.signals import speech_like

GOLDEN = Path(__file__).parents[1] / "golden" / "wav2vec2.npz"
SMALL = {
    "layers": 2,
    "dim": 32,
    "heads": 2,
    "hidden": 48,
    "channels": (16,) * 7,
    "positional_groups": 4,
}
SHAPES = {
    "base": {"conv_bias": False, "extractor_norm": "group", "pre_norm": False},
    "xlsr": {},
    "large": {"conv_bias": False, "pre_norm": False},
}


def small(shape):
    """Returns the module and its variables, loaded from torch names."""
    golden = np.load(GOLDEN)
    prefix = f"{shape}/param/"
    state = {
        k.removeprefix(prefix): golden[k] for k in golden.files if k.startswith(prefix)
    }
    config = SMALL | SHAPES[shape]
    variables = pretrained.from_torch("wav2vec2", state, config)
    return models.build("wav2vec2", config), variables, golden[f"{shape}/states"]


@pytest.mark.parametrize("shape", SHAPES)
def test_every_state_equals_transformers(shape):
    model, variables, expected = small(shape)
    frames, states = model.apply(variables, speech_like(4_000), hidden_states=True)
    assert len(states) == model.layers + 1
    assert frames.shape == (2, model.frame_count(4_000), 32)
    for ours, theirs in zip([*states, frames], expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-5)


@pytest.mark.parametrize("shape", ["xlsr", "large"])
def test_padding_changes_nothing(shape):
    """Each utterance of a batch with mixed lengths gets the output it gets alone."""
    model, variables, _ = small(shape)
    waveform = np.concatenate([speech_like(6_000), speech_like(6_000, seed=1)])
    lengths = np.array([6_000, 4_321, 2_000, 400])
    padded = np.where(np.arange(6_000) < lengths[:, None], waveform, 7.0)
    apply = jax.jit(model.apply)
    together = apply(variables, padded.astype(np.float32), lengths)
    for row, length in enumerate(lengths):
        alone = apply(variables, waveform[row : row + 1, :length])[0]
        assert len(alone) == model.frame_count(length)
        np.testing.assert_allclose(together[row, : len(alone)], alone, atol=1e-5)


def test_normalising_is_per_utterance_and_ignores_padding():
    model, variables, _ = small("xlsr")
    model = model.clone(normalize=True)
    waveform = np.array(speech_like(4_000))
    waveform[1, 3_000:] = 0
    lengths = np.array([4_000, 3_000])
    loud = model.apply(variables, 5 * waveform + 0.25, lengths)
    alone = model.apply(variables, waveform[1:, :3_000])[0]
    np.testing.assert_allclose(loud[1, : len(alone)], alone, atol=1e-4)


def test_masked_frames_hold_the_mask_embedding():
    model, variables, _ = small("xlsr")
    one, other = speech_like(4_000)[:1], speech_like(4_000, seed=5)[:1]
    everything = np.ones((1, model.frame_count(4_000)), bool)
    np.testing.assert_array_equal(
        model.apply(variables, one, masked=everything),
        model.apply(variables, other, masked=everything),
    )


@pytest.mark.parametrize(("frames", "width"), [(5, 8), (12, 8), (1, 16), (49, 128)])
def test_grouped_conv_is_the_convolution(frames, width, float64):
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(2, frames, 12)), rng.normal(size=(width, 4, 12))
    expected = jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(1,),
        padding=[(width // 2, width // 2 - 1)],
        feature_group_count=3,
        dimension_numbers=("NHC", "HIO", "NHC"),
    )
    gain = rng.normal(size=width)
    ours = positional.grouped_conv(
        jnp.asarray(x), jnp.asarray(kernel / gain[:, None, None]), gain, groups=3
    )
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-11)


def test_parameter_counts_of_the_paper():
    """XLS-R 300M, and rank-16 LoRA on q, k, v, out of its 24 layers."""
    audio = jax.ShapeDtypeStruct((1, 16_000), np.float32)
    params = jax.eval_shape(Wav2Vec2().init, jax.random.key(0), audio)["params"]
    assert lora.count(params) == 315_438_720
    adapters = jax.eval_shape(
        lambda key: lora.init(
            key, params, [r".*/attention/(query|key|value|out)/kernel"], rank=16
        ),
        jax.random.key(0),
    )
    assert lora.count(adapters) == 3_145_728
    assert Wav2Vec2().frame_count(64_600) == 201


@pytest.mark.parametrize("shape", SHAPES)
def test_b_zero_is_the_frozen_encoder_bit_for_bit(shape):
    model, variables, _ = small(shape)
    adapters = lora.init(
        jax.random.key(0), variables["params"], [r"layers_.*/kernel"], rank=4
    )
    joined = {"params": lora.join(variables["params"], adapters)}
    np.testing.assert_array_equal(
        model.apply(joined, speech_like(2_000)),
        model.apply(variables, speech_like(2_000)),
    )


def test_merged_adapters_give_the_same_frames():
    model, variables, _ = small("xlsr")
    params = variables["params"]
    adapters = lora.init(jax.random.key(0), params, [r"layers_.*/kernel"], rank=4)
    adapters = jax.tree.map(lambda x: x + 0.3, adapters)
    model = model.clone(lora_scale=0.5)
    factored = model.apply({"params": lora.join(params, adapters)}, speech_like(2_000))
    merged = lora.merge(params, adapters, scale=0.5)
    dense = model.apply({"params": merged}, speech_like(2_000))
    assert np.abs(dense - model.apply(variables, speech_like(2_000))).max() > 0.1
    np.testing.assert_allclose(dense, factored, rtol=0, atol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-6),
        lora.unmerge(merged, adapters, scale=0.5),
        params,
    )


def test_lora_dropout_needs_training_and_follows_its_key():
    model, variables, _ = small("xlsr")
    adapters = lora.init(
        jax.random.key(0), variables["params"], [r".*/query/kernel"], rank=4
    )
    adapters = jax.tree.map(lambda x: x + 0.1, adapters)
    joined = {"params": lora.join(variables["params"], adapters)}

    def frames(rate, key=None):
        rngs = {} if key is None else {"dropout": jax.random.key(key)}
        dropped = model.clone(lora_dropout=rate)
        return dropped.apply(
            joined, speech_like(2_000), train=key is not None, rngs=rngs
        )

    np.testing.assert_array_equal(frames(0.5), frames(0.0))
    np.testing.assert_array_equal(frames(0.5, 1), frames(0.5, 1))
    assert np.abs(frames(0.5, 1) - frames(0.5, 2)).max() > 1e-3


def test_configs_go_there_and_back():
    for shape in SHAPES.values():
        model = Wav2Vec2(**SMALL, **shape)
        assert Wav2Vec2(**wav2vec2.from_hf(wav2vec2.to_hf(model))) == model


@pytest.mark.parametrize(
    "wrong",
    [{"model_type": "hubert"}, {"hidden_act": "relu"}, {"layer_norm_eps": 1e-6}],
)
def test_configs_that_we_do_not_compute_are_refused(wrong):
    with pytest.raises(ValueError, match=r"must|only"):
        wav2vec2.from_hf(wrong)
