"""Residual blocks of AASIST and the layers they are made of.

Images are (batch, height, width, channels): height is spectral, width is temporal.
"""

import functools
from collections.abc import Sequence
from typing import cast

import flax.linen as nn
import jax
import jax.numpy as jnp

Padding = tuple[tuple[int, int], tuple[int, int]]

SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


@jax.custom_jvp
def selu(x: jax.Array) -> jax.Array:
    """Applies the scaled exponential linear unit (Klambauer et al. 2017).

    The derivative is computed from the value, which saves an exponential and an array.

    Args:
      x: any shape.

    Returns:
      An array of the same shape.
    """
    # exp(x) − 1 takes half the time of expm1 and costs an absolute error of 1e-7.
    negative = SELU_ALPHA * (jnp.exp(jnp.minimum(x, 0)) - 1)
    return SELU_SCALE * jnp.where(x > 0, x, negative)


@selu.defjvp
def _selu_jvp(primals, tangents):
    y = selu(*primals)
    slope = jnp.where(y > 0, SELU_SCALE, y + SELU_SCALE * SELU_ALPHA)
    return y, slope * tangents[0]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolve(x: jax.Array, kernel: jax.Array, padding: Padding) -> jax.Array:
    """Convolves with stride 1, with a gradient that is fast on CPU too.

    XLA's own gradient of ``lax.conv`` with respect to a kernel of few channels is 13
    times slower on CPU; ``_correlate`` replaces it. The gradients of both functions
    consist of these two functions, so reverse-mode derivatives of any order are
    defined. Forward mode is not.

    Args:
      x: (batch, height, width, in).
      kernel: (kernel height, kernel width, in, out).
      padding: number of zeros before and after, for height and for width.

    Returns:
      (batch, height + padding − kernel height + 1, …, out).
    """
    return _native(x, kernel, padding)


def _native(x, kernel, padding):
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), padding, dimension_numbers=layout
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _correlate(x: jax.Array, y: jax.Array, padding: Padding) -> jax.Array:
    """Computes the gradient of ``convolve`` with respect to its kernel.

    Args:
      x: the input of ``convolve``.
      y: gradient with respect to the output of ``convolve``.
      padding: as for ``convolve``.

    Returns:
      (kernel height, kernel width, in, out).
    """
    return jax.lax.platform_dependent(
        x,
        y,
        cpu=functools.partial(_correlate_matmul, padding=padding),
        default=functools.partial(_correlate_native, padding=padding),
    )


def _kernel_shape(x, y, padding):
    height, width = (x.shape[i] + sum(padding[i - 1]) - y.shape[i] + 1 for i in (1, 2))
    return height, width, x.shape[-1], y.shape[-1]


def _correlate_native(x: jax.Array, y: jax.Array, *, padding: Padding) -> jax.Array:
    kernel = jax.ShapeDtypeStruct(_kernel_shape(x, y, padding), x.dtype)
    (result,) = jax.linear_transpose(lambda k: _native(x, k, padding), kernel)(y)
    return result


def _correlate_matmul(x: jax.Array, y: jax.Array, *, padding: Padding) -> jax.Array:
    """Computes ``_correlate`` as matmuls of shifted images, one example at a time.

    The shifted copies of one example stay in cache, which is 3 times faster than the
    whole batch at once.
    """
    (top, bottom), (left, right) = padding
    height, width, channels, features = _kernel_shape(x, y, padding)

    def add(total, example):
        x, y = example
        rows, columns = y.shape[0], x.shape[1]
        # Either image may be shifted against the other. The column shifts of y stand
        # side by side in one matrix; x is shifted by rows, which keeps its order.
        x = jnp.pad(x, ((top, bottom), (0, 0), (0, 0)))
        back = (width - 1 - left, width - 1 - right)
        y = jnp.pad(y, ((0, 0), back, (0, 0)))
        starts = range(width - 1, -1, -1)
        y = jnp.concatenate([y[:, s : s + columns] for s in starts], axis=-1)
        y = y.reshape(-1, width * features)
        taps = [x[i : i + rows].reshape(-1, channels).T @ y for i in range(height)]
        return total + jnp.stack(taps), None

    start = jnp.zeros((height, channels, width * features), x.dtype)
    total, _ = jax.lax.scan(add, start, (x, y))
    return total.reshape(height, channels, width, features).swapaxes(1, 2)


def _transposed(kernel: jax.Array, padding: Padding) -> tuple[jax.Array, Padding]:
    """Returns kernel and padding of the convolution that maps output back to input."""
    (top, bottom), (left, right) = padding
    height, width = kernel.shape[0] - 1, kernel.shape[1] - 1
    back = ((height - top, height - bottom), (width - left, width - right))
    return jnp.flip(kernel, (0, 1)).swapaxes(2, 3), back


def _convolve_fwd(x, kernel, padding):
    return convolve(x, kernel, padding), (x, kernel)


def _convolve_bwd(padding, saved, gradient):
    x, kernel = saved
    return convolve(gradient, *_transposed(kernel, padding)), _correlate(
        x, gradient, padding
    )


def _correlate_fwd(x, y, padding):
    return _correlate(x, y, padding), (x, y)


def _correlate_bwd(padding, saved, gradient):
    x, y = saved
    return convolve(y, *_transposed(gradient, padding)), convolve(x, gradient, padding)


convolve.defvjp(_convolve_fwd, _convolve_bwd)
_correlate.defvjp(_correlate_fwd, _correlate_bwd)


def max_pool(x: jax.Array, height: int, width: int) -> jax.Array:
    """Takes the maximum over adjacent windows that do not overlap.

    Incomplete windows at the end are dropped. Computed as a maximum of strided slices,
    because the gradient of ``lax.reduce_window`` is slow on CPU.

    Args:
      x: (batch, H, W, channels).
      height, width: size of the window.

    Returns:
      (batch, H // height, W // width, channels).
    """
    rows, columns = x.shape[1] // height, x.shape[2] // width
    x = x[:, : rows * height, : columns * width]
    x = x.reshape(x.shape[0], rows, height, columns, width, x.shape[-1])
    parts = [x[:, :, i, :, j] for i in range(height) for j in range(width)]
    return functools.reduce(jnp.maximum, parts)


class BatchNorm(nn.Module):
    """Normalises every channel over all other axes, with torch's running statistics.

    torch normalises with the biased variance but tracks the unbiased one;
    ``nn.BatchNorm`` tracks the biased one.

    Attributes:
      axis_name: mapped axis over which the batch is sharded, if any.
      momentum: weight of the old running statistics in a training step.
      epsilon: added to the variance.
    """

    axis_name: str | None = None
    momentum: float = 0.9
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Maps (…, channels) to the same shape."""
        shape = x.shape[-1:]
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape)
        if not train:
            factor = scale * jax.lax.rsqrt(running_var.value + self.epsilon)
            return x * factor + (bias - running_mean.value * factor)
        mean, var, count = self._moments(x)
        if self.is_mutable_collection("batch_stats") and not self.is_initializing():
            unbiased = var * (count / (count - 1))
            for running, new in ((running_mean, mean), (running_var, unbiased)):
                new = jax.lax.stop_gradient(new)
                running.value += (1 - self.momentum) * (new - running.value)
        factor = scale * jax.lax.rsqrt(var + self.epsilon)
        return x * factor + (bias - mean * factor)

    def _moments(self, x: jax.Array) -> tuple[jax.Array, jax.Array, int]:
        """Returns mean, biased variance and the number of values behind them."""
        axes = tuple(range(x.ndim - 1))
        count = x.size // x.shape[-1]
        # In one pass: a two-pass variance needs another array, 3 % of a training step.
        mean, square = x.mean(axes), jnp.square(x).mean(axes)
        if self.axis_name is not None and not self.is_initializing():
            mean, square = jax.lax.pmean((mean, square), self.axis_name)
            count *= jax.lax.axis_size(self.axis_name)
        return mean, jnp.maximum(square - jnp.square(mean), 0), count


class Convolution(nn.Module):
    """``convolve`` as a layer, with a kernel and a bias.

    Attributes:
      features: output channels.
      window: height and width of the kernel.
      padding: see ``convolve``.
    """

    features: int
    window: tuple[int, int]
    padding: Padding

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (batch, height, width, in) to (batch, height', width', features)."""
        shape = (*self.window, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, shape[-1:])
        return cast(jax.Array, convolve(x, kernel, self.padding)) + bias


class ResidualBlock(nn.Module):
    """Two 2 × 3 convolutions around a normalisation, and a shortcut.

    Attributes:
      features: output channels.
      first: whether this is the network's first block, which has no ``norm1``.
      axis_name: see ``BatchNorm``.
    """

    features: int
    first: bool = False
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Maps (batch, height, width, in) to (batch, height, width, features)."""
        if not self.first:
            # The published code normalises the block's input but then convolves the raw
            # input. This layer only holds the parameters and statistics that the
            # published weights contain; nothing reads its output.
            BatchNorm(self.axis_name, name="norm1")(x, train)
        y = Convolution(self.features, (2, 3), ((1, 1), (1, 1)), name="conv1")(x)
        y = selu(BatchNorm(self.axis_name, name="norm2")(y, train))
        y = Convolution(self.features, (2, 3), ((0, 0), (1, 1)), name="conv2")(y)
        if x.shape[-1] != self.features:
            pad = ((0, 0), (1, 1))
            x = Convolution(self.features, (1, 3), pad, name="shortcut")(x)
        return x + y


class Encoder(nn.Module):
    """A normalisation, then residual blocks: six in the published models.

    Attributes:
      channels: output channels of each block.
      pool: width of the max-pooling after each block; 1 for none.
      axis_name: see ``BatchNorm``.
    """

    channels: Sequence[int] = (32, 32, 64, 64, 64, 64)
    pool: int = 1
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Maps (batch, height, width, 1) to (batch, height, width', channels[-1])."""
        x = selu(BatchNorm(self.axis_name, name="norm")(x, train))
        for i, features in enumerate(self.channels):
            block = ResidualBlock(features, i == 0, self.axis_name, name=f"block_{i}")
            x = block(x, train)
            if self.pool > 1:
                x = max_pool(x, 1, self.pool)
        return x
