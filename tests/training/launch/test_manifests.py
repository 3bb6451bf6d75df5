"""Manifests: that they parse, and that every process gets its place in the run.

`make check-launch` validates them with the tools of those who read them.
"""

import shlex
import subprocess
from typing import Any

import pytest
import yaml

from mldg_jax import cli
from mldg_jax.common.errors import UserError
from mldg_jax.training.launch import manifests
from mldg_jax.training.launch.accelerators import parse

BUCKET: dict[str, Any] = {
    "config": "configs/xlsr.py:mldg",
    "workdir": "gs://bucket/runs/x",
    "data_dir": "gs://bucket/data",
}
DISK: dict[str, Any] = BUCKET | {
    "workdir": "/disk/my runs/$x",
    "data_dir": "/disk/data",
}
VOLUMES = (manifests.Volume("claim", "/disk"),)


def launch(accelerator: str, slices: int = 1, **options: Any):
    chip = parse(accelerator, slices=slices)
    return manifests.Launch(chip, slices=slices, **BUCKET | options)


def jobset(*arguments, **options):
    content = yaml.safe_load(manifests.render("jobset", launch(*arguments, **options)))
    (job,) = content["spec"]["replicatedJobs"]
    pod = job["template"]["spec"]["template"]["spec"]
    return content, job, pod, pod["containers"][0]


def parsed(arguments):
    """Returns what ``mldg`` understands; exits if it does not."""
    return cli.make_parser().parse_args(arguments)


def test_several_slices_find_each_other_by_themselves():
    content, job, pod, container = jobset("v5e:4x4", 3, queue="q", account="a")
    assert job["replicas"] == 3
    assert job["template"]["spec"]["completions"] == 4
    assert container["resources"]["limits"] == {"google.com/tpu": 4}
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
        "cloud.google.com/gke-tpu-topology": "4x4",
        "cloud.google.com/gke-spot": "true",
    }
    assert pod["serviceAccountName"] == "a"
    assert content["metadata"]["labels"] == {"kueue.x-k8s.io/queue-name": "q"}
    arguments = parsed(container["args"])
    assert arguments.coordinator == "auto" and arguments.processes is None
    assert arguments.stopped_status == manifests.STOPPED != 0


def test_nodes_with_gpus_meet_at_the_first_pod():
    options = {**DISK, "volumes": VOLUMES, "nodes": 4, "name": "job"}
    _, job, pod, container = jobset("h100:8", **options)
    assert job["replicas"] == 1 and job["template"]["spec"]["parallelism"] == 4
    assert container["resources"]["limits"] == {"nvidia.com/gpu": 8}
    arguments = [x.replace("$(JOB_COMPLETION_INDEX)", "3") for x in container["args"]]
    arguments = parsed(arguments)
    assert arguments.coordinator == "job-train-0-0.job:8476"
    assert (arguments.processes, arguments.process) == (4, 3)
    assert arguments.workdir == DISK["workdir"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert {"name": "volume-1", "mountPath": "/disk"} in container["volumeMounts"]


def test_one_host_needs_no_coordinator():
    for accelerator in ("v5e:2x4", "h100:8", "cpu"):
        *_, container = jobset(accelerator)
        assert parsed(container["args"]).coordinator is None


def test_own_labels_replace_gkes_and_on_demand_asks_for_no_spot():
    *_, pod, _ = jobset("h100:8", selector=(("gpu", "h100"),))
    assert pod["nodeSelector"] == {"gpu": "h100"}
    *_, pod, _ = jobset("h100:8", spot=False)
    assert "tolerations" not in pod
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-accelerator": "nvidia-h100-80gb"
    }


def run_line(script, program, **environment):
    """Executes a shell script whose ``program`` prints its arguments."""
    script = script.replace(program, "printf '%s\\n'")
    outcome = subprocess.run(
        ["bash", "-c", script], env=environment, capture_output=True, text=True
    )
    assert outcome.returncode == 0, outcome.stderr
    return parsed(outcome.stdout.splitlines())


def test_skypilots_nodes_get_their_numbers():
    overrides = ("optimizer.lr=1e-3", 'corpus.name=it\'s "mine"')
    text = manifests.render(
        "skypilot", launch("h100:8", nodes=2, overrides=overrides, restarts=7)
    )
    task = yaml.safe_load(text)
    assert task["num_nodes"] == 2 and task["resources"]["accelerators"] == "H100:8"
    assert task["resources"]["use_spot"] is True
    assert task["resources"]["job_recovery"]["max_restarts_on_errors"] == 7
    arguments = run_line(
        task["run"],
        "~/venv/bin/mldg",
        PATH="/usr/bin:/bin",
        SKYPILOT_NODE_IPS="10.0.0.1\n10.0.0.2",
        SKYPILOT_NUM_NODES="2",
        SKYPILOT_NODE_RANK="1",
    )
    assert arguments.coordinator == "10.0.0.1:8476"
    assert (arguments.processes, arguments.process) == (2, 1)
    assert tuple(arguments.overrides) == overrides


def test_skypilots_tpus_are_one_node():
    task = yaml.safe_load(manifests.render("skypilot", launch("v6e:4x4")))
    assert "num_nodes" not in task
    assert task["resources"]["accelerators"] == "tpu-v6e-16"
    arguments = run_line(task["run"], "~/venv/bin/mldg", PATH="/usr/bin:/bin")
    assert arguments.coordinator == "auto"


@pytest.mark.parametrize(
    ("status", "is_finished", "requeued"),
    [(75, False, True), (75, True, False), (0, True, False), (2, False, False)],
)
def test_slurm_queues_again_what_was_stopped(status, is_finished, requeued, tmp_path):
    run = tmp_path / "my runs" / "x"
    run.mkdir(parents=True)
    if is_finished:
        (run / "trainable.safetensors").touch()
    where = shlex.quote(str(tmp_path))
    commands = {
        "srun": f'printf "%s\\n" "$@" >{where}/arguments; exit {status}',
        "scontrol": f'echo "$@" >{where}/requeued',
    }
    for name, text in commands.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    options: dict[str, Any] = DISK | {"workdir": str(run)}
    script = manifests.render("slurm", launch("a100:4", nodes=2, **options))
    assert "#SBATCH --ntasks-per-node=4\n#SBATCH --gpus-per-node=4\n" in script
    outcome = subprocess.run(
        ["bash", "-c", script],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_JOB_ID": "17"},
    )
    assert (tmp_path / "requeued").exists() is requeued
    assert outcome.returncode == (0 if requeued else status)
    *_, program = (tmp_path / "arguments").read_text().partition(".venv/bin/mldg\n")
    arguments = parsed(program.splitlines())
    assert arguments.workdir == str(run) and arguments.coordinator == "auto"


@pytest.mark.parametrize(
    ("accelerator", "extra"), [("cpu", "av]"), ("h100:8", "cuda]"), ("v5e:2x4", "tpu]")]
)
def test_images_are_of_their_hardware_and_not_of_root(accelerator, extra):
    text = manifests.render("dockerfile", launch(accelerator))
    assert extra in text and "-c constraints.txt" in text
    assert ("NVIDIA_VISIBLE_DEVICES" in text) is (accelerator == "h100:8")
    assert text.index("\nUSER 1000\n") > text.rindex("RUN ")
    text = manifests.render("dockerfile", launch(accelerator, wheel="m-0.1.whl"))
    assert "COPY dist/m-0.1.whl constraints.txt ./" in text
    assert "'./m-0.1.whl[" in text and "COPY mldg_jax" not in text


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        ("jobset", {"config": "x y:mldg"}, "give a preset or a file"),
        ("jobset", {"name": "My_job"}, "--name 'My_job'"),
        ("jobset", {"name": "x" * 41}, "at most 40"),
        ("jobset", {"workdir": "runs/x"}, "--workdir 'runs/x': on other machines"),
        ("jobset", {"data_dir": "/disk/data"}, "--data-dir /disk/data: no volume"),
        ("skypilot", {"workdir": "/disk/x"}, "takes its disk with it"),
        ("slurm", {"workdir": "gs://b/x"}, "shared disk"),
        ("slurm", DISK | {"time": "a day"}, "--time a day"),
    ],
)
def test_what_cannot_work_is_refused(target, options, message):
    with pytest.raises(UserError, match=message):
        manifests.render(target, launch("h100:8", **options))


def test_tpus_have_their_own_number_of_hosts():
    with pytest.raises(UserError, match="--nodes 2 with a TPU"):
        manifests.render("jobset", launch("v5e:2x4", nodes=2))
    with pytest.raises(UserError, match="SkyPilot starts single slices"):
        manifests.render("skypilot", launch("v5e:4x4", 2))
    with pytest.raises(UserError, match="not scheduled by SLURM"):
        manifests.render("slurm", launch("v5e:2x4", **DISK))


def test_the_image_gets_all_that_its_package_is_built_from():
    text = manifests.render("dockerfile", manifests.Launch(parse("cpu")))
    (copied,) = (x for x in text.splitlines() if x.startswith("COPY setup.cfg"))
    assert "setup.py" in copied.split()  # adds the presets, which --config names
