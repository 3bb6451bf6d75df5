"""Tests LoRA against ``peft``: frames and gradients, with random A and B."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from mldg_jax import lora, models
from mldg_jax.models import pretrained
from tests.signals import speech_like

pytestmark = [
    pytest.mark.parity,
    # peft 0.21 reads it from transformers 5.23
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated"),
]
RANK, ALPHA = 4, 6.0
THEIRS = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "out": "out_proj"}
THEIRS |= {"mlp_in": "intermediate_dense", "mlp_out": "output_dense"}
TARGETS = {
    "attention": ("query", "key", "value", "out"),
    "some": ("query", "value"),
    "feed-forward": ("key", "mlp_in", "mlp_out"),
}


def theirs_of(name):
    """Returns the name in ``peft`` of, e.g., ``layers_0/attention/query/lora_a``."""
    layer, *_, projection, factor = name.split("/")
    block = "feed_forward" if projection.startswith("mlp") else "attention"
    return (
        f"base_model.model.encoder.layers.{layer.removeprefix('layers_')}.{block}."
        f"{THEIRS[projection]}.lora_{factor[-1].upper()}.default.weight"
    )


@pytest.mark.parametrize("use_rslora", [False, True])
@pytest.mark.parametrize("targets", TARGETS.values(), ids=TARGETS)
def test_frames_and_gradients(targets, use_rslora, float64):
    """Compares in double precision: in single, rounding alone is 2e-5 of a gradient."""
    import peft
    import torch

    from tests.parity import wav2vec2

    base = wav2vec2.model(**wav2vec2.SMALL, **wav2vec2.LAYER_NORM).double()
    config, state = base.config.to_dict(), wav2vec2.state(base)
    scale = lora.scale(RANK, ALPHA, rank_stabilised=use_rslora)
    model = models.build("wav2vec2", config).clone(lora_scale=scale)
    frozen = pretrained.from_torch("wav2vec2", state, config)["params"]
    frozen = jax.tree.map(lambda x: x.astype(np.float64), frozen)  # exact
    pattern = rf"layers_\d+/(attention/)?({'|'.join(targets)})/kernel"
    adapters = lora.init(jax.random.key(0), frozen, [pattern], rank=RANK)
    rng = np.random.default_rng(0)
    adapters = jax.tree.map(
        lambda x: jnp.asarray(0.3 * rng.normal(size=x.shape)), adapters
    )

    wrapped = peft.get_peft_model(
        base,
        peft.LoraConfig(
            r=RANK,
            lora_alpha=ALPHA,
            use_rslora=use_rslora,
            target_modules=[THEIRS[t] for t in targets],
        ),
    )
    parameters = dict(wrapped.named_parameters())
    ours = traverse_util.flatten_dict(adapters, sep="/")
    trained = {name for name, p in parameters.items() if p.requires_grad}
    assert trained == {theirs_of(name) for name in ours}
    for name, value in ours.items():
        parameters[theirs_of(name)].data = torch.tensor(np.array(value.T))

    waveform = speech_like(4_000).astype(np.float64)
    weights = rng.normal(size=(2, model.frame_count(4_000), 32))

    def loss(adapters):
        frames = model.apply({"params": lora.join(frozen, adapters)}, waveform)
        return (weights * frames).sum(), frames

    gradient, frames = jax.grad(loss, has_aux=True)(adapters)
    expected = wrapped(torch.tensor(waveform)).last_hidden_state
    (torch.tensor(weights) * expected).sum().backward()

    def check(ours, theirs):
        error = np.abs(ours - theirs).max() / np.abs(theirs).max()
        assert error <= 1e-10, error

    check(frames, expected.detach().numpy())
    for name, value in traverse_util.flatten_dict(gradient, sep="/").items():
        check(value.T, parameters[theirs_of(name)].grad.numpy())
