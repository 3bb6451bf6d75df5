"""The command ``mldg plan``."""

import argparse
import json
import os
from typing import Any

from mldg_jax.cli.arguments import add_command, add_config, whole_number
from mldg_jax.common import console

TEXT = "Compile the training step for a TPU slice, without one: does it fit?"
DETAILS = """\
Reports memory per chip, FLOPs, communication between chips and a lower bound on the
duration of a step. Needs pip install 'mldg_jax[tpu-plan]'; XLS-R 300M takes minutes
and 10 GB of memory.

example:
  mldg plan --config xlsr:mldg --topology v5e:2x4 --batch 12
"""


def add(commands: Any) -> None:
    """Adds the command.

    Args:
      commands: subparsers of the main parser.
    """
    plan = add_command(commands, "plan", _plan, TEXT, DETAILS)
    add_config(plan)
    plan.add_argument(
        "--topology",
        required=True,
        metavar="CHIP:SHAPE",
        help="chip and shape of the slice, e.g. v5e:2x4 or v4:2x2x2",
    )
    plan.add_argument(
        "--slices",
        type=whole_number,
        default=1,
        metavar="N",
        help="slices that train together over the data centre's network; default: 1",
    )
    plan.add_argument(
        "--batch",
        type=int,
        metavar="N",
        help="utterances per chip and step, all attacks together; default: from the "
        "config's episode.examples_per_attack",
    )
    plan.add_argument(
        "--attacks",
        type=int,
        metavar="N",
        help="attacks per step; default: the config's episode.attacks_per_episode, or "
        "6 as in ASVspoof 2019 LA",
    )
    plan.add_argument(
        "--largest",
        action="store_true",
        help="also search for the largest batch that fits, which takes three to six "
        "more compilations",
    )
    plan.add_argument(
        "--json", action="store_true", help="print one JSON object instead of text"
    )


def _plan(arguments: argparse.Namespace) -> None:
    # Nothing runs, so do not occupy an accelerator.
    os.environ.setdefault("JAX_PLATFORMS", "cpu")

    from mldg_jax.training.config_files import read_config_file
    from mldg_jax.training.tpu_plan import compiled_step, plan_text

    plan = compiled_step.plan(
        read_config_file(arguments.config, arguments.overrides),
        arguments.topology,
        batch=arguments.batch,
        attacks=arguments.attacks,
        largest=arguments.largest,
        slices=arguments.slices,
        progress=console.progress,
    )
    print(json.dumps(plan.to_json()) if arguments.json else plan_text.text(plan))
