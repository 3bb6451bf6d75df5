"""The report of ``mldg doctor`` as text."""

from mldg_jax.common.tables import aligned
from mldg_jax.training.machine.doctor import EXACT, Check, Device, Examination


def text(report: Examination) -> str:
    """Formats a report for a terminal and for bug reports.

    Args:
      report: from ``doctor.examine``.

    Returns:
      Lines of text.
    """
    parts = [
        _pairs(report.system),
        _pairs(report.versions),
        _devices(report),
        _checks(report.checks),
        _extras(report.extras),
        "\n".join(report.advice or ["No problem found."]),
    ]
    return "\n\n".join(parts)


def _pairs(facts: dict[str, str]) -> str:
    width = max(map(len, facts))
    return "\n".join(f"{name:{width}}  {value}" for name, value in facts.items())


def _devices(report: Examination) -> str:
    header = ["devices", "count", "memory", "error of a float32 product"]
    rows = [
        [
            f"{x.name} ({x.platform})" if x.name != x.platform else x.name,
            str(x.count),
            f"{x.memory / 2**30:.1f} GiB" if x.memory else "-",
            f"{x.product_error:.0e}: {_arithmetic(x)}",
        ]
        for x in report.devices
    ]
    setting = f"jax_default_matmul_precision: {report.precision}"
    return f"{aligned((header, rows))}\n{setting}"


def _arithmetic(device: Device) -> str:
    """Names the arithmetic that a rounding error tells of."""
    if device.product_error < 1e-5:
        return "full float32"
    return "TF32" if device.product_error < 1e-3 else "bfloat16"


def _checks(checks: list[Check]) -> str:
    header = ["reference step", "seconds", "from float64", "from the CPU", "result"]
    rows = [
        [
            x.device,
            f"{x.seconds:.1f}",
            f"{x.deviation:.0e}",
            "-" if x.from_cpu is None else f"{x.from_cpu:.0e}",
            _verdict(x),
        ]
        for x in checks
    ]
    return aligned((header, rows))


def _verdict(check: Check) -> str:
    if not check.passed:
        return "WRONG"
    return "right" if check.deviation < EXACT else "right, in reduced precision"


def _extras(extras: dict[str, list[str]]) -> str:
    rows = [
        [name, "installed" if not missing else f"lacks {', '.join(missing)}"]
        for name, missing in extras.items()
    ]
    return aligned((["extra", "packages"], rows))
