"""N devices, in one process or two, train as one does."""

import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from mldg_jax.common.errors import UserError
from mldg_jax.training import parallel
from mldg_jax.training.objective_section import OBJECTIVES

ROOT = Path(__file__).parents[2]


def start(out: Path, *options: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "tests.devices", str(out), *options]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(*processes: subprocess.Popen) -> None:
    for process in processes:
        output, _ = process.communicate(timeout=900)
        assert process.returncode == 0, output[-3000:]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]


def two_processes(folder: Path, *options: str) -> list[Path]:
    """Runs two processes with two devices each, over gloo; returns their results."""
    together = (
        f"--coordinator=localhost:{free_port()} --processes=2 --emulate=2".split()
    )
    outs = [folder / f"process_{i}.npz" for i in range(2)]
    finish(
        *(
            start(out, "--devices=4", *together, f"--process={i}", *options)
            for i, out in enumerate(outs)
        )
    )
    return outs


def assert_equal(
    one: Path,
    other: Path,
    orders,
    dtype: str,
    count: int | str,
    atol: float,
    reference: int | str = 1,
):
    """Compares gradient, parameters, statistics, metrics with those of one device."""
    one, other = np.load(one), np.load(other)
    for order in orders:
        keys = [k for k in one.files if k.startswith(f"{order}/{dtype}/{reference}/")]
        assert len(keys) >= 20
        for key in keys:
            theirs = other[key.replace(f"/{reference}/", f"/{count}/", 1)]
            # Adam's quotient makes much of the rounding of a small gradient, and the
            # logged cosine takes one gradient from another
            derived = "moved" in key or "cosine" in key
            atol_here = 100 * atol if derived else atol
            np.testing.assert_allclose(
                theirs, one[key], rtol=atol, atol=atol_here, err_msg=key
            )


def test_eight_devices_train_like_one(tmp_path):
    """Both orders, both mappings, BatchNorm, unequal attacks, five steps."""
    out, orders = tmp_path / "out.npz", ("first", "second")
    finish(start(out, "--devices", "1", "8", "--mappings", "pmap", "shard_map"))
    assert_equal(out, out, orders, "float64", 8, 1e-10)
    assert_equal(out, out, orders, "float64", "8 shard_map", 1e-12, reference=8)
    found = np.load(out)
    gradients = [k for k in found.files if k.startswith("first/float64/1/['gradient']")]
    assert any(
        np.abs(found[k] - found[k.replace("first", "second", 1)]).max() > 1e-4
        for k in gradients
    )  # otherwise one of the orders was not tried


def test_two_processes_with_two_devices_train_like_one(tmp_path):
    one = tmp_path / "one.npz"
    finish(start(one, "--devices=1", "--orders=second"))
    for out in two_processes(
        tmp_path, "--orders=second", "--mappings", "pmap", "shard_map"
    ):
        assert_equal(one, out, ["second"], "float64", 4, 1e-10)
        assert_equal(out, out, ["second"], "float64", "4 shard_map", 1e-12, reference=4)


@pytest.mark.full
def test_every_number_of_devices_trains_like_one(tmp_path):
    one = tmp_path / "one.npz"
    both = ("--dtypes", "float64", "float32", "--mappings", "pmap", "shard_map")
    finish(start(one, "--devices", "1", "2", "4", "8", *both))
    for count, out in [(2, one), (4, one), (8, one)] + [
        (4, out) for out in two_processes(tmp_path, *both)
    ]:
        assert_equal(one, out, ("first", "second"), "float64", count, 1e-10)
        assert_equal(one, out, ("first", "second"), "float32", count, 1e-5)
        assert_equal(
            out,
            out,
            ("first", "second"),
            "float64",
            f"{count} shard_map",
            1e-12,
            reference=count,
        )


@pytest.mark.full
def test_every_objective_trains_on_four_devices_like_on_one(tmp_path):
    """Default runs have the same on a small problem (tests/objectives)."""
    out, names = tmp_path / "out.npz", sorted(OBJECTIVES.keys() - {"mldg"})
    config = ["mldg_gc", "mldg_gn"]  # they need an inner_lr
    names = [name for name in names if name not in config]
    finish(start(out, "--devices", "1", "4", "--orders", *names))
    assert_equal(out, out, names, "float64", 4, 1e-10)


def test_more_devices_than_there_are_are_refused():
    with pytest.raises(UserError, match="99 devices asked for"):
        parallel.devices(99)
    assert parallel.devices() == jax.devices()


@pytest.mark.parametrize(
    ("processes", "process"), [(None, None), (2, None), (2, 2), (2, -1)]
)
def test_a_process_needs_its_number(processes, process):
    with pytest.raises(UserError, match="--processes N and --process I"):
        parallel.connect("localhost:1", processes, process)
