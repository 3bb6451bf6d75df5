"""Layers shared by the front-ends."""

import flax.linen as nn
import jax
import jax.numpy as jnp

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
      lora_scale: alpha / rank.
    """

    features: int
    use_bias: bool = True
    lora_scale: float = 1.0

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (rows, in) to (rows, features); rows are flattened leading axes."""
        kernel = self.param(
            "kernel", nn.initializers.lecun_normal(), (x.shape[-1], self.features)
        )
        y = x @ kernel
        if self.use_bias:
            y = y + self.param("bias", nn.initializers.zeros, (self.features,))
        if self.has_variable("params", lora.A):
            a = self.get_variable("params", lora.A)
            b = self.get_variable("params", lora.B)
            y = y + self.lora_scale * ((x @ a) @ b)
        return y


class SelfAttention(nn.Module):
    """Multi-head self-attention whose four projections take LoRA factors.

    Attributes:
      heads: number of heads; the width is divided among them.
      key_bias: whether the key projection has a bias (Whisper's has none).
      lora_scale: alpha / rank.
    """

    heads: int
    key_bias: bool = True
    lora_scale: float = 1.0

    @nn.compact
    def __call__(self, x: jax.Array, batch: int) -> jax.Array:
        """Maps (batch · frames, dim) to the same shape.

        Rows stay two-dimensional through every matmul (3-D ``dot_general`` costs 14 %
        of a training step on CPU) and are only unfolded around the attention core.
        """
        dim = x.shape[-1]

        def project(name, use_bias=True):
            return LoRADense(dim, use_bias, self.lora_scale, name=name)

        def heads_of(y):
            return y.reshape(batch, -1, self.heads, dim // self.heads)

        query = heads_of(project("query")(x))  # (batch, frames, heads, head_dim)
        key = heads_of(project("key", self.key_bias)(x))
        value = heads_of(project("value")(x))
        logits = jnp.einsum("bqhd,bkhd->bhqk", query, key)
        weights = jax.nn.softmax(logits * (dim // self.heads) ** -0.5)
        mixed = jnp.einsum("bhqk,bkhd->bqhd", weights, value)
        return project("out")(mixed.reshape(x.shape))
