"""Tests wav2vec 2.0 against torch's ``Wav2Vec2Model`` with random weights."""

import jax
import numpy as np
import pytest

from mldg_jax import models
from mldg_jax.models import pretrained
from mldg_jax.models.pretrained import convert, key_tables
from tests.signals import speech_like

pytestmark = pytest.mark.parity


def compare(options, samples, tolerance):
    """Loads the parameters of a torch model and compares every hidden state."""
    from tests.parity import wav2vec2

    theirs = wav2vec2.model(**options)
    config = theirs.config.to_dict()
    model = models.build("wav2vec2", config)
    variables = pretrained.from_torch("wav2vec2", wav2vec2.state(theirs), config)
    waveform = speech_like(samples)
    apply = jax.jit(lambda v, x: model.apply(v, x, hidden_states=True))
    frames, states = apply(variables, waveform)
    expected = wav2vec2.hidden_states(theirs, waveform)
    errors = [
        float(np.abs(ours - their).max())
        for ours, their in zip([*states, frames], expected, strict=True)
    ]
    print(f"largest difference {max(errors):.2e} of {np.abs(expected[-2]).max():.3g}")
    assert max(errors) <= tolerance


@pytest.mark.parametrize("shape", ["base", "xlsr", "large"])
def test_small(shape):
    from tests.parity import wav2vec2

    compare(wav2vec2.SMALL | wav2vec2.SHAPES[shape], 16_000, 2e-5)


@pytest.mark.full
@pytest.mark.parametrize("shape", ["base", "large", "xlsr"])
def test_full_size(shape):
    from tests.parity import wav2vec2

    compare(wav2vec2.FULL[shape], 64_600, 2e-4)


def test_mask_is_the_attention_mask():
    """Compares mixed lengths with the attention mask of ``transformers``."""
    import torch

    from tests.parity import wav2vec2

    theirs = wav2vec2.model(**wav2vec2.SMALL, **wav2vec2.LAYER_NORM)
    config = theirs.config.to_dict()
    model = models.build("wav2vec2", config)
    variables = pretrained.from_torch("wav2vec2", wav2vec2.state(theirs), config)
    waveform, lengths = speech_like(8_000), np.array([8_000, 5_000])
    inside = np.arange(8_000) < lengths[:, None]
    waveform = np.where(inside, waveform, 0).astype(np.float32)
    with torch.inference_mode():
        expected = theirs(
            torch.tensor(waveform), attention_mask=torch.tensor(inside).long()
        ).last_hidden_state.numpy()
    ours = model.apply(variables, waveform, lengths)
    for row, length in enumerate(lengths):
        frames = model.frame_count(length)
        np.testing.assert_allclose(
            ours[row, :frames], expected[row, :frames], rtol=0, atol=2e-5
        )


def write(made, form, folder):
    """Writes a torch model in one of the formats in which models are published."""
    import torch
    from safetensors.torch import save_file

    state = made.state_dict()
    if form == "safetensors":
        save_file(state, folder / "model.safetensors")
    elif form == "old weight norm":  # as on the hub, with a prefix
        old = {"original0": "weight_g", "original1": "weight_v"}
        named = {}
        for name, value in state.items():
            *front, last = name.split(".")
            if last in old:
                name = ".".join([*front[:-2], old[last]])
            named[f"wav2vec2.{name}"] = value
        named["quantizer.codevectors"] = torch.zeros(1, 2, 3)
        torch.save(named, folder / "pytorch_model.bin")
    elif form == "legacy bin":
        path = folder / "pytorch_model.bin"
        torch.save(state, path, _use_new_zipfile_serialization=False)
    else:
        arrays = convert.to_theirs(
            key_tables.WAV2VEC2_FAIRSEQ,
            pretrained.from_torch(
                "wav2vec2", {k: v.numpy() for k, v in state.items()}, made.config
            ),
        )
        tensors = {name: torch.tensor(value) for name, value in arrays.items()}
        tensors["quantizer.vars"] = torch.zeros(2)
        torch.save({"model": tensors, "cfg": {"a": 1}}, folder / "xlsr2_300m.pt")
        return folder / "xlsr2_300m.pt"
    return folder


@pytest.mark.parametrize(
    "options", ["small", pytest.param("full", marks=pytest.mark.full)]
)
@pytest.mark.parametrize(
    "form", ["safetensors", "old weight norm", "legacy bin", "fairseq"]
)
def test_loads_from_every_format(form, options, tmp_path):
    """Checks that the loaded parameters equal those of the torch model bit for bit."""
    from tests.parity import wav2vec2

    shape = wav2vec2.SMALL if options == "small" else wav2vec2.FULL["large"]
    theirs = wav2vec2.model(**shape, **wav2vec2.LAYER_NORM)
    module = models.build("wav2vec2", theirs.config)
    expected = pretrained.from_torch("wav2vec2", wav2vec2.state(theirs), theirs.config)
    loaded = pretrained.load(str(write(theirs, form, tmp_path)), "wav2vec2", module)
    jax.tree.map(np.testing.assert_array_equal, loaded, expected["params"])
