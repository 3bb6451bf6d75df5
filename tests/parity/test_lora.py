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


def compare(kind, base, targets, use_rslora=False):
    """Compares frames and gradients with those of ``peft`` on a torch model.

    In double precision: in single, rounding alone is 2e-5 of a gradient.
    """
    import peft
    import torch

    from tests.parity import wav2vec2

    base = base.double()
    config, state = base.config.to_dict(), wav2vec2.state(base)
    scale = lora.scale(RANK, ALPHA, rank_stabilised=use_rslora)
    model = models.build(kind, config).clone(lora_scale=scale)
    frozen = pretrained.from_torch(kind, state, config)["params"]
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
    if kind == "wavlm":
        read_through_adapters(wrapped)
    expected = wrapped(torch.tensor(waveform)).last_hidden_state
    (torch.tensor(weights) * expected).sum().backward()

    def check(ours, theirs):
        error = np.abs(ours - theirs).max() / np.abs(theirs).max()
        assert error <= 1e-10, error

    check(frames, expected.detach().numpy())
    for name, value in traverse_util.flatten_dict(gradient, sep="/").items():
        check(value.T, parameters[theirs_of(name)].grad.numpy())


def read_through_adapters(wrapped):
    """Gives the attention of a WavLM the weights W + scale · B @ A.

    It reads ``weight`` of its projections and never calls them, so that adapters of
    ``peft`` have no effect on it until they are merged.
    """
    import torch
    from peft.tuners.lora import Linear
    from torch.nn.utils import parametrize

    class Adapted(torch.nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.layer = [layer]  # not a submodule: it has the parametrised one

        def forward(self, weight):
            return weight + self.layer[0].get_delta_weight("default")

    for name, module in wrapped.named_modules():
        if isinstance(module, Linear) and ".attention." in name:
            parametrize.register_parametrization(
                module.base_layer, "weight", Adapted(module)
            )


@pytest.mark.parametrize("use_rslora", [False, True])
@pytest.mark.parametrize("targets", TARGETS.values(), ids=TARGETS)
def test_frames_and_gradients(targets, use_rslora, float64):
    from tests.parity import wav2vec2

    base = wav2vec2.model(**wav2vec2.SMALL, **wav2vec2.LAYER_NORM)
    compare("wav2vec2", base, targets, use_rslora)


@pytest.mark.parametrize("name", ["hubert large", "wavlm large", "unispeech-sat base"])
def test_relatives(name, float64):
    from tests.parity import encoders

    case = encoders.CASES[name]
    every = (*TARGETS["attention"], "mlp_in", "mlp_out")
    compare(case.kind, encoders.model(case), every)


def test_wavlm_ignores_adapters_that_are_not_merged():
    """The reason for ``read_through_adapters``; if this fails, docs/ must change."""
    import peft
    import torch

    from tests.parity import encoders

    base = encoders.model(encoders.CASES["wavlm large"])
    waveform = torch.tensor(speech_like(2_000))
    options = peft.LoraConfig(target_modules=["q_proj"], init_lora_weights=False)
    with torch.inference_mode():
        plain = base(waveform).last_hidden_state
        wrapped = peft.get_peft_model(base, options).eval()
        ignored = wrapped(waveform).last_hidden_state
        assert (ignored - plain).abs().max() < 1e-6
        merged = wrapped.merge_and_unload()(waveform).last_hidden_state
    assert (merged - plain).abs().max() > 1e-3
