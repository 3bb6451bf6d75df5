"""Runs that are killed, told to stop, or find their files damaged. Real processes.

``full`` has the whole matrix: five seeds, one and four devices, two processes.
"""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from flax import traverse_util

from mldg_jax.common import run_folder
from tests.training.test_parallel import ROOT, free_port

CONFIG = "tests/tiny.py:mldg"
STEPS = 60


def start(workdir, *overrides, devices=1, options=(), quiet=False):
    """Starts ``mldg train`` in its own process, with output to ``<workdir>.log``."""
    command = [sys.executable, "-m", "tests.trainee", "--emulate", str(devices)]
    command += ["train", "--config", CONFIG, "--workdir", str(workdir), *options]
    for override in overrides:
        command += ["--set", override]
    log = Path(f"{workdir}{''.join(options[-2:])}.log")
    with log.open("a") as file:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT
        )
    process.log = log
    return process


def finish(*processes, status=0):
    for process in processes:
        assert process.wait(600) == status, process.log.read_text()[-3000:]
    return processes[0].log.read_text()


def lines(workdir):
    path = workdir / "metrics.jsonl"
    whole = path.read_text().splitlines() if path.exists() else []
    return [json.loads(x) for x in whole if x.endswith("}")]


def until(step, workdir, *processes):
    """Waits until a run's log has reached a step."""
    while not any(x["step"] >= step for x in lines(workdir)):
        assert all(p.poll() is None for p in processes), processes[0].log.read_text()
        time.sleep(0.01)


def result(workdir):
    trainable, batch_stats = run_folder.read_trainable(workdir)
    tree = {**trainable, "batch_stats": batch_stats}
    return traverse_util.flatten_dict(tree, sep="/")


def assert_same(one, other, atol=0.0):
    one, other = result(one), result(other)
    assert one.keys() == other.keys()
    for path, value in one.items():
        np.testing.assert_allclose(other[path], value, rtol=0, atol=atol, err_msg=path)


def killed_and_resumed(workdir, seed, kills, **options):
    """Kills a run at random moments, in a step or a save, then lets it finish."""
    rng = random.Random(seed)
    for at in sorted(rng.sample(range(2, STEPS - 2), kills)):
        process = start(workdir, **options)
        until(at, workdir, process)
        time.sleep(rng.uniform(0, 0.1))
        process.kill()
        process.wait()
    assert not run_folder.finished(workdir)
    finish(start(workdir, **options))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Returns a run that was never interrupted."""
    workdir = tmp_path_factory.mktemp("whole") / "run"
    finish(start(workdir))
    return workdir


def test_killed_and_resumed_is_the_same_to_the_last_bit(whole, tmp_path):
    killed_and_resumed(tmp_path / "run", seed=0, kills=1)
    assert_same(whole, tmp_path / "run")


def test_sigterm_saves_and_says_how_to_go_on(whole, tmp_path):
    workdir = tmp_path / "run"
    process = start(workdir, options=("--stopped-status", "75"))
    until(7, workdir, process)
    process.send_signal(signal.SIGTERM)
    said = finish(process, status=75)
    assert f"to continue, run\n  mldg train --config {CONFIG} --workdir" in said
    step = lines(workdir)[-1]["step"]
    assert (workdir / "checkpoints" / str(step)).is_dir()  # nothing was lost
    assert not run_folder.finished(workdir)
    finish(start(workdir))
    assert_same(whole, workdir)


@pytest.mark.full
@pytest.mark.parametrize("devices", [1, 4])
def test_killed_at_random_five_times_over(devices, tmp_path):
    finish(start(tmp_path / "whole", devices=devices))
    for seed in range(5):
        workdir = tmp_path / str(seed)
        killed_and_resumed(workdir, seed, kills=1, devices=devices)
        assert_same(tmp_path / "whole", workdir)


@pytest.mark.full
@pytest.mark.parametrize(("at", "atol"), [(56, 1e-6), (30, 1e-4)])
def test_begun_on_four_devices_and_ended_on_one(at, atol, tmp_path):
    """The later steps are as those of four devices, up to what Adam makes of 1e-7."""
    workdir, again = tmp_path / "run", tmp_path / "again"
    process = start(workdir, devices=4)
    until(at, workdir, process)
    process.send_signal(signal.SIGTERM)
    finish(process)
    assert max(int(p.name) for p in (workdir / "checkpoints").iterdir()) >= at
    shutil.copytree(workdir, again)
    finish(start(workdir, devices=4))
    finish(start(again, devices=1))
    assert_same(workdir, again, atol=atol)


def both(workdir, *overrides):
    """Two processes with two devices each."""
    together = ("--coordinator", f"localhost:{free_port()}", "--processes", "2")
    return [
        start(
            workdir,
            *overrides,
            devices=2,
            options=(*together, "--process", str(i)),
        )
        for i in range(2)
    ]


@pytest.mark.full
@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
def test_two_processes_stop_at_the_same_step_and_go_on(number, tmp_path):
    finish(*both(tmp_path / "whole"))
    workdir = tmp_path / "run"
    processes = both(workdir, f"steps={STEPS}")
    until(7, workdir, *processes)
    processes[1].send_signal(getattr(signal, number))
    assert "to continue, run" in finish(*processes)
    assert not run_folder.finished(workdir)
    finish(*both(workdir))
    assert_same(tmp_path / "whole", workdir)


@pytest.mark.full
@pytest.mark.parametrize("victim", [0, 1])
def test_one_process_of_two_dies_and_both_go_on(victim, tmp_path):
    finish(*both(tmp_path / "whole"))
    workdir = tmp_path / "run"
    processes = both(workdir)
    until(12, workdir, *processes)
    processes[victim].kill()
    processes[victim].wait()
    survivor = processes[1 - victim]
    said = finish(survivor, status=2)
    assert "another process of the run" in said and "same command" in said
    finish(*both(workdir))
    assert_same(tmp_path / "whole", workdir)
