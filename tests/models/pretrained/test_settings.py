"""Weights of the right shapes and another function: what config.json says decides."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from mldg_jax.common.errors import UserError
from mldg_jax.models import front_ends, pretrained, wav2vec2
from mldg_jax.models.pretrained import convert, key_tables, settings, torch_files
from mldg_jax.models.whisper import WhisperEncoder
from tests.models.pretrained import torch_bytes

MODEL = wav2vec2.Wav2Vec2(
    layers=2,
    dim=16,
    heads=4,
    hidden=24,
    channels=(8,) * 7,
    positional_width=8,
    positional_groups=4,
)
SHARED = Path("../shared/cases/files")


@pytest.fixture(scope="module")
def params():
    """Returns random parameters of ``MODEL``."""
    return jax.jit(MODEL.init)(jax.random.key(0), np.zeros((1, 4_000)))["params"]


@pytest.fixture
def checkpoint(tmp_path, params):
    """Writes weights and a config.json with given entries, and returns the folder."""

    def write(**entries):
        state = convert.to_theirs(key_tables.WAV2VEC2_HF, {"params": params})
        save_file(state, tmp_path / "model.safetensors")
        config = json.dumps({**wav2vec2.to_hf(MODEL), **entries})
        (tmp_path / "config.json").write_text(config)
        return str(tmp_path)

    return write


def test_the_same_function_loads(checkpoint, params):
    loaded = pretrained.load(checkpoint(), "wav2vec2", MODEL)
    jax.tree.map(np.testing.assert_array_equal, loaded, params)
    # masks have no effect on scores, and upper layers may be dropped
    folder = checkpoint(mask_time_prob=0.5, layerdrop=0.3)
    pretrained.load(folder, "wav2vec2", MODEL.clone(layers=1))


@pytest.mark.parametrize(
    ("entry", "value", "words"),
    [
        ("do_stable_layer_norm", False, "pre_norm=False there, pre_norm=True here"),
        ("num_attention_heads", 2, "heads=2 there, heads=4 here"),
        ("conv_stride", [5, 2, 2, 2, 2, 2, 1], "strides="),
        ("conv_kernel", [10, 3, 3, 3, 3, 2, 3], "kernels="),
        ("feat_extract_norm", "group", "extractor_norm='group'"),
        ("num_conv_pos_embeddings", 16, "positional_width=16"),
        ("num_conv_pos_embedding_groups", 2, "positional_groups=2"),
        ("layer_norm_eps", 1e-6, "layer_norm_eps is 1e-06"),
        ("hidden_act", "relu", "hidden_act is 'relu'"),
        ("add_adapter", True, "add_adapter is True"),
        ("adapter_attn_dim", 16, "adapter_attn_dim is 16.*facebook/mms-300m"),
        ("model_type", "hubert", "model_type is 'hubert'"),
        ("conv_dim", None, "channels=None"),
    ],
)
def test_another_function_is_refused(checkpoint, entry, value, words):
    with pytest.raises(UserError, match=words) as info:
        pretrained.load(checkpoint(**{entry: value}), "wav2vec2", MODEL)
    assert "config.json" in str(info.value)


def test_all_differences_are_one_report(checkpoint):
    folder = checkpoint(do_stable_layer_norm=False, num_attention_heads=8)
    with pytest.raises(UserError, match=r"heads=8, pre_norm=False there, heads=4, pre"):
        pretrained.load(folder, "wav2vec2", MODEL)


def test_a_damaged_config(checkpoint, tmp_path):
    folder = checkpoint()
    (tmp_path / "config.json").write_text('{"model_type": "wav2v')
    with pytest.raises(UserError, match=r"config\.json is damaged"):
        pretrained.load(folder, "wav2vec2", MODEL)


def test_a_config_of_something_else_is_not_read(checkpoint, tmp_path):
    """A run folder has a config.json too."""
    folder = checkpoint()
    (tmp_path / "config.json").write_text('{"heads": 1000}')
    pretrained.load(folder, "wav2vec2", MODEL)


@pytest.mark.skipif(not SHARED.exists(), reason="needs the cases in ../shared")
def test_the_public_case():
    """huggingface/transformers#28250: it loaded, and was 2.2 off."""
    folder = SHARED / "wav2vec2_postnorm_checkpoint" / "ckpt"
    module = MODEL.clone(
        layers=3, dim=32, hidden=64, channels=(16,) * 7, positional_width=16
    )
    with pytest.raises(UserError, match="pre_norm=False there"):
        pretrained.load(str(folder), "wav2vec2", module)
    pretrained.load(str(folder), "wav2vec2", module.clone(pre_norm=False))


def test_whisper_heads_of_the_wheel():
    """No array has the number of heads in its shape."""
    with pytest.raises(UserError, match="heads=6 there, heads=8 here"):
        pretrained.load("whisper-tiny.en", "whisper", WhisperEncoder(heads=8))


@pytest.mark.parametrize(
    ("entry", "value", "words"),
    [
        ("encoder_attention_heads", 3, "heads=3 there"),
        ("activation_function", "relu", "activation_function is 'relu'"),
        ("max_source_positions", 750, "positions=750"),
    ],
)
def test_whisper(tmp_path, entry, value, words):
    config = {"model_type": "whisper", entry: value}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=words):
        settings.check(tmp_path / "model.bin", "whisper", WhisperEncoder(), {})


@pytest.mark.parametrize(
    ("kind", "entries", "words"),
    [
        ("hubert", {"feat_proj_layer_norm": False}, "normalize_channels=False there"),
        ("hubert", {"conv_pos_batch_norm": True}, "conv_pos_batch_norm is True"),
        ("hubert", {"model_type": "wavlm"}, "model_type is 'wavlm'; it must be 'hub"),
        ("wavlm", {"num_buckets": 160}, "buckets=160 there, buckets=320 here"),
        ("wavlm", {"max_bucket_distance": 9}, "max_distance=9 there"),
        ("wavlm", {"conv_bias": True}, "conv_bias=True there, conv_bias=False here"),
        ("unispeech_sat", {"do_stable_layer_norm": False}, "pre_norm=False there"),
        ("wav2vec2_bert", {"left_max_position_embeddings": 8}, "left=8 there"),
        ("wav2vec2_bert", {"num_attention_heads": 8}, "heads=8 there"),
        ("wav2vec2_bert", {"position_embeddings_type": "rotary"}, "'relative_key'"),
        ("wav2vec2_bert", {"hidden_act": "relu"}, "it must be 'swish'"),
        ("wav2vec2_bert", {"add_adapter": True}, "add_adapter is True; it must be Fal"),
        ("wav2vec2_bert", {"feature_projection_input_dim": 81}, "81; it must be even"),
    ],
)
def test_every_other_front_end(tmp_path, kind, entries, words):
    known = front_ends.KINDS[kind]
    config = known.to_hf(known.module())
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    settings.check(tmp_path / "model.bin", kind, known.module(), {})
    path.write_text(json.dumps(config | entries))
    with pytest.raises(UserError, match=words) as info:
        settings.check(tmp_path / "model.bin", kind, known.module(), {})
    assert "config.json" in str(info.value)


def test_cfg_of_wavlm_is_not_below_model(tmp_path):
    """Microsoft's files have the settings in ``cfg`` itself."""
    module = front_ends.KINDS["wavlm"].module()
    cfg = {"layer_norm_first": True, "num_buckets": 320, "max_distance": 800}
    settings.check(tmp_path / "WavLM-Large.pt", "wavlm", module, cfg)
    with pytest.raises(UserError, match="max_distance=128 there"):
        settings.check(tmp_path / "x.pt", "wavlm", module, cfg | {"max_distance": 128})
    tensor = torch_bytes.tensor(torch_bytes.storage("0", 6))
    program = torch_bytes.program(
        torch_bytes.mapping(
            model=torch_bytes.mapping(mask_emb=tensor),
            cfg=torch_bytes.mapping(num_buckets=torch_bytes.lit(320)),
        )
    )
    path = tmp_path / "WavLM.pt"
    path.write_bytes(torch_bytes.as_zip(program, {"0": np.ones(6, "f4").tobytes()}))
    asked = []
    torch_files.read(path, lambda contents: asked.append(contents.settings) or [])
    assert asked == [{"num_buckets": 320}]


FAIRSEQ = {
    "layer_norm_first": True,
    "extractor_mode": "layer_norm",
    "encoder_attention_heads": 4,
    "conv_feature_layers": "[(8, 10, 5)] + [(8, 3, 2)] * 4 + [(8,2,2)] * 2",
    "conv_bias": True,
    "conv_pos": 8,
    "conv_pos_groups": 4,
    "activation_fn": "gelu",
}


@pytest.mark.parametrize(
    ("entry", "value", "words"),
    [
        ("layer_norm_first", True, None),
        ("layer_norm_first", False, "pre_norm=False"),
        ("extractor_mode", "default", "extractor_norm='group'"),
        ("encoder_attention_heads", 2, "heads=2"),
        ("conv_feature_layers", "[(8, 10, 5)] + [(8, 3, 2)] * 6", "kernels="),
        ("conv_feature_layers", "__import__('os')", "must be a list"),
        ("conv_feature_layers", "[(8, 3, 2)] * 10**9", "must be a list"),
        ("conv_feature_layers", "[1]", "must be a list"),
        ("activation_fn", "relu", "'relu'"),
    ],
)
def test_fairseq_says_it_in_its_checkpoint(tmp_path, params, entry, value, words):
    """The same, from ``cfg.model`` of a file as fairseq writes it."""
    rules = key_tables.WAV2VEC2_FAIRSEQ
    state = convert.to_theirs(rules, {"params": params})
    tensors = {
        name: torch_bytes.tensor(
            torch_bytes.storage(str(i), x.size),
            shape=x.shape,
            stride=tuple(step // 4 for step in x.strides),
        )
        for i, (name, x) in enumerate(state.items())
    }
    model = {k: torch_bytes.lit(v) for k, v in {**FAIRSEQ, entry: value}.items()}
    program = torch_bytes.program(
        torch_bytes.mapping(
            model=torch_bytes.mapping(**tensors),
            cfg=torch_bytes.mapping(model=torch_bytes.mapping(**model)),
        )
    )
    records = {str(i): x.tobytes() for i, x in enumerate(state.values())}
    path = tmp_path / "xlsr.pt"
    path.write_bytes(torch_bytes.as_zip(program, records))
    if words is None:
        loaded = pretrained.load(str(path), "wav2vec2", MODEL)
        jax.tree.map(np.testing.assert_array_equal, loaded, params)
        return
    with pytest.raises(UserError, match=words):
        pretrained.load(str(path), "wav2vec2", MODEL)


def test_a_folder_moved_without_its_config(checkpoint, tmp_path, params):
    """Nothing to compare with: as before."""
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    shutil.copy(Path(checkpoint()) / "model.safetensors", moved)
    loaded = pretrained.load(str(moved), "wav2vec2", MODEL)
    jax.tree.map(np.testing.assert_array_equal, loaded, params)
