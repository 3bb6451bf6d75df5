"""Tests that exports load in ``peft`` and ``transformers`` and give the same frames."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mldg_jax import lora
from mldg_jax.models import wav2vec2
from mldg_jax.models.pretrained import convert, key_tables, torch_export, torch_files
from tests.signals import speech_like

pytestmark = [
    pytest.mark.parity,
    # peft 0.21 reads it from transformers 5.23
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated"),
]

RANK, ALPHA = 4, 6
SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
XLSR = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
# attention only; the feed-forward of one layer and the feature projection
TARGETS = {
    "attention": [r"layers_\d+/attention/(query|key|value|out)/kernel"],
    "other": [r"layers_1/mlp_(in|out)/kernel", "projection/kernel"],
}


@pytest.fixture(params=["xls-r", "base"])
def encoder(request):
    """Returns ``(torch model, our model, our variables)`` with random weights."""
    import torch
    import transformers

    torch.manual_seed(0)
    settings = SMALL | (XLSR if request.param == "xls-r" else {})
    theirs = transformers.Wav2Vec2Model(transformers.Wav2Vec2Config(**settings)).eval()
    ours = wav2vec2.Wav2Vec2(**wav2vec2.from_hf(theirs.config.to_dict()))
    waveform = jax.ShapeDtypeStruct((1, 16_000), np.float32)
    expected = jax.eval_shape(ours.init, jax.random.key(0), waveform)
    state = {name: value.numpy() for name, value in theirs.state_dict().items()}
    return theirs, ours, convert.to_ours(key_tables.WAV2VEC2_HF, state, expected)


def random_adapters(params, targets):
    """Returns adapters with random A and B; with B = 0 they would have no effect."""
    adapters = lora.init(jax.random.key(1), params, targets, rank=RANK)
    leaves, structure = jax.tree.flatten(adapters)
    keys = jax.random.split(jax.random.key(2), len(leaves))
    noise = [
        0.3 * jax.random.normal(k, x.shape) for k, x in zip(keys, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, noise)


def frames(model, waveform):
    """Returns the frames (batch, frames, dim) of a torch model."""
    import torch

    with torch.inference_mode():
        return model(torch.tensor(waveform)).last_hidden_state.numpy()


def write(adapters, table, folder, use_rslora, prefix=""):
    """Exports adapters, checks them by reading them back and returns the scale."""
    torch_export.peft(
        adapters,
        table,
        rank=RANK,
        alpha=ALPHA,
        base_model="random",
        folder=folder,
        use_rslora=use_rslora,
        prefix=prefix,
    )
    loaded, rank, scale = torch_export.read_peft(folder, table)
    jax.tree.map(np.testing.assert_array_equal, loaded, adapters)
    assert rank == RANK
    return scale


@pytest.mark.parametrize("use_rslora", [False, True])
@pytest.mark.parametrize("targets", TARGETS)
def test_peft_loads_our_adapters(encoder, tmp_path, targets, use_rslora):
    import peft

    theirs, ours, variables = encoder
    adapters = random_adapters(variables["params"], TARGETS[targets])
    scale = write(adapters, key_tables.WAV2VEC2_HF, tmp_path, use_rslora)
    assert scale == pytest.approx(ALPHA / (RANK**0.5 if use_rslora else RANK))

    waveform = speech_like(8_000)
    plain = frames(theirs, waveform)
    adapted = peft.PeftModel.from_pretrained(theirs, tmp_path).eval()
    layers = [name for name, _ in adapted.named_modules() if name.endswith(".lora_A")]
    assert len(layers) == len(jax.tree.leaves(adapters)) // 2
    peft_frames = frames(adapted, waveform)
    merged = lora.merge(variables["params"], adapters, scale=scale)
    expected = ours.apply({"params": merged}, jnp.asarray(waveform))
    assert np.abs(peft_frames - plain).max() > 0.1
    np.testing.assert_allclose(peft_frames, expected, rtol=0, atol=2e-5)


def test_peft_on_whisper(tmp_path):
    """Compares adapters merged by us and loaded strictly with those merged by peft."""
    import peft
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.WhisperConfig(
        d_model=32,
        encoder_layers=2,
        encoder_attention_heads=4,
        encoder_ffn_dim=48,
        max_source_positions=20,
    )
    kind = transformers.models.whisper.modeling_whisper.WhisperEncoder
    theirs = kind(config).eval()
    state = {name: value.numpy() for name, value in theirs.state_dict().items()}
    from mldg_jax.models.whisper import WhisperEncoder

    ours = WhisperEncoder(layers=2, dim=32, heads=4, hidden=48, positions=20)
    waveform = jax.ShapeDtypeStruct((1, 6_400), np.float32)
    expected = jax.eval_shape(ours.init, jax.random.key(0), waveform)
    params = convert.to_ours(key_tables.WHISPER_HF, state, expected)["params"]

    adapters = random_adapters(params, TARGETS["attention"])
    scale = write(adapters, key_tables.WHISPER_HF, tmp_path / "peft", False)
    merged = {"params": lora.merge(params, adapters, scale=scale)}
    torch_export.hf(merged, key_tables.WHISPER_HF, config.to_dict(), tmp_path / "hf")
    whole, loading = kind.from_pretrained(tmp_path / "hf", output_loading_info=True)
    assert not any(loading.values())

    mel = np.random.default_rng(0).normal(size=(2, 80, 40)).astype(np.float32)
    plain = frames(theirs, mel)
    adapted = peft.PeftModel.from_pretrained(theirs, tmp_path / "peft").eval()
    np.testing.assert_allclose(frames(adapted, mel), frames(whole, mel), atol=2e-5)
    assert np.abs(frames(adapted, mel) - plain).max() > 0.1


@pytest.mark.parametrize("name", ["WhisperModel", "WhisperForAudioClassification"])
def test_peft_on_whole_whisper(tmp_path, name):
    """As most load it, by AutoModel: the adapters reach the encoder and it alone."""
    import peft
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.WhisperConfig(
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        max_source_positions=20,
    )
    theirs = getattr(transformers, name)(config).eval()
    from mldg_jax.models.whisper import WhisperEncoder

    ours = WhisperEncoder(layers=2, dim=32, heads=4, hidden=48, positions=20)
    waveform = jax.ShapeDtypeStruct((1, 6_400), np.float32)
    expected = jax.eval_shape(ours.init, jax.random.key(0), waveform)
    # the prefix "encoder." of the names is found, and the decoder left out
    state = {k: v.numpy().copy() for k, v in theirs.state_dict().items()}
    params = convert.to_ours(key_tables.WHISPER_HF, state, expected)["params"]
    adapters = random_adapters(params, TARGETS["attention"])
    scale = write(adapters, key_tables.WHISPER_HF, tmp_path, False, "encoder.")

    adapted = peft.PeftModel.from_pretrained(theirs, tmp_path).merge_and_unload()
    merged = {"params": lora.merge(params, adapters, scale=scale)}
    wanted = convert.to_theirs(key_tables.WHISPER_HF, merged)
    changed = 0
    for key, value in adapted.state_dict().items():
        encoder = wanted.get(key.removeprefix("encoder."))
        np.testing.assert_allclose(
            value.numpy(), state[key] if encoder is None else encoder, atol=1e-6
        )
        changed += not np.array_equal(value.numpy(), state[key])
    assert changed == len(jax.tree.leaves(adapters)) // 2


def test_we_read_what_peft_writes(encoder, tmp_path):
    import peft
    import torch

    theirs, ours, variables = encoder
    settings = peft.LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=["q_proj"])
    model = peft.get_peft_model(theirs, settings).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.3)
    model.save_pretrained(tmp_path)
    adapters, rank, scale = torch_export.read_peft(tmp_path, key_tables.WAV2VEC2_HF)
    assert (rank, scale) == (RANK, ALPHA / RANK)
    merged = {"params": lora.merge(variables["params"], adapters, scale=scale)}
    waveform = speech_like(8_000)
    our_frames = ours.apply(merged, jnp.asarray(waveform))
    np.testing.assert_allclose(our_frames, frames(model, waveform), rtol=0, atol=2e-5)


def test_transformers_loads_our_encoder_strictly(encoder, tmp_path):
    import transformers

    _, ours, variables = encoder
    adapters = random_adapters(variables["params"], TARGETS["attention"])
    merged = {"params": lora.merge(variables["params"], adapters, scale=0.5)}
    config = wav2vec2.to_hf(ours)
    torch_export.hf(merged, key_tables.WAV2VEC2_HF, config, tmp_path)
    model, loading = transformers.Wav2Vec2Model.from_pretrained(
        tmp_path, output_loading_info=True
    )
    assert not any(loading.values()), loading
    waveform = speech_like(8_000)
    expected = ours.apply(merged, jnp.asarray(waveform))
    np.testing.assert_allclose(
        frames(model.eval(), waveform), expected, rtol=0, atol=2e-5
    )
    # and back again, from the files that transformers writes
    model.save_pretrained(tmp_path / "again")
    state = torch_files.read(tmp_path / "again")
    restored = convert.to_ours(key_tables.WAV2VEC2_HF, state, merged)
    jax.tree.map(np.testing.assert_array_equal, restored, merged)
