"""Tests w2v-BERT 2.0 against ``transformers`` with random weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from mldg_jax import lora, models
from mldg_jax.models import kaldi_features, pretrained, split, wav2vec2_bert
from tests.signals import speech_like

pytestmark = [
    pytest.mark.parity,
    # peft 0.21 reads it from transformers 5.23
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated"),
]
BOUNDS = {"float32": 2e-5, "float64": 1e-9}


def load(dtype="float32", **options):
    """Returns torch's model, ours and its variables."""
    from tests.parity import wav2vec2, wav2vec2_bert

    theirs = wav2vec2_bert.model(**wav2vec2_bert.SMALL | options)
    config = theirs.config.to_dict()
    ours = models.build("wav2vec2_bert", config)
    state = wav2vec2.state(theirs)
    variables = pretrained.from_torch("wav2vec2_bert", state, config)
    if dtype == "float64":
        theirs = theirs.double()
    return theirs, ours, jax.tree.map(lambda x: x.astype(dtype), variables)


@pytest.mark.parametrize("samples", [560, 8_000, 16_161])
def test_input_of_the_feature_extractor(samples):
    from tests.parity import wav2vec2_bert as reference

    waveform = speech_like(samples)
    expected, mask = reference.features(list(waveform))
    frames = mask.sum(1)[0]
    # The variance of two frames can be small, and theirs are rounded to float32 before.
    exact = 1e-5 if samples > 560 else 1e-3
    for dtype, bound in (("float32", 1e-4), ("float64", exact)):
        with jax.enable_x64(dtype == "float64"):
            ours = np.asarray(kaldi_features.log_mel(jnp.asarray(waveform, dtype)))
        assert ours.shape == (2, frames, 160)
        error = np.abs(ours - expected[:, :frames]).max()
        print(f"log-mel, {samples} samples, {dtype}: largest difference {error:.1e}")
        assert error <= bound


@pytest.mark.parametrize("samples", [1_200, 16_000])
@pytest.mark.parametrize("dtype", BOUNDS)
def test_every_hidden_state(dtype, samples, monkeypatch):
    """On the extractor's numbers; the test above compares them with ours."""
    from tests.parity import wav2vec2_bert as reference

    waveform = speech_like(samples)
    mel, mask = reference.features(list(waveform))
    mel = mel[:, : mask.sum(1)[0]].astype(dtype)
    monkeypatch.setattr(wav2vec2_bert, "log_mel", lambda *_: jnp.asarray(mel))
    with jax.enable_x64(dtype == "float64"):
        theirs, model, variables = load(dtype)
        apply = jax.jit(lambda v, x: model.apply(v, x, hidden_states=True))
        frames, states = apply(variables, waveform)
        outputs = [np.asarray(x) for x in (*states, frames)]
    expected = reference.hidden_states(theirs, mel)
    assert len(expected) == len(outputs) == model.layers + 2
    errors = [
        float(np.abs(ours - their).max())
        for ours, their in zip(outputs, expected, strict=True)
    ]
    print(f"w2v-BERT, {samples}, {dtype}: largest difference {max(errors):.1e}")
    assert max(errors) <= BOUNDS[dtype]


def test_padded_batch(monkeypatch, float64):
    from tests.parity import wav2vec2_bert as reference

    lengths = np.array([8_000, 4_960, 3_000])
    waveforms = [speech_like(n, seed=i)[0] for i, n in enumerate(lengths)]
    mel, mask = reference.features(waveforms)
    mel = mel.astype(float)
    padded = np.stack([np.pad(x, (0, 8_000 - len(x))) for x in waveforms])
    theirs, model, variables = load("float64")
    own = np.asarray(kaldi_features.log_mel(jnp.asarray(padded, float), 80, lengths))
    monkeypatch.setattr(
        wav2vec2_bert, "log_mel", lambda *_: jnp.asarray(mel[:, : own.shape[1]])
    )
    ours = model.apply(variables, padded, jnp.asarray(lengths))
    expected = reference.hidden_states(theirs, mel, mask)[-1]
    for row, length in enumerate(lengths):
        frames = model.frame_count(length)
        assert frames == mask[row].sum()
        np.testing.assert_allclose(own[row, :frames], mel[row, :frames], atol=1e-5)
        error = np.abs(ours[row, :frames] - expected[row, :frames]).max()
        print(f"w2v-BERT, padded, {length} samples: {error:.1e}")
        assert error <= BOUNDS["float64"]


@pytest.mark.parametrize("form", ["safetensors", "bin with a prefix"])
def test_loads_from_every_format(form, tmp_path):
    """Checks that the loaded parameters equal those of the torch model bit for bit."""
    import torch

    theirs, module, expected = load()
    theirs.config.save_pretrained(tmp_path)
    if form == "safetensors":
        theirs.save_pretrained(tmp_path)
    else:
        named = {f"wav2vec2_bert.{k}": v for k, v in theirs.state_dict().items()}
        named["lm_head.weight"] = torch.zeros(3, 2)
        torch.save(named, tmp_path / "pytorch_model.bin")
    loaded = pretrained.load(str(tmp_path), "wav2vec2_bert", module)
    jax.tree.map(np.testing.assert_array_equal, loaded, expected["params"])


THEIRS = {
    "attention/query": "self_attn.linear_q",
    "attention/key": "self_attn.linear_k",
    "attention/value": "self_attn.linear_v",
    "attention/out": "self_attn.linear_out",
    "first_mlp_in": "ffn1.intermediate_dense",
    "first_mlp_out": "ffn1.output_dense",
    "mlp_in": "ffn2.intermediate_dense",
    "mlp_out": "ffn2.output_dense",
}


def test_lora_is_that_of_peft(monkeypatch, float64):
    """Compares frames and gradients for adapters in every possible place."""
    import peft
    import torch

    from tests.parity import wav2vec2_bert as reference

    theirs, model, variables = load("float64")
    model = model.clone(lora_scale=1.5)
    pattern = split.adapter_targets(split.PROJECTIONS + split.FEED_FORWARD)
    frozen = {"frontend": variables["params"]}
    rng = np.random.default_rng(0)
    adapters = jax.tree.map(
        lambda x: jnp.asarray(0.3 * rng.normal(size=x.shape)),
        lora.init(jax.random.key(0), frozen, [pattern], rank=4),
    )
    targets = [x.rpartition(".")[2] for x in THEIRS.values()]
    options = peft.LoraConfig(r=4, lora_alpha=6, target_modules=targets)
    wrapped = peft.get_peft_model(theirs, options)
    parameters = dict(wrapped.named_parameters())

    def name_of(path):
        _, layer, *place, factor = path.split("/")
        return (
            f"base_model.model.encoder.layers.{layer.removeprefix('layers_')}."
            f"{THEIRS['/'.join(place)]}.lora_{factor[-1].upper()}.default.weight"
        )

    flat = traverse_util.flatten_dict(adapters, sep="/")
    trained = {name for name, x in parameters.items() if x.requires_grad}
    assert trained == {name_of(path) for path in flat}
    for path, value in flat.items():
        parameters[name_of(path)].data = torch.tensor(np.array(value.T))
    waveform = speech_like(8_000)
    mel, _ = reference.features(list(waveform))
    mel = mel.astype(float)[:, : model.frame_count(8_000)]
    monkeypatch.setattr(wav2vec2_bert, "log_mel", lambda *_: jnp.asarray(mel))
    weights = rng.normal(size=(*mel.shape[:2], 32))

    @jax.jit
    def loss(adapters):
        params = lora.join(frozen, adapters)["frontend"]
        frames = model.apply({"params": params}, waveform)
        return (weights * frames).sum(), frames

    gradient, frames = jax.grad(loss, has_aux=True)(adapters)
    expected = wrapped(torch.tensor(mel)).last_hidden_state
    (torch.tensor(weights) * expected).sum().backward()
    pairs = [(frames, expected.detach())]
    for path, value in traverse_util.flatten_dict(gradient, sep="/").items():
        pairs.append((value.T, parameters[name_of(path)].grad))
    for ours, their in pairs:
        their = their.numpy()
        assert np.abs(ours - their).max() <= 1e-10 * np.abs(their).max()
