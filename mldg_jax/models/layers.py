"""Layers shared by the front-ends."""

from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype

from mldg_jax import lora


class LoRADense(nn.Module):
    """A dense layer that adds ``scale · (x @ A) @ B`` when its LoRA factors are given.

    The factors are not initialised here: they are ``lora_a`` (in, rank) and ``lora_b``
    (rank, features) in this module's ``params``, put there by ``lora.join``. Applied
    factored, so that no gradient of the frozen kernel is ever formed. With B = 0 the
    output is the frozen layer's, bit for bit.

    Attributes:
      features: output width.
      use_bias: whether there is a bias.
      lora_scale: what multiplies A @ B, see ``lora.scale``.
      lora_dropout: rate of the dropout in front of A, in training.
      dtype: what it computes in; its parameters' and input's if None.
    """

    features: int
    use_bias: bool = True
    lora_scale: float = 1.0
    lora_dropout: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Maps (rows, in) to (rows, features); rows are flattened leading axes.

        In training with ``lora_dropout`` it needs the rng ``dropout``.
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
    """Multi-head self-attention whose four projections take LoRA factors.

    Attributes:
      heads: number of heads; the width is divided among them.
      key_bias: whether the key projection has a bias (Whisper's has none).
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
    ) -> jax.Array:
        """Maps (batch · frames, dim) to the same shape.

        Rows stay two-dimensional through every matmul (3-D ``dot_general`` costs 14 %
        of a training step on CPU) and are only unfolded around the attention core.

        Args:
          x: (batch · frames, dim).
          batch: number of utterances.
          mask: (batch, frames) bool, True where there is speech to attend to.
          train: whether LoRA dropout is on.
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
        mixed = attend(query, key, value, batch, self.heads, mask)
        return project("out", mixed)


def attend(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    batch: int,
    heads: int,
    mask: jax.Array | None = None,
) -> jax.Array:
    """The attention core.

    Three times as fast on a CPU as the textbook's einsums: one batch axis of utterances
    and heads, the key transposed beforehand, and the softmax divided after its product
    with the value, where there is less to divide. The softmax is computed in float32 at
    least.

    Args:
      query, key, value: (batch · frames, dim).
      batch: number of utterances.
      heads: number of heads.
      mask: (batch, frames) bool, True where there is speech to attend to.

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
    """Exact GELU by the error function, as torch computes it.

    ``jax.nn.gelu`` takes the complementary error function, which takes XLA two to three
    times as long on a CPU.
    """
    return 0.5 * x * (1.0 + jax.lax.erf(x * 0.5**0.5))


class TransformerLayer(nn.Module):
    """Self-attention and a feed-forward block on (batch · frames, dim).

    Attributes:
      heads: attention heads.
      hidden: feed-forward width.
      pre_norm: normalise before each block (Whisper, XLS-R: "stable layer norm") or
        after adding it to its input (wav2vec 2.0 base).
      key_bias, lora_scale, lora_dropout, dtype: see ``SelfAttention``.
    """

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
    ) -> jax.Array:
        """Arguments as for ``SelfAttention``."""
        options = {
            "lora_scale": self.lora_scale,
            "lora_dropout": self.lora_dropout,
            "dtype": self.dtype,
        }

        def attention(y):
            layer = SelfAttention(
                self.heads, self.key_bias, **options, name="attention"
            )
            return layer(y, batch, mask, train)

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
    layer: TransformerLayer,
    x: jax.Array,
    batch: int,
    mask: jax.Array | None,
    train: bool,
) -> list[jax.Array]:
    """Runs a front-end's layers, whose parameters are its ``layers_0``, ….

    Args:
      module: the front-end, within its compact call; its ``layers``, ``remat`` and
        ``scan`` say how many and how. With ``remat`` a layer keeps only its input for
        the backward pass and is computed again there: a third more arithmetic for a
        small part of the memory. With ``scan`` one layer is compiled and looped over,
        which compiles many times faster; the parameters are stacked on the way.
      layer: one layer, without a parent.
      x, batch, mask, train: see ``TransformerLayer``.

    Returns:
      The input and every layer's output, ``layers + 1`` arrays.
    """
    names = [f"layers_{i}" for i in range(module.layers)]
    if module.is_initializing():
        for name in names:
            module.param(name, lambda key: layer.init(key, x, batch, mask)["params"])
    params = [module.get_variable("params", name) for name in names]
    keys = [None] * module.layers
    if train and layer.lora_dropout:
        keys = list(jax.random.split(module.make_rng("dropout"), module.layers))

    def run(x, inputs):
        params, key = inputs
        rngs = None if key is None else {"dropout": key}
        y = layer.apply({"params": params}, x, batch, mask, train, rngs=rngs)
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
