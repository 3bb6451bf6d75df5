"""The layer of w2v-BERT 2.0: a conformer with a causal convolution.

Gulati et al. 2020 (arXiv 2005.08100); Seamless Communication et al. 2023 (arXiv
2312.05187).
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from mldg_jax.models.layers import LoRADense
from mldg_jax.models.relative_positions import ShawAttention


class ConformerLayer(nn.Module):
    """Half a feed-forward block, attention, a convolution, another half, on rows.

    Attributes:
      heads: attention heads.
      hidden: width of both feed-forward blocks.
      taps: of the convolution over time, which sees the present and earlier frames.
      left, right: see ``ShawAttention``.
      lora_scale, lora_dropout, dtype: see ``LoRADense``.
    """

    heads: int
    hidden: int
    taps: int = 31
    left: int = 64
    right: int = 8
    lora_scale: float = 1.0
    lora_dropout: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        batch: int,
        mask: jax.Array | None = None,
        train: bool = False,
        positions: None = None,
    ) -> jax.Array:
        """Maps (batch · frames, dim) to the same shape; see ``SelfAttention``.

        Padding at the end of an utterance need not be masked in the convolution, which
        is causal.
        """
        options = {
            "lora_scale": self.lora_scale,
            "lora_dropout": self.lora_dropout,
            "dtype": self.dtype,
        }
        dim = x.shape[-1]

        def norm(name, y):
            return nn.LayerNorm(epsilon=1e-5, dtype=self.dtype, name=name)(y)

        def mlp(prefix, y):
            y = norm(f"{prefix}mlp_norm", y)
            y = LoRADense(self.hidden, **options, name=f"{prefix}mlp_in")(y, train)
            y = nn.silu(y)
            return LoRADense(dim, **options, name=f"{prefix}mlp_out")(y, train)

        attention = ShawAttention(
            self.heads, left=self.left, right=self.right, **options, name="attention"
        )
        x = x + 0.5 * mlp("first_", x)
        x = x + attention(norm("attention_norm", x), batch, mask, train)
        x = x + self._convolution(norm("conv_norm", x), batch, norm)
        return norm("final_norm", x + 0.5 * mlp("", x))

    def _convolution(self, x, batch, norm):
        rows, dim = x.shape

        def pointwise(features, name):
            return nn.Dense(features, use_bias=False, dtype=self.dtype, name=name)

        x, gate = jnp.split(pointwise(2 * dim, "conv_in")(x), 2, axis=-1)
        x = (x * nn.sigmoid(gate)).reshape(batch, rows // batch, dim)
        kernel = self.param("taps", nn.initializers.lecun_normal(), (self.taps, 1, dim))
        x = causal_conv(x, kernel).reshape(rows, dim)
        return pointwise(dim, "conv_out")(nn.silu(norm("taps_norm", x)))


def causal_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolves every channel with its own kernel; a frame sees no later ones.

    Args:
      x: (batch, frames, dim).
      kernel: (taps, 1, dim), the last tap for the present frame.

    Returns:
      (batch, frames, dim).
    """
    # As a grouped convolution it takes 12 times as long on CPU, its gradient 6 times.
    return jax.lax.platform_dependent(
        x, kernel.astype(x.dtype), cpu=_tap_by_tap, default=_grouped
    )


def _tap_by_tap(x: jax.Array, kernel: jax.Array) -> jax.Array:
    frames, taps = x.shape[1], len(kernel)
    x = jnp.pad(x, [(0, 0), (taps - 1, 0), (0, 0)])
    terms = [x[:, i : i + frames] * kernel[i] for i in range(taps)]
    return sum(terms[1:], start=terms[0])


def _grouped(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(1,),
        padding=[(len(kernel) - 1, 0)],
        feature_group_count=x.shape[-1],
        dimension_numbers=("NHC", "HIO", "NHC"),
    )
