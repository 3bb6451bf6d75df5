"""The command ``mldg launch``."""

import argparse
import re
import shlex
import sys
from typing import Any

from mldg_jax.cli.arguments import add_command, add_overrides, whole_number
from mldg_jax.common.errors import UserError

TEXT = "Print a Dockerfile, a JobSet, a SkyPilot task or a SLURM script for a run."
DETAILS = """\
Nothing is started: the manifest goes to standard output. The run continues from its
last checkpoint whenever a machine is lost. docs/scale-out.md has the whole way from
`pip install` to a pod.

examples:
  mldg launch --print dockerfile --accelerator h100:8 > Dockerfile
  two TPU slices of 16 chips, with GKE's JobSet
    mldg launch --print jobset --accelerator v5e:4x4 --slices 2 --image IMAGE \\
      --config xlsr:mldg --set episode.examples_per_attack=32 \\
      --data-dir gs://bucket/data --workdir gs://bucket/runs/xlsr-mldg \\
      | kubectl apply -f -
  spot machines, replaced when they are taken away
    mldg launch --print skypilot --accelerator h100:8 --nodes 2 \\
      --config xlsr:mldg --set episode.examples_per_attack=16 \\
      --data-dir s3://bucket/data --workdir s3://bucket/runs/xlsr-mldg > task.yaml
  a SLURM cluster with a shared disk
    mldg launch --print slurm --accelerator a100:4 --nodes 2 \\
      --config xlsr:mldg --set episode.examples_per_attack=8 \\
      --data-dir /scratch/data --workdir /scratch/runs/xlsr-mldg > job.sh

Every device takes the same number of each attack's utterances: set
episode.examples_per_attack to a multiple of the number of devices.
"""


def add(commands: Any) -> None:
    """Adds the command.

    Args:
      commands: subparsers of the main parser.
    """
    launch = add_command(commands, "launch", _launch, TEXT, DETAILS)
    launch.add_argument(
        "--print",
        required=True,
        choices=("dockerfile", "jobset", "skypilot", "slurm"),
        dest="target",
        help="the manifest to print",
    )
    launch.add_argument(
        "--accelerator",
        required=True,
        metavar="CHIP",
        help="CHIP:SHAPE of a TPU slice (v5e:2x4), GPU:COUNT of each node (h100:8), or "
        "cpu",
    )
    launch.add_argument(
        "--config",
        default="",
        metavar="CONFIG:METHOD",
        help="a preset (see mldg configs) or a file inside the checkout, and a method, "
        "e.g. xlsr:mldg (all but dockerfile)",
    )
    add_overrides(launch)
    launch.add_argument(
        "--workdir",
        default="",
        metavar="RUN",
        help="the run folder: gs://… or s3://…, or an absolute path on a shared disk",
    )
    launch.add_argument(
        "--data-dir",
        default="",
        metavar="FOLDER",
        help="folder of the prepared corpora: likewise",
    )
    launch.add_argument(
        "--nodes",
        type=whole_number,
        default=1,
        metavar="N",
        help="nodes with GPUs or CPUs; default: 1. A TPU slice has its own number",
    )
    launch.add_argument(
        "--slices",
        type=whole_number,
        default=1,
        metavar="N",
        help="TPU slices; default: 1",
    )
    launch.add_argument("--image", default="mldg", help="image; default: %(default)s")
    launch.add_argument(
        "--name", metavar="JOB", help="name of the job; default: from config and method"
    )
    launch.add_argument(
        "--on-demand",
        action="store_true",
        help="machines that are not taken away (jobset, skypilot); default: spot",
    )
    launch.add_argument(
        "--restarts",
        type=whole_number,
        default=20,
        metavar="N",
        help="restarts before the job fails (jobset, skypilot); default: %(default)s",
    )
    _add_jobset(launch)
    launch.add_argument(
        "--time", default="24:00:00", help="slurm: time limit; default: %(default)s"
    )
    launch.add_argument(
        "--wheel",
        default="",
        metavar="FILE.whl",
        help="dockerfile: install this wheel in dist/ instead of the checkout",
    )


def _add_jobset(launch: argparse.ArgumentParser) -> None:
    launch.add_argument(
        "--volume",
        action="append",
        default=[],
        metavar="CLAIM:/PATH",
        help="jobset: mount a persistent volume claim; may be repeated",
    )
    launch.add_argument(
        "--node-selector",
        action="append",
        default=[],
        metavar="LABEL=VALUE",
        help="jobset: node labels instead of GKE's for GPUs and spot machines, in "
        "addition to those for TPUs; may be repeated",
    )
    launch.add_argument(
        "--service-account", default="", help="jobset: account with access to buckets"
    )
    launch.add_argument("--queue", default="", help="jobset: a local queue of Kueue")


def _launch(arguments: argparse.Namespace) -> None:
    from mldg_jax.training.launch import accelerators, manifests

    volumes = [_pair("--volume", x, ":", "CLAIM:/PATH") for x in arguments.volume]
    labels = [
        _pair("--node-selector", x, "=", "LABEL=VALUE") for x in arguments.node_selector
    ]
    launch = manifests.Launch(
        accelerators.parse(arguments.accelerator, slices=arguments.slices),
        config=arguments.config,
        workdir=arguments.workdir.rstrip("/"),
        data_dir=arguments.data_dir.rstrip("/"),
        overrides=tuple(arguments.overrides),
        nodes=arguments.nodes,
        slices=arguments.slices,
        name=_name(arguments.config) if arguments.name is None else arguments.name,
        image=arguments.image,
        spot=not arguments.on_demand,
        restarts=arguments.restarts,
        volumes=tuple(manifests.Volume(*x) for x in volumes),
        selector=tuple(labels),
        account=arguments.service_account,
        queue=arguments.queue,
        time=arguments.time,
        wheel=arguments.wheel,
        command_line=shlex.join(["mldg", *sys.argv[1:]]).replace("\n", " "),
    )
    manifest = manifests.render(arguments.target, launch)
    if arguments.target != "dockerfile":  # an image is for any config
        from mldg_jax.training.launch import launch_config

        launch_config.check(launch)
    print(manifest, end="")


def _pair(option: str, text: str, separator: str, form: str) -> tuple[str, str]:
    before, found, after = text.partition(separator)
    if not (before and found and after) or (
        separator == ":" and not after.startswith("/")
    ):
        raise UserError(f"{option} {text!r}: give {form}")
    return before, after


def _name(config: str) -> str:
    """Returns e.g. "xlsr-mldg" for "xlsr:mldg"."""
    path, _, method = config.partition(":")
    stem = path.rpartition("/")[2].removesuffix(".py")
    return re.sub("[^a-z0-9]+", "-", f"{stem}-{method}".lower()).strip("-") or "mldg"
