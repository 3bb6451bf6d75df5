"""Exports and the way back; that torch loads them is in tests/parity."""

import json

import jax
import numpy as np
import pytest
from flax import traverse_util
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from mldg_jax import lora
from mldg_jax.common.errors import UserError
from mldg_jax.common.files import replacing
from mldg_jax.models.pretrained import convert, key_tables, torch_export, torch_files
from tests.models.pretrained.trees import variables_of

HF = key_tables.WAV2VEC2_HF
ATTENTION = r"layers_\d+/attention/(query|value)/kernel"
QUERY = "base_model.model.encoder.layers.11.attention.q_proj"


@pytest.fixture
def adapters():
    params = variables_of(HF)["params"]
    fresh = lora.init(jax.random.key(0), params, [ATTENTION], rank=2)
    return jax.tree.map(lambda x: x + 1, fresh)


@pytest.fixture
def folder(tmp_path, adapters):
    """An exported adapter."""
    torch_export.peft(
        adapters, HF, rank=2, alpha=8, base_model="owner/name", folder=tmp_path / "a"
    )
    return tmp_path / "a"


def change(folder, **settings):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def test_names_and_layout_of_peft(folder, adapters):
    state = load_file(folder / "adapter_model.safetensors")
    assert len(state) == 8
    query = adapters["layers_11"]["attention"]["query"]
    assert state[f"{QUERY}.lora_A.weight"].shape == (2, 3)
    assert state[f"{QUERY}.lora_B.weight"].shape == (5, 2)
    np.testing.assert_array_equal(state[f"{QUERY}.lora_A.weight"], query["lora_a"].T)
    np.testing.assert_array_equal(state[f"{QUERY}.lora_B.weight"], query["lora_b"].T)
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["target_modules"] == [
        f"encoder.layers.{layer}.attention.{name}_proj"
        for layer in (0, 11)
        for name in ("q", "v")
    ]
    assert (config["r"], config["lora_alpha"]) == (2, 8)
    assert config["base_model_name_or_path"] == "owner/name"
    assert sorted(p.name for p in folder.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]


@pytest.mark.parametrize(("use_rslora", "scale"), [(False, 4), (True, 8 / 2**0.5)])
@pytest.mark.parametrize("prefix", ["", "wav2vec2."])
def test_read_back(tmp_path, adapters, use_rslora, scale, prefix):
    torch_export.peft(
        adapters,
        HF,
        rank=2,
        alpha=8,
        base_model="x",
        folder=tmp_path,
        use_rslora=use_rslora,
    )
    path = tmp_path / "adapter_model.safetensors"
    head = "base_model.model."
    state = {k.replace(head, head + prefix): v for k, v in load_file(path).items()}
    save_file(state, path)
    found, rank, found_scale = torch_export.read_peft(tmp_path, HF)
    assert (rank, found_scale) == (2, pytest.approx(scale))
    assert jax.tree.structure(found) == jax.tree.structure(adapters)
    jax.tree.map(np.testing.assert_array_equal, found, adapters)


def test_adapters_that_cannot_be_written(tmp_path, adapters):
    def write(adapters, rank=2):
        torch_export.peft(
            adapters, HF, rank=rank, alpha=1, base_model="", folder=tmp_path / "x"
        )

    with pytest.raises(ValueError, match=r"q_proj has rank \(2, 2\), expected 3"):
        write(adapters, rank=3)
    with pytest.raises(ValueError, match="there are no adapters"):
        write({})
    with pytest.raises(ValueError, match=r"params/encoder/layers_0/.* has no name"):
        write({"encoder": adapters})
    del adapters["layers_0"]["attention"]["query"]["lora_a"]
    with pytest.raises(ValueError, match=r"both factors: .*layers\.0\.attention\.q_p"):
        write(adapters)
    assert not (tmp_path / "x").exists()


SETTINGS = {
    "IA3": {"peft_type": "IA3"},
    "DoRA": {"use_dora": True},
    "ranks": {"rank_pattern": {"q_proj": 4}},
    "bias": {"bias": "lora_only"},
    "head": {"modules_to_save": ["classifier"]},
    "PiSSA": {"init_lora_weights": "pissa"},
    "rank": {"r": 0},
}


@pytest.mark.parametrize("what", SETTINGS)
def test_settings_that_would_be_computed_differently(folder, what):
    change(folder, **SETTINGS[what])
    with pytest.raises(UserError, match=r"only plain LoRA of one rank") as info:
        torch_export.read_peft(folder, HF)
    name = next(iter(SETTINGS[what]))
    assert f"{'rank' if name == 'r' else name}" in str(info.value)


def test_empty_settings_are_none(folder):
    change(folder, rank_pattern={}, modules_to_save=None, layer_replication=[])
    assert torch_export.read_peft(folder, HF)[1] == 2


def test_everything_that_does_not_fit(folder):
    path = folder / "adapter_model.safetensors"
    state = load_file(path)
    state[f"{QUERY}.lora_A.weight"] = np.zeros((3, 3), np.float32)
    state["base_model.model.classifier.weight"] = np.zeros((2, 2), np.float32)
    state["base_model.model.lm.lora_A.weight"] = np.zeros((2, 2), np.float32)
    save_file(state, path)
    with pytest.raises(UserError) as info:
        torch_export.read_peft(folder, HF)
    for part in ("classifier.weight (2, 2)", "q_proj, rank 3", "lm, rank 2", "one fac"):
        assert part in str(info.value)


def test_no_adapter_there(tmp_path, folder):
    with pytest.raises(UserError, match=r"has no adapter_config\.json"):
        torch_export.read_peft(tmp_path, HF)
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(UserError, match=r"adapter_model\.bin does not exist"):
        torch_export.read_peft(folder, HF)
    (folder / "adapter_config.json").write_text("[]")
    with pytest.raises(UserError, match="not a valid peft configuration"):
        torch_export.read_peft(folder, HF)


def test_encoder_read_back(tmp_path):
    variables = variables_of(HF)
    torch_export.hf(variables, HF, {"model_type": "wav2vec2"}, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text()) == {
        "model_type": "wav2vec2"
    }
    with safe_open(tmp_path / "model.safetensors", "numpy") as file:
        assert file.metadata() == {"format": "pt"}
    state = torch_files.read(tmp_path)
    found = convert.to_ours(HF, state, variables)
    jax.tree.map(np.testing.assert_array_equal, found, variables)


def test_an_encoder_with_adapters_is_not_exported(tmp_path, adapters):
    variables = {"params": lora.join(variables_of(HF)["params"], adapters)}
    with pytest.raises(ValueError, match="lora_a has no name"):
        torch_export.hf(variables, HF, {}, tmp_path)


def test_half_precision_is_written_as_float32(tmp_path):
    flat = traverse_util.flatten_dict(variables_of(HF))
    half = {path: jax.numpy.asarray(x, "bfloat16") for path, x in flat.items()}
    torch_export.hf(traverse_util.unflatten_dict(half), HF, {}, tmp_path)
    assert {x.dtype for x in torch_files.read(tmp_path).values()} == {
        np.dtype("float32")
    }


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "new" / "file"
    with replacing(path) as part:
        part.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as part:
        part.write_text("half of")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]
