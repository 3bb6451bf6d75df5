"""Peaks by device, and the measured product."""

import jax
import pytest

from mldg_jax.training.machine import peaks


@pytest.mark.parametrize(
    ("kind", "arithmetic", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", "bfloat16", 989e12),
        ("NVIDIA H100 PCIe", "float32", 378e12),
        ("NVIDIA H100 80GB HBM3", "highest", 67e12),
        ("NVIDIA H200", "bfloat16", 989e12),
        ("NVIDIA A100-SXM4-40GB", "float32", 156e12),
        ("NVIDIA L40S", "bfloat16", 362e12),
        ("NVIDIA L4", "bfloat16", 121e12),
        ("TPU v5 lite", "bfloat16", 197e12),
        ("TPU v5p", "bfloat16", 459e12),
        ("TPU v6 lite", "bfloat16", 918e12),
        ("TPU v6 lite", "highest", 153e12),
        ("cpu", "float32", None),
    ],
)
def test_published_peaks(kind, arithmetic, peak):
    assert peaks.published_peak(kind, arithmetic) == peak


def test_a_product_is_measured_and_rounds_as_float32():
    device = jax.local_devices()[0]
    for arithmetic in ("float32", "highest"):
        assert peaks.measured_rate(device, arithmetic, size=256, seconds=0.01) > 1e8
    assert 1e-8 < peaks.product_error(device) < 1e-5
