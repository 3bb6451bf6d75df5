"""Hyper-parameters are those with the lowest EER on held-out training attacks."""

import json

import numpy as np
import pytest

from mldg_jax import cli
from mldg_jax.common import run_folder
from mldg_jax.data.corpus import NO_ATTACK, find_corpus
from mldg_jax.experiments import demo, jobs, selection
from mldg_jax.experiments.selection import Candidate

WITHOUT = {"fest_diphone", "piper_vits", "world_shift"}


def finish(job, separation):
    """Writes the files of a finished job; less separation gives a higher EER."""
    run_folder.write_config(job.workdir, job.config)
    zero = np.zeros(1, np.float32)
    run_folder.write_trainable(job.workdir, {"w": zero}, {"m": zero})
    (test,) = job.tests
    rows = test.rows()
    noise = np.random.default_rng(job.config.seed).normal(size=len(rows.label))
    jobs.write_scores(job.scores(test), rows, separation * rows.label + noise)


def test_the_lowest_eer_is_chosen_and_the_first_of_equals():
    candidates = {
        "a": Candidate("erm", {"lr": 1}, (0.3, 0.1)),
        "b": Candidate("erm", {"lr": 2}, (0.1, 0.2)),
        "c": Candidate("erm", {"lr": 3}, (0.2, 0.1)),
        "d": Candidate("mldg", {"lr": 1}, (0.5,)),
    }
    assert selection.best(candidates) == {"erm": "b", "mldg": "d"}


@pytest.mark.parametrize("good", [(5e-4, 3e-3, 0.003), (1e-3, 1e-3, 0.01)])
def test_select_takes_the_best_candidate_of_each_stage(debspoof, tmp_path, good):
    base = demo.read_configs("configs/debspoof.py")
    corpus = find_corpus("debspoof", "small", debspoof)
    lr, head_lr, inner_lr = good
    stages = []

    def run(title, todo):
        stages.append(title)
        for job in todo:
            assert set(job.config.episode.exclude) == WITHOUT
            assert job.config.steps == base["mldg"].selection.steps
            (test,) = job.tests
            assert test.split == "dev"
            assert set(test.rows().attack) == WITHOUT | {NO_ATTACK}
            tried = {
                "erm": job.config.optimizer.lr == lr,
                "frozen": job.config.optimizer.head_lr == head_lr,
                "mldg": job.config.objective.inner_lr == inner_lr,
            }
            finish(job, 3.0 if tried[job.config.method] else 0.5)

    found = selection.select(base, corpus, tmp_path, run)
    assert found.chosen == {
        "erm": {"optimizer.lr": lr},
        "frozen": {"optimizer.head_lr": head_lr},
        "mldg": {"optimizer.lr": lr, "objective.inner_lr": inner_lr},
    }
    assert len(stages) == 2 and len(found.candidates) == 6
    for method, values in found.chosen.items():
        mine = [one for one in found.candidates if one.method == method]
        best = min(mine, key=lambda one: one.eer)
        assert best.values == values and len(best.by_seed) == 2
        assert best.eer < max(one.eer for one in mine) - 0.1


@pytest.mark.parametrize("good", [0.003, 0.03])
def test_choose_says_which_value_is_best(debspoof, tmp_path, monkeypatch, capsys, good):
    tests = []

    def run(title, todo, *, workers):
        for job in todo:
            assert set(job.config.episode.exclude) == WITHOUT
            tests.extend(job.tests)
            is_good = job.config.objective.inner_lr in (None, good)
            finish(job, 3.0 if is_good else 0.5)

    monkeypatch.setattr(jobs, "run", run)
    command = ["compare", "--tune", "--config", "configs/debspoof.py"]
    command += ["--workdir", str(tmp_path), "--data-dir", str(debspoof)]
    command += ["--methods", "erm,mldg", "--seeds", "0:2", "--workers", "0"]
    command += ["--vary", "objective.inner_lr=0.003,0.01,0.03"]
    assert cli.main(command) == 0
    assert f"lowest pooled EER: erm, mldg inner_lr={good}." in capsys.readouterr().out
    assert {test.split for test in tests} == {"dev"}
    assert all(set(test.attacks) == WITHOUT for test in tests)
    found = json.loads((tmp_path / "results.json").read_text())
    assert found["chosen"] == {"erm": {}, "mldg": {"objective.inner_lr": good}}
    rates = {k: row["eer"]["pooled"]["eer"] for k, row in found["rows"].items()}
    del rates["erm"]
    assert min(rates, key=rates.get) == f"mldg inner_lr={good}"
