"""Key tables: both directions, every name, and what the strict load reports."""

import jax
import ml_dtypes
import numpy as np
import pytest
from flax import traverse_util

from mldg_jax.common.errors import UserError
from mldg_jax.models.hubert import HuBERT
from mldg_jax.models.pretrained import convert, encoder_tables, key_tables
from mldg_jax.models.unispeech_sat import UniSpeechSAT
from mldg_jax.models.wav2vec2 import Wav2Vec2
from mldg_jax.models.wav2vec2_bert import Wav2Vec2Bert
from mldg_jax.models.wavlm import WavLM
from mldg_jax.models.whisper import WhisperEncoder
from tests.models.pretrained.trees import variables_of

TABLES = {
    name: value
    for name, value in (vars(key_tables) | vars(encoder_tables)).items()
    if isinstance(value, convert.Table)
}
HF = key_tables.WAV2VEC2_HF


@pytest.fixture
def ours():
    return variables_of(HF)


def same(found, expected):
    found, expected = (
        traverse_util.flatten_dict(x, sep="/") for x in (found, expected)
    )
    assert found.keys() == expected.keys()
    for path, value in expected.items():
        np.testing.assert_array_equal(found[path], value)


@pytest.mark.parametrize("name", TABLES)
def test_to_ours_undoes_to_theirs(name):
    variables = variables_of(TABLES[name])
    state = convert.to_theirs(TABLES[name], variables)
    assert len(state) == len(jax.tree.leaves(variables))  # no two share a name
    assert all(value.flags.c_contiguous for value in state.values())
    same(convert.to_ours(TABLES[name], state, variables), variables)


@pytest.mark.parametrize(
    ("name", "prefix"),
    [(name, prefix) for name, table in TABLES.items() for prefix in table.prefixes],
)
def test_prefixes_and_what_is_ignored(name, prefix):
    table = TABLES[name]
    variables = variables_of(table)
    state = convert.to_theirs(table, variables)
    state = {f"{prefix}{key}": value for key, value in state.items()}
    state |= {x.replace("*", "weight"): np.zeros(1) for x in table.ignored}
    same(convert.to_ours(table, state, variables), variables)


MODELS = {
    "whisper": (WhisperEncoder(layers=2), ("WHISPER_HF", "WHISPER_CTRANSLATE2")),
    "xls-r": (
        Wav2Vec2(layers=2, dim=64, hidden=96),
        ("WAV2VEC2_HF", "WAV2VEC2_FAIRSEQ"),
    ),
    "base": (
        Wav2Vec2(
            layers=2,
            dim=64,
            hidden=96,
            conv_bias=False,
            extractor_norm="group",
            pre_norm=False,
        ),
        ("WAV2VEC2_HF", "WAV2VEC2_FAIRSEQ"),
    ),
}


SMALL = {"layers": 2, "dim": 64, "hidden": 96}
MODELS |= {
    "hubert": (HuBERT(**SMALL), ("HUBERT_HF", "HUBERT_FAIRSEQ")),
    "wavlm": (WavLM(**SMALL), ("WAVLM_HF", "WAVLM_UNILM")),
    "unispeech-sat": (
        UniSpeechSAT(**SMALL),
        ("UNISPEECH_SAT_HF", "UNISPEECH_SAT_FAIRSEQ"),
    ),
    "w2v-bert": (Wav2Vec2Bert(**SMALL), ("WAV2VEC2_BERT_HF",)),
}


@pytest.mark.parametrize("model", MODELS)
def test_every_parameter_of_the_models_has_a_name(model):
    module, names = MODELS[model]
    speech = jax.ShapeDtypeStruct((1, 16_000), np.float32)
    expected = jax.eval_shape(module.init, jax.random.key(0), speech)
    random = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda x: random.normal(size=x.shape).astype(x.dtype), expected
    )
    for name in names:
        state = convert.to_theirs(TABLES[name], variables)
        same(convert.to_ours(TABLES[name], state, expected), variables)


def test_weight_normalisation_of_old_files(ours):
    """Written with torch's new names, read with either."""
    state = convert.to_theirs(HF, ours)
    new = "encoder.pos_conv_embed.conv.parametrizations.weight.original"
    old = "encoder.pos_conv_embed.conv.weight_"
    gain, direction = state.pop(f"{new}0"), state.pop(f"{new}1")
    assert gain.shape == (1, 1, 9)
    state |= {f"{old}g": gain, f"{old}v": direction}
    same(convert.to_ours(HF, state, ours), ours)


def test_dtypes_become_those_of_the_model(ours):
    state = convert.to_theirs(HF, ours)
    half = {name: value.astype(np.float16) for name, value in state.items()}
    found = convert.to_ours(HF, half, ours)
    assert all(x.dtype == np.float32 for x in jax.tree.leaves(found))
    expected = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, ml_dtypes.bfloat16), ours
    )
    found = convert.to_ours(HF, state, expected)
    assert all(x.dtype == ml_dtypes.bfloat16 for x in jax.tree.leaves(found))


def test_everything_wrong_is_in_one_report(ours):
    state = convert.to_theirs(HF, ours)
    del state["masked_spec_embed"]
    del state["encoder.layers.11.attention.q_proj.weight"]
    state["encoder.layers.0.attention.q_proj.lora"] = np.zeros(3)
    state["encoder.layers.12.attention.q_proj.weight"] = np.zeros((5, 3))
    state["encoder.layers.0.attention.k_proj.weight"] = np.zeros((3, 5))
    state["encoder.layers.0.attention.v_proj.bias"] = np.zeros((6, 1))
    state["feature_extractor.conv_layers.0.conv.weight"] = np.zeros((4, 2))
    with pytest.raises(UserError) as info:
        convert.to_ours(HF, state, ours)
    report = str(info.value)
    assert "2 missing: " in report
    assert "masked_spec_embed" in report
    assert "encoder.layers.11.attention.q_proj.weight" in report
    assert "2 unexpected: " in report
    assert "encoder.layers.0.attention.q_proj.lora" in report
    assert "encoder.layers.12.attention.q_proj.weight" in report
    assert "3 misshapen: " in report
    assert "encoder.layers.0.attention.k_proj.weight (3, 5), expected (5, 3)" in report
    assert "encoder.layers.0.attention.v_proj.bias (6, 1), expected (6,)" in report
    assert "feature_extractor.conv_layers.0.conv.weight (4, 2)" in report


def test_nothing_of_the_model_there(ours):
    with pytest.raises(UserError, match=r"missing: .*1 unexpected: net\.0"):
        convert.to_ours(HF, {"net.0": np.zeros(1)}, ours)


def test_a_leaf_without_a_name():
    with pytest.raises(ValueError, match="params/head/kernel has no name"):
        convert.to_theirs(HF, {"params": {"head": {"kernel": np.zeros((2, 2))}}})
