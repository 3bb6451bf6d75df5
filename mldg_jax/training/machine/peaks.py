"""Published peaks of accelerators, and the rate of a matrix product measured here."""

import contextlib
import functools
import statistics
import time
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mldg_jax.training.tpu_plan.chips import CHIPS


class Peak(NamedTuple):
    """Published peaks of dense matrix products on one device, in FLOP/s.

    Attributes:
      bfloat16: with float32 accumulation (float16 on devices without bfloat16).
      float32: as JAX computes float32 by default: TF32 on NVIDIA since Ampere, one
        bfloat16 pass on TPU.
      highest: of float32 without reduced precision, as scores are computed: outside the
        tensor cores on NVIDIA, six bfloat16 passes on TPU.
    """

    bfloat16: float
    float32: float
    highest: float


def _tpu(name: str) -> Peak:
    peak = CHIPS[name].peak
    return Peak(peak, peak, peak / 6)


# By a part of JAX's ``device_kind``; the first that fits counts. NVIDIA: datasheets of
# the products, without sparsity.
PEAKS = {
    "TPU v6": _tpu("v6e"),
    "TPU v5p": _tpu("v5p"),
    "TPU v5 lite": _tpu("v5e"),
    "TPU v5e": _tpu("v5e"),
    "TPU v5": _tpu("v5p"),
    "TPU v4": _tpu("v4"),
    "H200": Peak(989e12, 494e12, 67e12),
    "H100 PCIe": Peak(756e12, 378e12, 51e12),
    "H100": Peak(989e12, 494e12, 67e12),
    "A100": Peak(312e12, 156e12, 19.5e12),
    "L40S": Peak(362e12, 183e12, 91.6e12),
    "L4": Peak(121e12, 60e12, 30.3e12),
    "V100": Peak(125e12, 15.7e12, 15.7e12),
    "T4": Peak(65e12, 8.1e12, 8.1e12),
    "RTX 4090": Peak(165e12, 82.6e12, 82.6e12),
}


def published_peak(kind: str, arithmetic: str) -> float | None:
    """Looks up a device's published peak.

    Args:
      kind: JAX's ``device_kind``, e.g. "NVIDIA H100 80GB HBM3".
      arithmetic: a field of ``Peak``: "bfloat16", "float32" or "highest".

    Returns:
      FLOP/s of dense matrix products; None for a device that ``PEAKS`` does not have,
      such as any CPU.
    """
    for name, peak in PEAKS.items():
        if name in kind:
            return getattr(peak, arithmetic)
    return None


def device_name(device: jax.Device) -> str:
    """Names a device, for a report.

    Args:
      device: of JAX.

    Returns:
      Its kind; for a CPU, the processor's model where Linux tells it.
    """
    if device.platform != "cpu":
        return device.device_kind
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return device.device_kind


def measured_rate(
    device: jax.Device,
    arithmetic: str,
    *,
    size: int | None = None,
    seconds: float = 1.0,
) -> float:
    """Measures a large matrix product.

    Args:
      device: where to compute.
      arithmetic: a field of ``Peak``.
      size: of the square matrices; None for 1,024 on CPU and 8,192 elsewhere.
      seconds: about how long to measure.

    Returns:
      FLOP/s, the median of several products.
    """
    size = size or (1_024 if device.platform == "cpu" else 8_192)
    precision = "highest" if arithmetic == "highest" else None
    dtype = "float32" if precision else arithmetic
    x = jax.device_put(jnp.full((size, size), 1 / size, dtype), device)
    multiply = jax.jit(functools.partial(jnp.matmul, precision=precision))
    multiply(x, x).block_until_ready()
    times, started = [], time.perf_counter()
    while len(times) < 3 or time.perf_counter() - started < seconds:
        begin = time.perf_counter()
        multiply(x, x).block_until_ready()
        times.append(time.perf_counter() - begin)
    return 2 * size**3 / statistics.median(times)


def product_error(device: jax.Device, size: int = 256) -> float:
    """Measures the rounding error of a float32 matrix product, as JAX computes it.

    Args:
      device: where to compute.
      size: of the square matrices.

    Returns:
      The root mean square error relative to that of the exact product's elements:
      about 1e-7 in float32, 3e-4 in TF32, 2e-3 in one bfloat16 pass.
    """
    left, right = np.random.default_rng(0).normal(size=(2, size, size))
    left, right = left.astype(np.float32), right.astype(np.float32)
    exact = left.astype(np.float64) @ right.astype(np.float64)
    ours = jax.jit(jnp.matmul)(*jax.device_put((left, right), device))
    error = np.asarray(ours, np.float64) - exact
    return float(np.sqrt(np.mean(error**2) / np.mean(exact**2)))
