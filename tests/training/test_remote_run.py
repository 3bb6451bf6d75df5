"""Runs in a bucket: stopped, killed during a copy, continued on other machines."""

import json
import random
import time
from pathlib import Path

import pytest

from mldg_jax.common import run_folder
from mldg_jax.common.buckets import Bucket
from mldg_jax.training import checkpoints, loop, remote_run
from tests import fake_gcs, small
from tests.training.test_parallel import free_port
from tests.training.test_resume import assert_same, finish, start


def train(url, corpus, stop_after=100):
    """Trains in a bucket, as one start of ``mldg train``."""
    steps = []
    with remote_run.local_folder(url) as (folder, publish):
        loop.train(
            small.smoke_config("checkpoint_every=1"),
            folder,
            corpus,
            progress=steps.append,
            stop=lambda: len(steps) + 1 >= stop_after,
            publish=publish,
        )
    assert not folder.exists()
    return steps


def log(folder):
    lines = map(json.loads, (Path(folder) / "metrics.jsonl").read_text().splitlines())
    return [{k: v for k, v in x.items() if k != "examples_per_second"} for x in lines]


def test_a_run_continues_on_another_machine(corpus, smoke_run, tmp_path):
    bucket = tmp_path / "bucket"
    url = f"file://{bucket}/run"
    assert train(url, corpus, stop_after=2) == [1, 2]
    assert not run_folder.finished(bucket / "run")
    # A copy that was interrupted: the newest checkpoint lacks its last file.
    (bucket / "run" / checkpoints.FOLDER / "2" / remote_run.COMPLETE).unlink()
    assert train(url, corpus) == [2, 3, 4]
    assert_same(smoke_run, bucket / "run")
    assert log(smoke_run) == log(bucket / "run")
    steps = {x.name for x in (bucket / "run" / checkpoints.FOLDER).iterdir()}
    assert {"3", "4"} <= steps  # (of older ones file:// leaves empty folders)
    assert train(url, corpus) == []


def test_the_result_is_written_last_and_checkpoints_before_their_mark():
    names = [
        "trainable.safetensors", "checkpoints/5/_CHECKPOINT_METADATA", "metrics.jsonl",
        "checkpoints/5/default/d/0", "MODEL_CARD.md",
    ]  # fmt: skip
    assert sorted(names, key=remote_run._rank) == [
        "metrics.jsonl", "MODEL_CARD.md", "checkpoints/5/default/d/0",
        "checkpoints/5/_CHECKPOINT_METADATA", "trainable.safetensors",
    ]  # fmt: skip


def test_a_path_stays_a_path(tmp_path):
    with remote_run.local_folder(str(tmp_path / "run")) as (folder, publish):
        assert folder == tmp_path / "run" and publish is None


@pytest.mark.full
def test_two_processes_are_killed_and_one_continues(tmp_path, monkeypatch):
    """Two devices in two processes, then in one: the same sums, so the same bits."""
    finish(start(tmp_path / "whole", devices=2))
    with fake_gcs.serve({}) as server:
        monkeypatch.setenv("TENSORSTORE_GCS_HTTP_URL", server)
        monkeypatch.setenv("GOOGLE_AUTH_TOKEN_FOR_TESTING", "token")
        url = "gs://bucket/runs/x"
        bucket = Bucket(url)
        together = ("--coordinator", f"localhost:{free_port()}", "--processes", "2")
        processes = [
            start(
                tmp_path / "log", options=("--workdir", url, *together, "--process", x)
            )
            for x in "01"
        ]
        while not any(x.endswith(remote_run.COMPLETE) for x in bucket.names()):
            assert all(x.poll() is None for x in processes), "a process ended"
            time.sleep(0.1)
        time.sleep(random.Random(0).uniform(0, 1))
        for process in processes:
            process.kill()
            process.wait()
        assert run_folder.TRAINABLE not in bucket.names()
        finish(
            start(
                tmp_path / "log",
                devices=2,
                options=("--workdir", url, "--data-dir", "x"),
            )
        )
        for name in bucket.names():
            bucket.download(name, tmp_path / "copy" / name)
    assert_same(tmp_path / "whole", tmp_path / "copy")
    assert log(tmp_path / "whole") == log(tmp_path / "copy")
