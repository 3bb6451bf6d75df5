"""The commands ``mldg doctor`` and ``mldg bench``."""

import argparse
import json
import sys
from typing import Any

from mldg_jax.cli.arguments import add_command

DOCTOR = (
    "Examine this machine: versions, devices, precision, does a step compute right?"
)
DOCTOR_DETAILS = """\
Runs one small training step on every kind of device that JAX finds and compares it with
a result that was computed in float64. Takes up to a minute. Paste the output into a bug
report. Exit status: 0 all is well, 1 a device computes wrong results.
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


def _doctor(arguments: argparse.Namespace) -> int:
    from mldg_jax.training.machine import doctor, doctor_text

    print("examining this machine …", file=sys.stderr, flush=True)
    report = doctor.examine()
    text = json.dumps(report.to_json()) if arguments.json else doctor_text.text(report)
    print(text)
    return 0 if report.is_healthy else 1
