# pyright: reportMissingImports=false
"""The heads of ``modeling_mldg`` in torch: frames or states of layers to logits.

Written by mldg_jax (Apache-2.0). Parameters have the names of the published code of
SSL-AASIST. There is no dropout.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class StatesHead(nn.Module):
    """What the heads on states of layers share: statistics that standardise them."""

    shift: Tensor
    scale: Tensor

    def __init__(self, states: int, width: int):
        super().__init__()
        self.register_buffer("shift", torch.zeros(states, width))
        self.register_buffer("scale", torch.ones(states, width))

    def standardised(self, states: list[Tensor]) -> list[Tensor]:
        layers = zip(states, self.shift, self.scale, strict=True)
        return [(h - m) * s for h, m, s in layers]


class StatesLinear(StatesHead):
    """The mean of every layer taken, logits."""

    def __init__(self, states: int, width: int):
        super().__init__(states, width)
        self.logits = nn.Linear(states * width, 2)

    def forward(self, output: Tensor, states: list[Tensor]) -> Tensor:
        means = [x.mean(1) for x in self.standardised(states)]
        return self.logits(torch.cat(means, -1))


class FactorisedAttention(StatesHead):
    """Keys and values of all layers, attention over time, logits."""

    def __init__(self, states: int, width: int, dim: int = 128, heads: int = 8):
        super().__init__(states, width)
        self.key_weights = nn.Parameter(torch.zeros(states))
        self.value_weights = nn.Parameter(torch.zeros(states))
        self.key = nn.Linear(width, dim, bias=False)
        self.value = nn.Linear(width, dim, bias=False)
        self.attention = nn.Linear(dim, heads, bias=False)
        self.logits = nn.Linear(heads * dim, 2)

    def forward(self, output: Tensor, states: list[Tensor]) -> Tensor:
        layers = torch.stack(self.standardised(states), -1)
        key = self.key(layers @ self.key_weights.softmax(0))
        value = self.value(layers @ self.value_weights.softmax(0))
        attention = self.attention(key).softmax(1)  # over frames
        return self.logits((attention.transpose(1, 2) @ value).flatten(1))


class LayerSelection(StatesHead):
    """Layers weighted by their own mean, maximum over time, hidden layer, logits."""

    def __init__(self, states: int, width: int, dim: int = 128):
        super().__init__(states, width)
        self.gate = nn.Linear(width, 1)
        self.hidden = nn.Linear(width // 3, dim)
        self.logits = nn.Linear(dim, 2)

    def forward(self, output: Tensor, states: list[Tensor]) -> Tensor:
        layers = torch.stack(self.standardised(states), 1)
        gate = self.gate(layers.mean(2)).sigmoid()  # (batch, layers, 1)
        x = (layers * gate.unsqueeze(-1)).sum(1).amax(1)
        x = F.selu(F.max_pool1d(x, 3))
        return self.logits(F.selu(self.hidden(x)))


class StatesPooling(StatesHead):
    """Weighted states of all layers, mean and deviation over time, logits."""

    def __init__(self, states: int, width: int, dim: int = 128):
        super().__init__(states, width)
        self.layer_weights = nn.Parameter(torch.zeros(states))
        self.project = nn.Linear(width, dim)
        self.logits = nn.Linear(2 * dim, 2)

    def forward(self, output: Tensor, states: list[Tensor]) -> Tensor:
        weights = self.layer_weights.softmax(0)[:, None] * self.scale
        layers = zip(states, self.shift, weights, strict=True)
        x = torch.stack([(h - m) * w for h, m, w in layers]).sum(0)
        x = F.gelu(self.project(x), approximate="tanh")
        deviation = (x.var(1, unbiased=False) + 1e-5).sqrt()
        return self.logits(torch.cat([x.mean(1), deviation], -1))


class SpectralBlock(nn.Module):
    """A residual block of AASIST; nothing reads the output of ``bn1``."""

    def __init__(self, inputs: int, outputs: int, first: bool):
        super().__init__()
        if not first:
            self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, (2, 3), padding=(1, 1))
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, (2, 3), padding=(0, 1))
        if inputs != outputs:
            self.conv_downsample = nn.Conv2d(inputs, outputs, (1, 3), padding=(0, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(F.selu(self.bn2(self.conv1(x))))
        return y + getattr(self, "conv_downsample", nn.Identity())(x)


def node_norm(norm: nn.BatchNorm1d, x: Tensor) -> Tensor:
    """Normalises (batch, nodes, dim) over batch and nodes, then applies SELU."""
    return F.selu(norm(x.flatten(0, 1)).view_as(x))


class NodeAttention(nn.Module):
    """Attention among nodes of one kind."""

    def __init__(self, inputs: int, dim: int, temperature: float = 2.0):
        super().__init__()
        self.att_proj = nn.Linear(inputs, dim)
        self.att_weight = nn.Parameter(torch.zeros(dim, 1))
        self.proj_with_att = nn.Linear(inputs, dim)
        self.proj_without_att = nn.Linear(inputs, dim)
        self.bn = nn.BatchNorm1d(dim)
        self.temperature = temperature

    def forward(self, x: Tensor) -> Tensor:
        energy = self.att_proj(x.unsqueeze(2) * x.unsqueeze(1)).tanh()
        weights = ((energy @ self.att_weight)[..., 0] / self.temperature).softmax(-1)
        y = self.proj_with_att(weights @ x) + self.proj_without_att(x)
        return node_norm(self.bn, y)


class MixedAttention(nn.Module):
    """Attention among temporal and spectral nodes, and of a master node to both."""

    def __init__(self, inputs: int, dim: int, temperature: float = 100.0):
        super().__init__()
        self.proj_type1 = nn.Linear(inputs, inputs)
        self.proj_type2 = nn.Linear(inputs, inputs)
        self.att_proj = nn.Linear(inputs, dim)
        self.att_projM = nn.Linear(inputs, dim)
        self.att_weight11 = nn.Parameter(torch.zeros(dim, 1))
        self.att_weight22 = nn.Parameter(torch.zeros(dim, 1))
        self.att_weight12 = nn.Parameter(torch.zeros(dim, 1))
        self.att_weightM = nn.Parameter(torch.zeros(dim, 1))
        self.proj_with_att = nn.Linear(inputs, dim)
        self.proj_without_att = nn.Linear(inputs, dim)
        self.proj_with_attM = nn.Linear(inputs, dim)
        self.proj_without_attM = nn.Linear(inputs, dim)
        self.bn = nn.BatchNorm1d(dim)
        self.temperature = temperature

    def forward(self, temporal: Tensor, spectral: Tensor, master: Tensor):
        n = temporal.shape[1]
        x = torch.cat([self.proj_type1(temporal), self.proj_type2(spectral)], 1)
        energy = self.att_proj(x.unsqueeze(2) * x.unsqueeze(1)).tanh()
        late = (torch.arange(x.shape[1], device=x.device) >= n).long()
        vectors = (self.att_weight11, self.att_weight12, self.att_weight22)
        logits = energy @ torch.cat(vectors, 1)  # one of the three for every pair
        pair = (late[:, None] + late).expand(len(x), -1, -1).unsqueeze(-1)
        logits = logits.gather(-1, pair)[..., 0] / self.temperature
        attended = logits.softmax(-1) @ x
        energy = self.att_projM(x * master).tanh()
        weights = (energy @ self.att_weightM / self.temperature).softmax(1)
        summary = weights.transpose(1, 2) @ x
        master = self.proj_with_attM(summary) + self.proj_without_attM(master)
        y = node_norm(self.bn, self.proj_with_att(attended) + self.proj_without_att(x))
        return y[:, :n], y[:, n:], master


class NodePool(nn.Module):
    """Keeps the better half of the nodes, each multiplied by its score."""

    def __init__(self, dim: int):
        super().__init__()
        self.proj = nn.Linear(dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        score = self.proj(x).sigmoid()
        best = score.topk(max(x.shape[1] // 2, 1), dim=1).indices
        return (x * score).gather(1, best.expand(-1, -1, x.shape[2]))


class SpectroTemporalGraph(nn.Module):
    """The back-end of SSL-AASIST (arXiv 2110.01200, 2202.12233) on frames."""

    def __init__(self, width, dim=128, channels=(32, 32, 64, 64, 64, 64)):
        super().__init__()
        last, first, second = channels[-1], 64, 32
        self.LL = nn.Linear(width, dim)
        self.first_bn, self.first_bn1 = nn.BatchNorm2d(1), nn.BatchNorm2d(last)
        pairs = enumerate(zip((1, *channels[:-1]), channels, strict=True))
        blocks = [nn.Sequential(SpectralBlock(*pair, n == 0)) for n, pair in pairs]
        self.encoder = nn.Sequential(*blocks)
        wide, back = nn.Conv2d(last, 2 * last, 1), nn.Conv2d(2 * last, last, 1)
        norm = nn.BatchNorm2d(2 * last)
        self.attention = nn.Sequential(wide, nn.SELU(), norm, back)
        self.pos_S = nn.Parameter(torch.zeros(1, dim // 3, last))
        self.GAT_layer_S = NodeAttention(last, first)
        self.GAT_layer_T = NodeAttention(last, first)
        self.pool_S, self.pool_T = NodePool(first), NodePool(first)
        for i in (1, 2):
            setattr(self, f"master{i}", nn.Parameter(torch.zeros(1, 1, first)))
            for j, inputs in ((1, first), (2, second)):
                layer = MixedAttention(inputs, second)
                setattr(self, f"HtrgGAT_layer_ST{i}{j}", layer)
            for kind in "ST":
                setattr(self, f"pool_h{kind}{i}", NodePool(second))
        self.out_layer = nn.Linear(5 * second, 2)

    def forward(self, output: Tensor, states: list[Tensor]) -> Tensor:
        x = F.max_pool2d(self.LL(output).transpose(1, 2).unsqueeze(1), 3)
        x = self.encoder(F.selu(self.first_bn(x)))
        x = F.selu(self.first_bn1(x))  # (batch, channels, spectral, temporal)
        weights = self.attention(x)
        spectral = (x * weights.softmax(3)).sum(3).transpose(1, 2)
        temporal = (x * weights.softmax(2)).sum(2).transpose(1, 2)
        spectral = self.pool_S(self.GAT_layer_S(spectral + self.pos_S))
        temporal = self.pool_T(self.GAT_layer_T(temporal))
        one, two = (self.branch(i, temporal, spectral) for i in (1, 2))
        t, s, m = (torch.maximum(a, b) for a, b in zip(one, two, strict=True))
        parts = [t.abs().amax(1), t.mean(1), s.abs().amax(1), s.mean(1), m[:, 0]]
        return self.out_layer(torch.cat(parts, 1))

    def branch(self, i: int, temporal: Tensor, spectral: Tensor) -> list[Tensor]:
        first, second = (getattr(self, f"HtrgGAT_layer_ST{i}{j}") for j in (1, 2))
        temporal, spectral, m = first(temporal, spectral, getattr(self, f"master{i}"))
        s = getattr(self, f"pool_hS{i}")(spectral)
        t = getattr(self, f"pool_hT{i}")(temporal)
        return [x + y for x, y in zip((t, s, m), second(t, s, m), strict=True)]


# Heads on states of layers; SpectroTemporalGraph reads the output of the front-end.
STATE_HEADS: dict[str, type[StatesHead]] = {
    "pooling": StatesPooling,
    "linear": StatesLinear,
    "mhfa": FactorisedAttention,
    "sls": LayerSelection,
}
