"""Tests HuBERT, WavLM and UniSpeech-SAT against ``transformers`` with random weights.

Every test prints what it measured; docs/front-ends.md has the numbers.
"""

import jax
import numpy as np
import pytest

from mldg_jax import models
from mldg_jax.models import pretrained
from mldg_jax.models.pretrained import convert, encoder_tables
from tests.signals import speech_like

pytestmark = pytest.mark.parity
NAMES = [
    "hubert base",
    "hubert large",
    "distilhubert",
    "wavlm base",
    "wavlm large",
    "wavlm large, few buckets",
    "unispeech-sat base",
    "unispeech-sat large",
]
BOUNDS = {"float32": 2e-5, "float64": 1e-9}
every = pytest.mark.parametrize("name", NAMES)


def load(name, dtype="float32", **options):
    """Returns torch's model, ours and its variables."""
    from tests.parity import encoders

    case = encoders.CASES[name]
    theirs = encoders.model(case, **options)
    config = theirs.config.to_dict()
    ours = models.build(case.kind, config)
    variables = pretrained.from_torch(case.kind, encoders.state(theirs), config)
    if dtype == "float64":
        theirs = theirs.double()
    return theirs, ours, jax.tree.map(lambda x: x.astype(dtype), variables)


@every
@pytest.mark.parametrize("dtype", BOUNDS)
def test_every_hidden_state(name, dtype):
    from tests.parity import encoders

    with jax.enable_x64(dtype == "float64"):
        theirs, model, variables = load(name, dtype)
        waveform = speech_like(16_000).astype(dtype)
        frames, states = jax.jit(lambda v, x: model.apply(v, x, hidden_states=True))(
            variables, waveform
        )
        outputs = [np.asarray(x) for x in (*states, frames)]
    expected = encoders.hidden_states(theirs, waveform)
    errors = [
        float(np.abs(ours - their).max())
        for ours, their in zip(outputs, expected, strict=True)
    ]
    print(f"{name}, {dtype}: largest difference {max(errors):.1e}")
    assert max(errors) <= BOUNDS[dtype]


@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")
@pytest.mark.parametrize("name", [x for x in NAMES if "large" in x])
def test_mask_is_the_attention_mask(name, float64):
    """Compares mixed lengths with the attention mask of ``transformers``."""
    import torch

    theirs, model, variables = load(name, "float64")
    waveform, lengths = speech_like(8_000).astype(float), np.array([8_000, 5_000])
    inside = np.arange(8_000) < lengths[:, None]
    waveform = np.where(inside, waveform, 0)
    with torch.inference_mode():
        expected = theirs(
            torch.tensor(waveform), attention_mask=torch.tensor(inside).long()
        ).last_hidden_state.numpy()
    ours = model.apply(variables, waveform, lengths)
    for row, length in enumerate(lengths):
        frames = model.frame_count(length)
        error = np.abs(ours[row, :frames] - expected[row, :frames]).max()
        print(f"{name}, {length} samples: {error:.1e}")
        assert error <= BOUNDS["float64"]


def test_buckets_of_public_wavlm():
    """Compares every distance within a minute."""
    import torch

    from mldg_jax.models.relative_positions import distance_buckets
    from tests.parity import encoders

    case = encoders.CASES["wavlm large"]
    attention = encoders.model(case).encoder.layers[0].attention
    assert (attention.num_buckets, attention.max_distance) == (320, 800)
    frames = torch.arange(3_000)
    distance = torch.cat([frames - 2_999, frames])
    expected = attention._relative_positions_bucket(distance).numpy()
    ours = distance_buckets(3_000, 320, 800)
    np.testing.assert_array_equal(ours[-1], expected[:3_000])
    np.testing.assert_array_equal(ours[0], expected[3_000:])


def write(theirs, kind, form, folder):
    """Writes a torch model in one of the formats in which models are published."""
    import torch

    state = theirs.state_dict()
    if form == "safetensors":
        theirs.save_pretrained(folder)
    elif form == "old weight norm":  # as on the hub, with a prefix
        old = {"original0": "weight_g", "original1": "weight_v"}
        named = {}
        for name, value in state.items():
            *front, last = name.split(".")
            if last in old:
                name = ".".join([*front[:-2], old[last]])
            named[f"{theirs.base_model_prefix}.{name}"] = value
        named["lm_head.weight"] = torch.zeros(3, 2)
        torch.save(named, folder / "pytorch_model.bin")
        theirs.config.save_pretrained(folder)
    else:
        arrays = convert.to_theirs(
            encoder_tables.FAIRSEQ[kind],
            pretrained.from_torch(
                kind, {k: v.numpy() for k, v in state.items()}, theirs.config
            ),
        )
        tensors = {name: torch.tensor(value) for name, value in arrays.items()}
        tensors["label_embs_concat"] = torch.zeros(2)
        torch.save({"model": tensors, "cfg": {"a": 1}}, folder / "model.pt")
        return folder / "model.pt"
    return folder


@every
@pytest.mark.parametrize("form", ["safetensors", "old weight norm", "of the authors"])
def test_loads_from_every_format(name, form, tmp_path):
    """Checks that the loaded parameters equal those of the torch model bit for bit."""
    from tests.parity import encoders

    theirs, module, expected = load(name)
    kind = encoders.CASES[name].kind
    if form == "of the authors" and name == "distilhubert":
        pytest.skip("its authors' files are s3prl's")
    loaded = pretrained.load(str(write(theirs, kind, form, tmp_path)), kind, module)
    jax.tree.map(np.testing.assert_array_equal, loaded, expected["params"])
