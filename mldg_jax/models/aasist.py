"""AASIST on a front-end's frames (the back-end of SSL-AASIST) and on raw waveforms.

Jung et al. 2022 (arXiv 2110.01200); the back-end is from Tak et al. 2022 (arXiv
2202.12233). In evaluation mode the results match the published code and weights
(tests/models); in training mode, a torch model of the same equations (tests/parity).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mldg_jax.models.aasist_blocks import BatchNorm, Encoder, max_pool, selu
from mldg_jax.models.aasist_graph import GraphReadout

SAMPLE_RATE = 16_000
HIDDEN_DROPOUT = 0.5  # multiplied by ``dropout``


class Logits(nn.Module):
    """Read-out vector → logits; sows the vector as ``hidden``.

    Attributes:
      dropout: multiplies the published dropout rate; 0 turns dropout off.
    """

    dropout: float = 1.0

    @nn.compact
    def __call__(self, hidden: jax.Array, train: bool = False) -> jax.Array:
        """Maps (batch, width) to (batch, 2)."""
        self.sow("intermediates", "hidden", hidden)
        rate = self.dropout * HIDDEN_DROPOUT
        hidden = nn.Dropout(rate, deterministic=not train)(hidden)
        return nn.Dense(2, name="dense")(hidden)


class AASISTHead(nn.Module):
    """Frames → logits; 447,242 parameters for frames of width 1024.

    Training mode needs the rng ``dropout`` and updates ``batch_stats``.

    Attributes:
      dim: width after the projection, which gives ``dim // 3`` spectral nodes.
      channels: see ``Encoder``.
      axis_name: mapped axis over which batch statistics are taken, if any.
      dropout: multiplies the published dropout rates; 0 turns dropout off.
    """

    dim: int = 128
    channels: Sequence[int] = (32, 32, 64, 64, 64, 64)
    axis_name: str | None = None
    dropout: float = 1.0

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Computes logits.

        Args:
          x: (batch, frames, width), one front-end layer, at least 3 frames.
          train: whether to use batch statistics and dropout.

        Returns:
          (batch, 2), column 1 bona fide. The read-out vector (batch, 160) is sown as
          ``intermediates/logits/hidden``.
        """
        batch, frames, width = x.shape
        x = nn.Dense(self.dim, name="project")(x.reshape(-1, width))
        x = max_pool(x.reshape(batch, frames, self.dim, 1), 3, 3).swapaxes(1, 2)
        encoder = Encoder(self.channels, 1, self.axis_name, name="encoder")
        x = encoder(x, train)
        x = selu(BatchNorm(self.axis_name, name="norm")(x, train))
        spectral, temporal = self._nodes(x, train)
        readout = GraphReadout(
            axis_name=self.axis_name, dropout=self.dropout, name="readout"
        )
        hidden = readout(spectral, temporal, train)
        return Logits(self.dropout, name="logits")(hidden, train)

    def _nodes(self, x: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """Returns spectral and temporal nodes of (batch, height, width, channels).

        They are attention-weighted sums over width and over height.
        """
        channels = x.shape[-1]
        y = selu(nn.Dense(2 * channels, name="attention_in")(x))
        y = BatchNorm(self.axis_name, name="attention_norm")(y, train)
        y = nn.Dense(channels, name="attention_out")(y)
        # Normalise inside the softmax. Dividing after the sum looks cheaper, but XLA
        # then fuses the backward pass into a loop that takes 350 ms.
        spectral = (x * jax.nn.softmax(y, axis=2)).sum(axis=2)
        temporal = (x * jax.nn.softmax(y, axis=1)).sum(axis=1)
        return spectral, temporal


class AASIST(nn.Module):
    """Waveform → logits; 297,866 parameters.

    AASIST-L (85,306) is ``AASIST(**AASIST_L)``. Training mode needs the rng ``dropout``
    and updates ``batch_stats``.

    Attributes:
      filters: number of fixed band-pass filters on the waveform.
      taps: length of a filter in samples; an even one is raised by 1.
      channels: see ``Encoder``.
      dims, ratios, temperatures: see ``GraphReadout``.
      axis_name: mapped axis over which batch statistics are taken, if any.
      dropout: multiplies the published dropout rates; 0 turns dropout off.
    """

    filters: int = 70
    taps: int = 128
    channels: Sequence[int] = (32, 32, 64, 64, 64, 64)
    dims: tuple[int, int] = (64, 32)
    ratios: tuple[float, float, float] = (0.5, 0.7, 0.5)
    temperatures: tuple[float, float] = (2.0, 100.0)
    axis_name: str | None = None
    dropout: float = 1.0

    @nn.compact
    def __call__(self, waveform: jax.Array, train: bool = False) -> jax.Array:
        """Maps (batch, samples) at 16 kHz to (batch, 2) logits, column 1 bona fide.

        Takes at least 2,315 samples. The read-out vector (batch, 160) is sown as
        ``intermediates/logits/hidden``.
        """
        bank = jnp.asarray(sinc_filters(self.filters, self.taps), waveform.dtype)
        x = jax.lax.conv_general_dilated(
            waveform[..., None],
            bank[:, None],
            window_strides=(1,),
            padding="VALID",
            dimension_numbers=("NWC", "WIO", "NWC"),
        )
        x = max_pool(jnp.abs(x)[..., None], 3, 3).swapaxes(1, 2)
        encoder = Encoder(self.channels, 3, self.axis_name, name="encoder")
        x = jnp.abs(encoder(x, train))
        readout = GraphReadout(
            self.dims,
            self.ratios,
            self.temperatures,
            self.axis_name,
            self.dropout,
            name="readout",
        )
        hidden = readout(x.max(axis=2), x.max(axis=1), train)
        return Logits(self.dropout, name="logits")(hidden, train)


AASIST_L = {
    "channels": (32, 32, 24, 24, 24, 24),
    "dims": (24, 32),
    "ratios": (0.4, 0.5, 0.7),
}


def sinc_filters(filters: int, taps: int) -> np.ndarray:
    """Computes band-pass filters whose edges are evenly spaced on the mel scale.

    Args:
      filters: number of filters; together they cover 0 to 8 kHz.
      taps: length of a filter in samples; an even one is raised by 1.

    Returns:
      (taps, filters) float64, under a Hamming window.
    """
    taps += 1 - taps % 2
    top = 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700)
    mel = np.linspace(0, top, filters + 1)
    edges = 2 * 700 * (10 ** (mel / 2595) - 1) / SAMPLE_RATE  # 1 is Nyquist
    time = np.arange(taps)[:, None] - taps // 2
    low_pass = edges * np.sinc(edges * time)
    return np.hamming(taps)[:, None] * np.diff(low_pass, axis=1)


def from_official(config: Mapping[str, Any]) -> dict[str, Any]:
    """Converts the published code's ``model_config`` to attributes of ``AASIST``.

    Args:
      config: the dictionary of clovaai/aasist, with ``filts``, ``first_conv``,
        ``gat_dims``, ``pool_ratios`` and ``temperatures``.

    Returns:
      Keyword arguments of ``AASIST``.
    """
    filters, *blocks = config["filts"]
    ratios, temperatures = config["pool_ratios"], config["temperatures"]
    return {
        "filters": filters,
        "taps": config["first_conv"],
        "channels": (*(out for _, out in blocks), *(2 * (blocks[-1][1],))),
        "dims": tuple(config["gat_dims"]),
        "ratios": tuple(ratios[:3]),
        "temperatures": (temperatures[0], temperatures[2]),
    }
