"""wav2vec 2.0 against torch ``Wav2Vec2Model`` on random weights."""

import jax
import numpy as np
import pytest

from mldg_jax import models, pretrained
from tests.signals import speech_like

pytestmark = pytest.mark.parity


def compare(options, samples, tolerance):
    """Loads a torch model's parameters and compares every state."""
    from tests.parity import wav2vec2 as reference

    theirs = reference.model(**options)
    config = theirs.config.to_dict()
    model = models.build("wav2vec2", config)
    variables = pretrained.from_torch("wav2vec2", reference.state(theirs), config)
    waveform = speech_like(samples)
    apply = jax.jit(lambda v, x: model.apply(v, x, hidden_states=True))
    frames, states = apply(variables, waveform)
    expected = reference.hidden_states(theirs, waveform)
    errors = [
        float(np.abs(ours - their).max())
        for ours, their in zip([*states, frames], expected, strict=True)
    ]
    print(f"largest difference {max(errors):.2e} of {np.abs(expected[-2]).max():.3g}")
    assert max(errors) <= tolerance


@pytest.mark.parametrize("shape", ["base", "xlsr", "large"])
def test_small(shape):
    from tests.parity import wav2vec2 as reference

    compare(reference.SMALL | reference.SHAPES[shape], 16_000, 2e-5)


@pytest.mark.full
@pytest.mark.parametrize("shape", ["base", "large", "xlsr"])
def test_full_size(shape):
    from tests.parity import wav2vec2 as reference

    compare(reference.FULL[shape], 64_600, 2e-4)


def test_mask_is_the_attention_mask():
    """Mixed lengths: what ``transformers`` computes from its attention mask."""
    import torch

    from tests.parity import wav2vec2 as reference

    theirs = reference.model(**reference.SMALL, **reference.LAYER_NORM)
    config = theirs.config.to_dict()
    model = models.build("wav2vec2", config)
    variables = pretrained.from_torch("wav2vec2", reference.state(theirs), config)
    waveform, lengths = speech_like(8_000), np.array([8_000, 5_000])
    inside = np.arange(8_000) < lengths[:, None]
    waveform = np.where(inside, waveform, 0).astype(np.float32)
    with torch.inference_mode():
        expected = theirs(
            torch.tensor(waveform), attention_mask=torch.tensor(inside).long()
        ).last_hidden_state.numpy()
    ours = model.apply(variables, waveform, lengths)
    for row, length in enumerate(lengths):
        kept = model.frame_count(length)
        np.testing.assert_allclose(
            ours[row, :kept], expected[row, :kept], rtol=0, atol=2e-5
        )
