"""Layers that the front-ends share."""

from collections.abc import Callable
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype

from mldg_jax import lora

PositionScores = Callable[[jax.Array], jax.Array]  # see ``attend``


class LoRADense(nn.Module):
    """A dense layer that adds ``scale · (x @ A) @ B`` when it has LoRA factors.

    The layer does not initialise the factors: ``lora.join`` puts ``lora_a`` (in, rank)
    and ``lora_b`` (rank, features) into its ``params``. They are applied one after the
    other, so no gradient of the frozen kernel is ever formed. With B = 0 the output
    equals the frozen layer's bit for bit.

    Attributes:
      features: output width.
      use_bias: whether to add a bias.
      lora_scale: factor of A @ B, see ``lora.scale``.
      lora_dropout: rate of the dropout before A in training.
      dtype: compute dtype; None for the promoted dtype of parameters and input.
    """

    features: int
    use_bias: bool = True
    lora_scale: float = 1.0
    lora_dropout: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Maps (rows, in) to (rows, features); rows are flattened leading axes.

        Training with ``lora_dropout`` needs the rng ``dropout``.
        """
        kernel = self.param(
            "kernel", nn.initializers.lecun_normal(), (x.shape[-1], self.features)
        )
        x, kernel = promote_dtype(x, kernel, dtype=self.dtype)
        y = x @ kernel
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,))
            y = y + bias.astype(y.dtype)
        if self.has_variable("params", lora.A):
            factors = (self.get_variable("params", name) for name in (lora.A, lora.B))
            x, a, b = promote_dtype(x, *factors, dtype=self.dtype)
            x = nn.Dropout(self.lora_dropout)(x, deterministic=not train)
            y = y + self.lora_scale * ((x @ a) @ b)
        return y


class SelfAttention(nn.Module):
    """Multi-head self-attention with LoRA on its four projections.

    Attributes:
      heads: number of heads, among which the width is divided.
      key_bias: whether the key projection has a bias (Whisper's does not).
      lora_scale, lora_dropout, dtype: see ``LoRADense``.
    """

    heads: int
    key_bias: bool = True
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
        positions: jax.Array | None = None,
    ) -> jax.Array:
        """Maps (batch · frames, dim) to the same shape.

        Activations stay two-dimensional in every matmul (a 3-D ``dot_general`` costs
        14 % of a training step on CPU); only ``attend`` unfolds them.

        Args:
          x: (batch · frames, dim).
          batch: number of utterances.
          mask: (batch, frames) bool, True for frames to attend to; None for all.
          train: whether LoRA dropout is on.
          positions: what the front-end gives all its layers about positions, for a
            class whose ``_position_scores`` reads it.

        Returns:
          (batch · frames, dim).
        """
        dim = x.shape[-1]

        def project(name, x, use_bias=True):
            options = (self.lora_scale, self.lora_dropout, self.dtype)
            return LoRADense(dim, use_bias, *options, name=name)(x, train)

        query, key, value = (
            project("query", x),
            project("key", x, self.key_bias),
            project("value", x),
        )
        scores = self._position_scores(x, batch, positions)
        mixed = attend(query, key, value, batch, self.heads, mask, scores)
        return project("out", mixed)

    def _position_scores(
        self, x: jax.Array, batch: int, positions: jax.Array | None
    ) -> PositionScores | None:
        """Returns the argument of ``attend``; absolute positions need none."""
        return None


def attend(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    batch: int,
    heads: int,
    mask: jax.Array | None = None,
    position_scores: PositionScores | None = None,
) -> jax.Array:
    """Computes scaled dot-product attention of every head.

    Three times as fast on CPU as the textbook einsums: utterances and heads share one
    batch axis, the key is transposed beforehand, and the softmax is normalised after
    its product with the value, where there is less to divide. The softmax is computed
    at least in float32.

    Args:
      query, key, value: (batch · frames, dim).
      batch: number of utterances.
      heads: number of heads.
      mask: (batch, frames) bool, True for frames to attend to; None for all.
      position_scores: maps the scaled queries, (batch · heads, frames, width), to what
        is added to the logits, (batch · heads, frames, frames); None to add nothing.

    Returns:
      (batch · frames, dim).
    """
    dim = query.shape[-1]
    width = dim // heads

    def unfold(y, axes):
        y = y.reshape(batch, -1, heads, width).transpose(0, 2, *axes)
        return y.reshape(batch * heads, *y.shape[2:])

    query = unfold(query * width**-0.5, (1, 3))  # (batch · heads, frames, width)
    key = unfold(key, (3, 1))  # (batch · heads, width, frames)
    value = unfold(value, (1, 3))
    dtype = jnp.promote_types(query.dtype, jnp.float32)
    wide: dict[str, Any] = {"preferred_element_type": dtype}
    logits = jnp.einsum("bqd,bdk->bqk", query, key, **wide)
    if position_scores is not None:
        logits = logits + position_scores(query).astype(dtype)
    if mask is not None:
        inside = jnp.repeat(mask, heads, axis=0)[:, None]
        logits = jnp.where(inside, logits, jnp.finfo(logits.dtype).min)
    top = jax.lax.stop_gradient(logits.max(axis=-1, keepdims=True))
    weights = jnp.exp(logits - top)
    mixed = jnp.einsum("bqk,bkd->bqd", weights.astype(value.dtype), value, **wide)
    mixed = (mixed / weights.sum(axis=-1, keepdims=True)).astype(value.dtype)
    mixed = mixed.reshape(batch, heads, -1, width).transpose(0, 2, 1, 3)
    return mixed.reshape(-1, dim)


def gelu(x: jax.Array) -> jax.Array:
    """Applies the exact GELU, computed with the error function as in torch.

    ``jax.nn.gelu`` uses the complementary error function, which is two to three times
    as slow in XLA on CPU.

    Args:
      x: any shape.

    Returns:
      An array of the same shape.
    """
    return 0.5 * x * (1.0 + jax.lax.erf(x * 0.5**0.5))


class TransformerLayer(nn.Module):
    """Self-attention and a feed-forward block on (batch · frames, dim).

    Attributes:
      heads: attention heads.
      hidden: feed-forward width.
      pre_norm: whether to normalise before each block (Whisper; XLS-R, as "stable
        layer norm") or after the residual addition (wav2vec 2.0 base).
      key_bias, lora_scale, lora_dropout, dtype: see ``SelfAttention``.
    """

    attention_class = SelfAttention  # not a field: WavLM's differs

    heads: int
    hidden: int
    pre_norm: bool = True
    key_bias: bool = True
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
        positions: jax.Array | None = None,
    ) -> jax.Array:
        """Maps (batch · frames, dim) to the same shape; see ``SelfAttention``."""
        options = {
            "lora_scale": self.lora_scale,
            "lora_dropout": self.lora_dropout,
            "dtype": self.dtype,
        }

        def attention(y):
            layer = self.attention_class(
                self.heads, self.key_bias, **options, name="attention"
            )
            return layer(y, batch, mask, train, positions)

        def mlp(y):
            y = LoRADense(self.hidden, **options, name="mlp_in")(y, train)
            y = gelu(y)
            return LoRADense(x.shape[-1], **options, name="mlp_out")(y, train)

        for name, block in (("attention_norm", attention), ("mlp_norm", mlp)):
            norm = nn.LayerNorm(epsilon=1e-5, dtype=self.dtype, name=name)
            x = x + block(norm(x)) if self.pre_norm else norm(x + block(x))
        return x


def transformer(
    module: nn.Module,
    layer: Any,
    x: jax.Array,
    batch: int,
    mask: jax.Array | None,
    train: bool,
    positions: jax.Array | None = None,
) -> list[jax.Array]:
    """Runs a front-end's transformer layers, whose parameters are ``layers_0``, ….

    Args:
      module: the front-end, inside its compact call. Its attributes say how to run:
        ``layers`` is their number; with ``remat`` a layer keeps only its input and is
        recomputed in the backward pass, a third more arithmetic for a small part of
        the memory; with ``scan`` one layer is compiled and looped over, which compiles
        many times faster but stacks the parameters.
      layer: one layer, without a parent: a ``TransformerLayer`` or another module with
        its call and its ``lora_dropout``.
      x, batch, mask, train, positions: see ``SelfAttention``.

    Returns:
      The input and every layer's output: ``layers + 1`` arrays (batch · frames, dim).
    """
    names = [f"layers_{i}" for i in range(module.layers)]
    if module.is_initializing():
        for name in names:
            module.param(
                name,
                lambda key: layer.init(key, x, batch, mask, False, positions)["params"],
            )
    params = [module.get_variable("params", name) for name in names]
    keys = [None] * module.layers
    if train and layer.lora_dropout:
        keys = list(jax.random.split(module.make_rng("dropout"), module.layers))

    def run(x, inputs):
        params, key = inputs
        rngs = None if key is None else {"dropout": key}
        y = layer.apply({"params": params}, x, batch, mask, train, positions, rngs=rngs)
        return cast(jax.Array, y), y

    if module.remat:
        run = jax.checkpoint(run)
    if not module.scan:
        states = [x]
        for inputs in zip(params, keys, strict=True):
            states.append(run(states[-1], inputs)[0])
        return states
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *zip(params, keys, strict=True))
    last, states = jax.lax.scan(run, x, stacked)
    return [x, *states[:-1], last]
