"""AASIST and its back-end in torch, for parity and timing.

Written for this project from the papers' equations and the published parameter names,
in torch's native layout and layers; tests/models compares our own model with numbers
of the published code. Dropout is optional, as its draws differ between the libraries.
"""

import torch
from torch import nn
from torch.nn import functional as F

from mldg_jax.models.aasist import sinc_filters


class Block(nn.Module):
    """A residual block; ``bn1`` has parameters and statistics but no effect."""

    def __init__(self, inputs, outputs, first=False):
        super().__init__()
        if not first:
            self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, (2, 3), padding=(1, 1))
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, (2, 3), padding=(0, 1))
        if inputs != outputs:
            self.conv_downsample = nn.Conv2d(inputs, outputs, (1, 3), padding=(0, 1))

    def forward(self, x):
        if self.training and hasattr(self, "bn1"):
            self.bn1(x)  # only to update its statistics
        y = self.conv2(F.selu(self.bn2(self.conv1(x)), inplace=True))
        if hasattr(self, "conv_downsample"):
            x = self.conv_downsample(x)
        return y + x


def encoder(channels):
    pairs = zip((1, *channels), channels, strict=False)
    return nn.Sequential(
        *(nn.Sequential(Block(i, o, n == 0)) for n, (i, o) in enumerate(pairs))
    )


def normalised(bn, x):
    """Applies batch normalisation and SELU to (batch, nodes, dim)."""
    return F.selu(bn(x.flatten(0, 1)).view_as(x))


def vector(dim):
    return nn.Parameter(nn.init.xavier_normal_(torch.empty(dim, 1)))


class Attention(nn.Module):
    def __init__(self, inputs, dim, temperature, dropout):
        super().__init__()
        self.att_proj = nn.Linear(inputs, dim)
        self.att_weight = vector(dim)
        self.proj_with_att = nn.Linear(inputs, dim)
        self.proj_without_att = nn.Linear(inputs, dim)
        self.bn = nn.BatchNorm1d(dim)
        self.drop = nn.Dropout(0.2 * dropout)
        self.temperature = temperature

    def forward(self, x):
        x = self.drop(x)
        energy = torch.tanh(self.att_proj(x.unsqueeze(2) * x.unsqueeze(1)))
        logits = (energy @ self.att_weight).squeeze(-1) / self.temperature
        y = self.proj_with_att(logits.softmax(-1) @ x) + self.proj_without_att(x)
        return normalised(self.bn, y)


class Heterogeneous(nn.Module):
    def __init__(self, inputs, dim, temperature, dropout):
        super().__init__()
        self.proj_type1 = nn.Linear(inputs, inputs)
        self.proj_type2 = nn.Linear(inputs, inputs)
        self.att_proj = nn.Linear(inputs, dim)
        self.att_projM = nn.Linear(inputs, dim)
        for kind in ("11", "22", "12", "M"):
            setattr(self, f"att_weight{kind}", vector(dim))
        self.proj_with_att = nn.Linear(inputs, dim)
        self.proj_without_att = nn.Linear(inputs, dim)
        self.proj_with_attM = nn.Linear(inputs, dim)
        self.proj_without_attM = nn.Linear(inputs, dim)
        self.bn = nn.BatchNorm1d(dim)
        self.drop = nn.Dropout(0.2 * dropout)
        self.temperature = temperature

    def forward(self, temporal, spectral, master):
        n = temporal.shape[1]
        x = torch.cat([self.proj_type1(temporal), self.proj_type2(spectral)], 1)
        x = self.drop(x)
        energy = torch.tanh(self.att_proj(x.unsqueeze(2) * x.unsqueeze(1)))
        board = energy.new_zeros(energy.shape[:3])
        board[:, :n, :n] = (energy[:, :n, :n] @ self.att_weight11).squeeze(-1)
        board[:, n:, n:] = (energy[:, n:, n:] @ self.att_weight22).squeeze(-1)
        board[:, :n, n:] = (energy[:, :n, n:] @ self.att_weight12).squeeze(-1)
        board[:, n:, :n] = (energy[:, n:, :n] @ self.att_weight12).squeeze(-1)
        attended = (board / self.temperature).softmax(-1) @ x
        energy = torch.tanh(self.att_projM(x * master))
        weights = (energy @ self.att_weightM / self.temperature).softmax(1)
        seen = weights.transpose(1, 2) @ x
        master = self.proj_with_attM(seen) + self.proj_without_attM(master)
        y = normalised(self.bn, self.proj_with_att(attended) + self.proj_without_att(x))
        return y[:, :n], y[:, n:], master


class Pool(nn.Module):
    def __init__(self, dim, ratio, dropout):
        super().__init__()
        self.proj = nn.Linear(dim, 1)
        self.drop = nn.Dropout(0.3 * dropout)
        self.ratio = ratio

    def forward(self, x):
        score = torch.sigmoid(self.proj(self.drop(x)))
        kept = max(int(x.shape[1] * self.ratio), 1)
        index = score.topk(kept, dim=1).indices.expand(-1, -1, x.shape[2])
        return (x * score).gather(1, index)


class Readout(nn.Module):
    """The graph half of both models; its names are the published ones."""

    def __init__(self, inputs, nodes, dims, ratios, temperatures, dropout):
        super().__init__()
        self.pos_S = nn.Parameter(torch.randn(1, nodes, inputs))
        for kind, ratio in zip("ST", ratios, strict=False):
            layer = Attention(inputs, dims[0], temperatures[0], dropout)
            setattr(self, f"GAT_layer_{kind}", layer)
            setattr(self, f"pool_{kind}", Pool(dims[0], ratio, dropout))
        for i in (1, 2):
            setattr(self, f"master{i}", nn.Parameter(torch.randn(1, 1, dims[0])))
            for j in (1, 2):
                layer = Heterogeneous(dims[j - 1], dims[1], temperatures[1], dropout)
                setattr(self, f"HtrgGAT_layer_ST{i}{j}", layer)
            for kind in "ST":
                setattr(self, f"pool_h{kind}{i}", Pool(dims[1], ratios[2], dropout))
        self.drop_way = nn.Dropout(0.2 * dropout)
        self.drop = nn.Dropout(0.5 * dropout)
        self.out_layer = nn.Linear(5 * dims[1], 2)

    def branch(self, i, temporal, spectral):
        def piece(name):
            return getattr(self, name)

        first, second = (piece(f"HtrgGAT_layer_ST{i}{j}") for j in (1, 2))
        temporal, spectral, master = first(temporal, spectral, piece(f"master{i}"))
        spectral = piece(f"pool_hS{i}")(spectral)
        temporal = piece(f"pool_hT{i}")(temporal)
        more = second(temporal, spectral, master)
        pairs = zip((temporal, spectral, master), more, strict=True)
        return [self.drop_way(x + y) for x, y in pairs]

    def read_out(self, spectral, temporal):
        spectral = self.pool_S(self.GAT_layer_S(spectral + self.pos_S))
        temporal = self.pool_T(self.GAT_layer_T(temporal))
        one, two = (self.branch(i, temporal, spectral) for i in (1, 2))
        t, s, m = (torch.maximum(a, b) for a, b in zip(one, two, strict=True))
        parts = [t.abs().amax(1), t.mean(1), s.abs().amax(1), s.mean(1), m.squeeze(1)]
        return self.out_layer(self.drop(torch.cat(parts, 1)))


CHANNELS = (32, 32, 64, 64, 64, 64)


class Head(Readout):
    """(batch, frames, width) → logits (batch, 2)."""

    def __init__(self, width=1024, dropout=False, dim=128, channels=CHANNELS):
        last = channels[-1]
        ratios, temperatures = (0.5, 0.5, 0.5), (2.0, 100.0)
        super().__init__(last, dim // 3, (64, 32), ratios, temperatures, dropout)
        self.LL = nn.Linear(width, dim)
        self.first_bn, self.first_bn1 = nn.BatchNorm2d(1), nn.BatchNorm2d(last)
        self.encoder = encoder(channels)
        self.attention = nn.Sequential(
            nn.Conv2d(last, 2 * last, 1),
            nn.SELU(),
            nn.BatchNorm2d(2 * last),
            nn.Conv2d(2 * last, last, 1),
        )

    def forward(self, x):
        x = F.max_pool2d(self.LL(x).transpose(1, 2).unsqueeze(1), 3)
        x = self.encoder(F.selu(self.first_bn(x), inplace=True))
        x = F.selu(self.first_bn1(x), inplace=True)
        w = self.attention(x)
        spectral = (x * w.softmax(3)).sum(3).transpose(1, 2)
        temporal = (x * w.softmax(2)).sum(2).transpose(1, 2)
        return self.read_out(spectral, temporal)


class Raw(Readout):
    """(batch, samples) → logits (batch, 2)."""

    def __init__(self, dropout=False):
        super().__init__(64, 23, (64, 32), (0.5, 0.7, 0.5), (2.0, 100.0), dropout)
        bank = torch.tensor(sinc_filters(70, 128).T[:, None].copy())
        self.register_buffer("bank", bank, persistent=False)
        self.first_bn = nn.BatchNorm2d(1)
        self.encoder = encoder(CHANNELS)

    def forward(self, x):
        x = F.conv1d(x.unsqueeze(1), self.bank.to(x.dtype)).unsqueeze(1)
        x = F.selu(self.first_bn(F.max_pool2d(x.abs(), 3)), inplace=True)
        for block in self.encoder:
            x = F.max_pool2d(block(x), (1, 3))
        x = x.abs()
        return self.read_out(x.amax(3).transpose(1, 2), x.amax(2).transpose(1, 2))
