"""Manifests that run ``mldg train`` elsewhere, from the templates in ``templates/``.

One description of a run (``Launch``) renders to an image, a Kubernetes JobSet, a
SkyPilot task or a SLURM script. Nothing is started and no cluster is asked.
"""

import dataclasses
import json
import re
import shlex
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import jinja2

from mldg_jax import __version__
from mldg_jax.common.errors import UserError
from mldg_jax.training.launch.accelerators import Accelerator

TARGETS = ("dockerfile", "jobset", "skypilot", "slurm")
BUCKETS = ("gs://", "s3://")
PORT = 8476  # of process 0, where the others connect
STOPPED = 75  # exit status of a run that saved and stopped early: EX_TEMPFAIL
GRACE = 120  # seconds to finish a step and save
RUNTIMES = {  # images of TPU machines, for SkyPilot
    "v4": "tpu-ubuntu2204-base",
    "v5e": "v2-alpha-tpuv5-lite",
    "v5p": "v2-alpha-tpuv5",
    "v6e": "v2-alpha-tpuv6e",
}
_SHOWN = ("kind", "per_host", "sky")  # of an accelerator, by the templates
_EXTRAS = {"tpu": "whisper,hub,av,tpu", "gpu": "whisper,hub,av,cuda"}


class Volume(NamedTuple):
    """A persistent volume claim, mounted at a path."""

    claim: str
    path: str


@dataclasses.dataclass(frozen=True)
class Launch:
    """A training run and where it should run.

    Attributes:
      accelerator: what each node has.
      config: preset or config file, and method, e.g. "xlsr:mldg"; "" for an image.
      workdir: the run folder: an absolute path, or a bucket's URL.
      data_dir: folder of the prepared corpora: likewise.
      overrides: values of ``--set``.
      nodes: nodes with GPUs or CPUs; 1 for TPUs, whose slices have their hosts.
      slices: TPU slices.
      name: name of the job.
      image: container image.
      spot: whether to ask for machines that can be taken away at any time.
      restarts: maximum number of restarts.
      volumes: claims to mount (jobset).
      selector: node labels to ask for instead of GKE's (jobset).
      account: service account of the pods (jobset).
      queue: Kueue's queue (jobset).
      time: limit of the job, as SLURM writes it.
      wheel: name of a wheel in dist/ to install instead of the checkout (dockerfile).
      command_line: the command that printed the manifest.
    """

    accelerator: Accelerator
    config: str = ""
    workdir: str = ""
    data_dir: str = ""
    overrides: tuple[str, ...] = ()
    nodes: int = 1
    slices: int = 1
    name: str = "mldg"
    image: str = "mldg"
    spot: bool = True
    restarts: int = 20
    volumes: tuple[Volume, ...] = ()
    selector: tuple[tuple[str, str], ...] = ()
    account: str = ""
    queue: str = ""
    time: str = "24:00:00"
    wheel: str = ""
    command_line: str = ""

    @property
    def hosts(self) -> int:
        """Hosts of a slice, or all nodes."""
        return self.accelerator.hosts * self.nodes

    @property
    def devices(self) -> int:
        """JAX devices of all processes; a node without an accelerator is one."""
        return self.hosts * self.slices * max(self.accelerator.per_host, 1)


def render(target: str, launch: Launch) -> str:
    """Renders a manifest.

    Args:
      target: one of ``TARGETS``.
      launch: the run.

    Returns:
      The manifest's text, which ends with a newline.

    Raises:
      UserError: the target cannot run this, or a name or path is not valid.
    """
    if target != "dockerfile":
        _check(target, launch)
    return _environment().get_template(target).render(_values(target, launch))


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mldg_jax.training.launch"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["quote"] = shlex.quote
    environment.filters["scalar"] = _scalar
    return environment


def _scalar(text: str) -> str:
    """Quotes a string for YAML, of which JSON is a part (Jinja's own escapes HTML)."""
    return json.dumps(text, ensure_ascii=False)


def _values(target: str, launch: Launch) -> dict[str, Any]:
    """Returns what the templates refer to."""
    accelerator = launch.accelerator
    arguments = train_arguments(target, launch)
    return dataclasses.asdict(launch) | {
        **{name: getattr(accelerator, name) for name in _SHOWN},
        "accelerator": f"{accelerator.name}:{_size(accelerator)}".rstrip(":"),
        "hardware": {"cpu": "CPUs", "gpu": "NVIDIA GPUs"}.get(
            accelerator.kind, f"TPU {accelerator.name}"
        ),
        "version": __version__,
        "title": _title(launch),
        "hosts": launch.hosts,
        "extras": _EXTRAS.get(accelerator.kind, "whisper,hub,av"),
        "arguments": arguments,
        "command": shlex.join(["mldg", *arguments]),
        "environment": _environment_variables(accelerator),
        "selector": _selector(launch),
        "volumes": launch.volumes,
        "runtime": RUNTIMES.get(accelerator.name, ""),
        # for the loader, which decodes and augments
        "cpus": 8 if accelerator.kind == "gpu" else 4,
        "port": PORT,
        "grace": GRACE,
        "stopped": STOPPED,
    }


def _size(accelerator: Accelerator) -> str:
    return accelerator.topology or str(accelerator.per_host or "")


def _title(launch: Launch) -> str:
    accelerator, nodes = launch.accelerator, launch.nodes
    where = {
        "tpu": f"{launch.slices} × TPU {accelerator.name} {accelerator.topology}",
        "gpu": f"{nodes} × {accelerator.per_host} {accelerator.name.upper()}",
    }.get(accelerator.kind, f"{nodes} × CPU")
    return f"mldg_jax {__version__}: {launch.config} on {where}"


def train_arguments(target: str, launch: Launch) -> list[str]:
    """Returns the arguments of ``mldg`` that every process of a run gets.

    Args:
      target: one of ``TARGETS``.
      launch: the run.

    Returns:
      ``["train", "--config", …]``; without the coordinator where the manifest's own
      shell finds it (skypilot on several nodes).
    """
    accelerator = launch.accelerator
    arguments = ["train", "--config", launch.config, "--workdir", launch.workdir]
    arguments += ["--data-dir", launch.data_dir]
    for override in launch.overrides:
        arguments += ["--set", override]
    arguments += ["--stopped-status", str(STOPPED)]
    if launch.hosts * launch.slices == 1 and target != "slurm":
        return arguments
    if target == "slurm" and launch.hosts * max(accelerator.per_host, 1) == 1:
        return arguments
    if accelerator.kind == "tpu" or target == "slurm":
        return [*arguments, "--coordinator", "auto"]
    if target == "jobset":  # JobSet's name of the first pod; Kubernetes fills in $(…)
        first = f"{launch.name}-train-0-0.{launch.name}:{PORT}"
        arguments += ["--coordinator", first, "--processes", str(launch.hosts)]
        arguments += ["--process", "$(JOB_COMPLETION_INDEX)"]
    return arguments


def _environment_variables(accelerator: Accelerator) -> dict[str, str]:
    if accelerator.kind == "tpu":
        return {"JAX_PLATFORMS": "tpu,cpu"}
    if accelerator.kind == "gpu":
        return {"JAX_PLATFORMS": "cuda,cpu"}  # a node whose driver fails stops at once
    return {"JAX_PLATFORMS": "cpu"}


def _selector(launch: Launch) -> dict[str, str]:
    accelerator = launch.accelerator
    labels = dict(launch.selector)
    if accelerator.kind == "tpu":
        labels = {
            "cloud.google.com/gke-tpu-accelerator": accelerator.gke,
            "cloud.google.com/gke-tpu-topology": accelerator.topology,
        } | labels
    elif accelerator.gke and not labels:
        labels = {"cloud.google.com/gke-accelerator": accelerator.gke}
    if launch.spot and accelerator.gke and not launch.selector:
        labels["cloud.google.com/gke-spot"] = "true"
    return labels


def _check(target: str, launch: Launch) -> None:
    """Checks that a target can run a launch; raises ``UserError``."""
    if not re.fullmatch(r"[^\s:]+(:[\w,.-]+)?", launch.config):
        raise UserError(
            f"--config {launch.config!r}: give a preset or a file in the checkout, and "
            "a method, e.g. xlsr:mldg or configs/my_config.py:mldg"
        )
    # The pods' names, NAME-train-0-0-xxxxx, are limited to 63 characters.
    if not re.fullmatch(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?", launch.name):
        raise UserError(
            f"--name {launch.name!r}: at most 40 lower-case letters, digits and "
            "hyphens, a letter first"
        )
    if launch.accelerator.kind == "tpu" and launch.nodes != 1:
        raise UserError(
            f"--nodes {launch.nodes} with a TPU: the shape of a slice says how many "
            "hosts it has; for several slices give --slices N"
        )
    for option, path in (
        ("--workdir", launch.workdir),
        ("--data-dir", launch.data_dir),
    ):
        if not path.startswith((*BUCKETS, "/")):
            raise UserError(
                f"{option} {path!r}: on other machines a relative path means nothing; "
                "give an absolute path or a bucket (gs://… or s3://…)"
            )
    _CHECKS[target](launch)


def _check_jobset(launch: Launch) -> None:
    mounts = [PurePosixPath(volume.path) for volume in launch.volumes]
    for option, path in (
        ("--workdir", launch.workdir),
        ("--data-dir", launch.data_dir),
    ):
        is_mounted = any(PurePosixPath(path).is_relative_to(mount) for mount in mounts)
        if not path.startswith(BUCKETS) and not is_mounted:
            raise UserError(
                f"{option} {path}: no volume is mounted there, so it would end with "
                "the pod; give --volume CLAIM:/PATH, or a bucket (gs://… or s3://…)"
            )


def _check_skypilot(launch: Launch) -> None:
    if launch.slices != 1:
        raise UserError(
            f"--slices {launch.slices}: SkyPilot starts single slices; use "
            "`mldg launch --print jobset`"
        )
    for option, path in (
        ("--workdir", launch.workdir),
        ("--data-dir", launch.data_dir),
    ):
        if not path.startswith(BUCKETS):
            raise UserError(
                f"{option} {path}: a machine that SkyPilot replaces takes its disk "
                "with it; give a bucket (gs://… or s3://…)"
            )


def _check_slurm(launch: Launch) -> None:
    if launch.accelerator.kind == "tpu":
        raise UserError(
            f"--accelerator {launch.accelerator.name}: TPUs are not scheduled by "
            "SLURM; use `mldg launch --print jobset` or skypilot"
        )
    if not launch.workdir.startswith("/"):
        raise UserError(
            f"--workdir {launch.workdir}: give a folder on the cluster's shared disk; "
            "the script looks there to see whether the run is finished"
        )
    if not re.fullmatch(r"(\d+-)?\d+(:\d\d){0,2}", launch.time):
        raise UserError(f"--time {launch.time}: give HH:MM:SS or DAYS-HH:MM:SS")


_CHECKS = {
    "jobset": _check_jobset,
    "skypilot": _check_skypilot,
    "slurm": _check_slurm,
}
