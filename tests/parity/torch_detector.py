"""The detector and its MLDG step in torch, for parity and timing.

The front-end is ``transformers`` ``Wav2Vec2Model`` with ``peft`` adapters; φ is bound
by ``torch.func.functional_call`` and the inner step is ``torch.autograd.grad``. Nested
``torch.func.grad`` gives the same numbers and is slower: it evaluates ∇F twice.
"""

import contextlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import peft
import torch
import transformers
from flax import traverse_util
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from mldg_jax import lora
from mldg_jax.models.detector import Detector as OurDetector
from mldg_jax.models.pooling import PoolingHead as OurPoolingHead
from mldg_jax.models.pretrained import convert, key_tables
from mldg_jax.models.wav2vec2 import to_hf
from tests.parity import torch_aasist

PROJECTIONS = ["q_proj", "k_proj", "v_proj", "out_proj"]
POOLING = convert.Table(
    [
        ("layer_weights", "params/layer_weights", "same"),
        ("shift", "batch_stats/shift", "same"),
        ("scale", "batch_stats/scale", "same"),
        *(
            rule
            for name in ("project", "logits")
            for rule in [
                (f"{name}.weight", f"params/{name}/kernel", "dense"),
                (f"{name}.bias", f"params/{name}/bias", "same"),
            ]
        ),
    ]
)


class PoolingHead(nn.Module):
    """Hidden states of every layer → logits (batch, 2)."""

    def __init__(self, states: int, width: int, dim: int):
        super().__init__()
        self.register_buffer("shift", torch.zeros(states, width))
        self.register_buffer("scale", torch.ones(states, width))
        self.layer_weights = nn.Parameter(torch.zeros(states))
        self.project = nn.Linear(width, dim)
        self.logits = nn.Linear(2 * dim, 2)

    def forward(self, hidden):
        weights = self.layer_weights.softmax(0)[:, None] * self.scale
        layers = zip(hidden, self.shift, weights, strict=True)
        x = sum((h - m) * w for h, m, w in layers)
        x = F.gelu(self.project(x), approximate="tanh")
        deviation = (x.var(1, unbiased=False) + 1e-5).sqrt()
        return self.logits(torch.cat([x.mean(1), deviation], -1))


class Detector(nn.Module):
    """Waveform (batch, samples) → logits (batch, 2), the head in training mode.

    Attributes:
      frontend: the ``Wav2Vec2Model`` with its adapters.
      table: the head's parameter names.
    """

    def __init__(
        self, ours: OurDetector, rank: int, dtype: torch.dtype, dropout: bool
    ) -> None:
        super().__init__()
        front = ours.frontend
        options = {"attn_implementation": "sdpa", "layerdrop": 0.0}
        config = transformers.Wav2Vec2Config(**to_hf(front), **options)
        base = transformers.Wav2Vec2Model(config).to(dtype).eval()
        targets = peft.LoraConfig(
            r=rank,
            lora_alpha=front.lora_scale * rank,
            target_modules=PROJECTIONS,
        )
        self.frontend = peft.get_peft_model(base, targets)
        self.pooling = isinstance(ours.head, OurPoolingHead)
        if self.pooling:
            head = PoolingHead(front.layers + 1, front.dim, ours.head.dim)
            self.table = POOLING
            # our head takes the states before the last normalisation
            base.encoder.layer_norm = nn.Identity()
        else:
            shape = ours.head.dim, ours.head.channels
            head = torch_aasist.Head(front.dim, dropout, *shape)
            self.table = key_tables.SSL_AASIST
        self.head = head.to(dtype)

    def forward(self, waveform):
        output = self.frontend(waveform, output_hidden_states=self.pooling)
        features = output.hidden_states if self.pooling else output.last_hidden_state
        return self.head(features)

    @contextlib.contextmanager
    def without_layers(self):
        """Removes the transformer layers from ``frontend`` inside the context."""
        encoder = self.frontend.base_model.model.encoder
        layers, encoder.layers = encoder.layers, nn.ModuleList()
        try:
            yield
        finally:
            encoder.layers = layers


def detector(
    ours: OurDetector,
    trainable: Mapping[str, Any],
    batch_stats: Mapping[str, Any],
    frozen: Mapping[str, Any],
    *,
    dropout: bool = False,
) -> Detector:
    """Builds our detector in torch, with the same parameters.

    Args:
      ours: a wav2vec 2.0 front-end with a pooling or AASIST head.
      trainable, batch_stats, frozen: of ``models.split.init_parameters``, in one dtype.
      dropout: of the AASIST head.
    """
    adapters = _adapters(trainable)
    rank = next(len(v) for name, v in adapters.items() if "lora_A" in name)
    dtype = torch.from_numpy(next(iter(adapters.values()))).dtype
    model = Detector(ours, rank, dtype, dropout)
    head = {"params": trainable["head"], "batch_stats": batch_stats["head"]}
    base = convert.to_theirs(key_tables.WAV2VEC2_HF, {"params": frozen["frontend"]})
    state = {f"head.{k}": v for k, v in convert.to_theirs(model.table, head).items()}
    state |= adapters | {_wrapped(k): v for k, v in base.items()}
    state = {k: torch.tensor(v) for k, v in state.items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    missing = [name for name in missing if "num_batches_tracked" not in name]
    assert not missing, missing
    assert all("encoder.layer_norm" in name for name in unexpected), unexpected
    return model


def names(gradient: Mapping[str, Any], table: convert.Table) -> dict[str, np.ndarray]:
    """Renames a tree like φ to the parameter names of ``Detector``.

    Args:
      gradient: a tree like φ.
      table: the head's parameter names.

    Returns:
      Arrays by name.
    """
    head = convert.to_theirs(table, {"params": gradient["head"]})
    return _adapters(gradient) | {f"head.{name}": value for name, value in head.items()}


def _adapters(tree: Mapping[str, Any]) -> dict[str, np.ndarray]:
    named = {}
    for path, value in traverse_util.flatten_dict(tree["frontend"], sep="/").items():
        owner, _, factor = path.rpartition("/")
        rules = key_tables.WAV2VEC2_HF.rules
        module, _ = convert.translate(f"params/{owner}/kernel", rules, 1, 0)
        module = module.removesuffix(".weight")
        kind = {lora.A: "lora_A", lora.B: "lora_B"}[factor]
        name = f"frontend.base_model.model.{module}.{kind}.default.weight"
        named[name] = np.ascontiguousarray(np.asarray(value).T)
    return named


def _wrapped(name: str) -> str:
    """Returns the name of a frozen parameter in a ``peft`` model."""
    for projection in PROJECTIONS:
        name = name.replace(projection, f"{projection}.base_layer")
    return f"frontend.base_model.model.{name}"


def meta_gradient(
    detector: Detector,
    episode: Mapping[str, Mapping[str, torch.Tensor]],
    *,
    inner_lr: float,
    beta: float,
    order: str,
) -> dict[str, torch.Tensor]:
    """Computes the gradient of F(φ) + beta · G(φ − inner_lr · ∇F(φ)).

    F is differentiated once: its gradient is also a term of the result. The fused
    attention kernel has no second derivative, so second order uses the unfused one for
    F.

    Args:
      detector: its trainable parameters are φ.
      episode: tensors ``waveform`` and ``label`` of both halves.
      inner_lr: step size of the inner step.
      beta: weight of the meta-test loss.
      order: ``"first"`` or ``"second"``.

    Returns:
      The gradient by parameter name.
    """
    phi = {k: v for k, v in detector.named_parameters() if v.requires_grad}
    values, second = list(phi.values()), order == "second"

    def loss(values, half):
        bound = dict(zip(phi, values, strict=True))
        waveform = half["waveform"].flatten(0, 1)
        logits = torch.func.functional_call(detector, bound, (waveform,))
        label = half["label"]
        by_example = F.cross_entropy(logits, label.flatten(), reduction="none")
        return by_example.view_as(label).mean(1).mean()

    with sdpa_kernel(SDPBackend.MATH) if second else contextlib.nullcontext():
        f = loss(values, episode["meta_train"])
    # AASIST has unused parameters: their gradients are zeros
    options = {"materialize_grads": True}
    inner = torch.autograd.grad(f, values, create_graph=second, **options)
    adapted = [v - inner_lr * d for v, d in zip(values, inner, strict=True)]
    g = loss(adapted, episode["meta_test"])
    rest = torch.autograd.grad(beta * g, values, **options)
    return {name: (a + b).detach() for name, a, b in zip(phi, inner, rest, strict=True)}
