"""The commands ``mldg doctor`` and ``mldg bench``."""

import argparse
import json
from typing import Any

from mldg_jax.cli.arguments import add_command, add_config
from mldg_jax.common import console

DOCTOR = (
    "Examine this machine: versions, devices, precision, does a step compute right?"
)
DOCTOR_DETAILS = """\
Runs one small training step on every kind of device that JAX finds and compares it with
a result that was computed in float64. Takes up to a minute. Paste the output into a bug
report. Exit status: 0 all is well, 1 a device computes wrong results.
"""
BENCH = "Measure how fast this machine scores and trains, and what limits it."
BENCH_DETAILS = """\
Uses the model of a config with random weights and noise as utterances, so nothing has
to be downloaded or built. The same on CPU, GPU and TPU.

examples:
  mldg bench --config configs/debspoof.py:mldg
  mldg bench --config configs/xlsr.py:mldg --devices 8 --json > bench.json
  mldg bench --config configs/xlsr.py:mldg --programs score,mldg --seconds 30
"""


def add(commands: Any) -> None:
    """Adds the commands.

    Args:
      commands: subparsers of the main parser.
    """
    doctor = add_command(commands, "doctor", _doctor, DOCTOR, DOCTOR_DETAILS)
    doctor.add_argument(
        "--json", action="store_true", help="print one JSON object instead of text"
    )
    bench = add_command(commands, "bench", _bench, BENCH, BENCH_DETAILS)
    add_config(bench)
    bench.add_argument(
        "--devices", type=int, default=1, metavar="N",
        help="devices to train on; default: %(default)s",
    )  # fmt: skip
    bench.add_argument(
        "--programs",
        metavar="NAME,…",
        help="what to measure, of score, erm, sam, mldg (first order), mldg2 (second "
        "order); default: all",
    )
    bench.add_argument(
        "--seconds",
        type=float,
        default=3.0,
        help="about how long to measure each program; default: %(default)s",
    )
    bench.add_argument(
        "--json", action="store_true", help="print one JSON object instead of text"
    )


def _bench(arguments: argparse.Namespace) -> None:
    from mldg_jax.training import parallel
    from mldg_jax.training.config_files import read_config_file
    from mldg_jax.training.machine import bench, bench_text

    names = arguments.programs
    measured = bench.run(
        read_config_file(arguments.config, arguments.overrides),
        devices=parallel.devices(arguments.devices),
        programs=names.split(",") if names else bench.PROGRAMS,
        seconds=arguments.seconds,
        progress=console.progress,
    )
    print(
        json.dumps(measured.to_json()) if arguments.json else bench_text.text(measured)
    )


def _doctor(arguments: argparse.Namespace) -> int:
    from mldg_jax.training.machine import doctor, doctor_text

    console.progress("examining this machine …")
    report = doctor.examine()
    text = json.dumps(report.to_json()) if arguments.json else doctor_text.text(report)
    print(text)
    return 0 if report.is_healthy else 1
