"""The measurements of ``mldg bench`` as text."""

from mldg_jax.common.tables import Table, aligned
from mldg_jax.data.audio import SAMPLE_RATE
from mldg_jax.training.machine.measurements import Benchmark, ProgramSpeed


def text(measured: Benchmark) -> str:
    """Formats measurements for a terminal.

    Args:
      measured: from ``bench.run``.

    Returns:
      Lines of text.
    """
    return "\n\n".join([_heading(measured), aligned(table(measured)), _notes(measured)])


def table(measured: Benchmark) -> Table:
    """Returns the measurements as a table, one row a program.

    Args:
      measured: from ``bench.run``.

    Returns:
      Header and rows.
    """
    header = ["program", "step, ms", "clips/s", "× real time", "TFLOP", "MFU"]
    header += ["of product", "memory, GiB", "loader", "compile, s"]
    return header, [_row(speed) for speed in measured.speeds]


def _row(speed: ProgramSpeed) -> list[str]:
    return [
        speed.program,
        f"{1e3 * speed.step_seconds:.0f}",
        f"{speed.clips_per_second:.1f}",
        f"{speed.times_real_time:.1f}",
        f"{speed.flops / 1e12:.3f}",
        _percent(speed.utilisation),
        _percent(speed.of_product),
        f"{speed.memory / 2**30:.2f}",
        _percent(speed.loader_share),
        f"{speed.compile_seconds:.1f}",
    ]


def _percent(part: float | None) -> str:
    return "-" if part is None else f"{100 * part:.0f} %"


def _heading(measured: Benchmark) -> str:
    trained, frozen = (measured.parameters[x] for x in ("trained", "frozen"))
    return (
        f"{measured.devices} × {measured.device} ({measured.platform}), "
        f"{measured.dtype}, utterances of {measured.samples / SAMPLE_RATE:.2f} s; "
        f"{trained:,} trained and {frozen:,} frozen parameters, random weights"
    )


def _notes(measured: Benchmark) -> str:
    peak = "no published peak for this device"
    if measured.peak and measured.score_peak:
        peak = f"of the published {measured.peak / 1e12:.0f} TFLOP/s per device"
        peak += f" (score: {measured.score_peak / 1e12:.0f})"
    return (
        f"TFLOP: matrix products and convolutions per step and device. MFU: {peak}. of "
        f"product: of the\n{measured.product / 1e12:.2f} TFLOP/s that a large matrix "
        "product reached here. loader: time that steps wait for episodes.\n"
        "score: batches of windows on one device, in full float32, in which a product "
        f"reached {measured.score_product / 1e12:.2f}."
    )
