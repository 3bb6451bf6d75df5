"""``mldg compare`` with families left out, from the command to the tables."""

import json

import jax
import numpy as np
import pytest

from mldg_jax import cli
from mldg_jax.common import run_folder
from mldg_jax.data.corpus import BONAFIDE
from mldg_jax.experiments import jobs
from mldg_jax.experiments.trial_sets import Test as TrialSet
from mldg_jax.scoring import scorer
from tests.data import small_debspoof

SMALL = ("episode.attacks_per_episode=4", "episode.num_meta_test=2")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data directory with DebSpoof full in miniature."""
    folder = tmp_path_factory.mktemp("full") / "data"
    small_debspoof.make(folder, "full")
    return folder


def command(data, workdir, *options):
    given = ["compare", "--config", "configs/debspoof_full.py:smoke", "--workers", "0"]
    given += ["--data-dir", str(data), "--workdir", str(workdir), "--folds", "1:2"]
    for text in SMALL:
        given += ["--set", text]
    return [*given, *options]


@pytest.fixture(scope="module")
def table(data, tmp_path_factory):
    """Two methods, two seeds, two groups of attacks, every average."""
    workdir = tmp_path_factory.mktemp("table") / "runs"
    options = ["--methods", "lfcc-gmm,erm", "--seeds", "0:2", "--attack-folds", "0:2"]
    options += ["--averages", "ema,last,uniform,swad,diwa", "--set", "init_seed=0"]
    options += ["--set", "validation.utterances=10"]
    given = command(data, workdir, *options)
    assert cli.main(given) == 0
    return workdir, given


def read(workdir, name="results.json"):
    return json.loads((workdir / name).read_text())


def test_every_average_has_a_row_and_a_difference(table):
    workdir, _ = table
    results = read(workdir)
    averages = ["ema", "last", "uniform", "swad", "diwa"]
    assert list(results["rows"]) == ["lfcc-gmm", *(f"erm {x}" for x in averages)]
    assert results["columns"] == ["pooled", "macro"]
    references = {k: x.get("reference") for k, x in results["rows"].items()}
    assert references.pop("erm ema") is None
    assert set(references.values()) == {"erm ema"}
    assert results["bootstrap"]["resampled"].endswith("attack families")
    assert list(results["schemes"]) == ["speakers", "speakers-attacks", "trials"]
    text = (workdir / "table.md").read_text()
    assert "2 seeds × 1 speaker folds × 2 groups of attacks" in text
    assert "| resampled |" in text and "dev EER: FRR" in text


def test_the_rates_are_those_of_the_score_files(table):
    """Each group is tested by the detector that was trained without it."""
    workdir, _ = table
    from mldg_jax import metrics

    for seed in (0, 1):
        rates = []
        for group in (0, 1):
            folder = workdir / f"erm seed{seed} fold1 attacks{group}"
            lines = (
                (folder / "scores_debspoof_unseen_swad-4.txt").read_text().split("\n")
            )
            rows = [line.split() for line in lines if line]
            trained = run_folder.read_provenance(folder)["trained_on"]["spoof"]
            assert not {r[1] for r in rows} & set(trained)
            real = np.array([r[2] == "bonafide" for r in rows])
            scores = np.array([float(r[3]) for r in rows])
            rates.append(metrics.eer(scores[real], scores[~real])[0])
        found = read(workdir)["rows"]["erm swad"]["eer"]["pooled"]["by_seed"][seed]
        assert found == pytest.approx(np.mean(rates))


def test_diwa_scores_with_the_mean_of_the_merged_weights(table, data):
    workdir, _ = table
    runs = [
        scorer.load_parameters(workdir / f"erm seed{seed} fold1 attacks0")
        for seed in (0, 1)
    ]
    start = [jax.tree.leaves(run.trainable["head"])[0] for run in runs]
    assert np.any(start[0] != start[1])
    mean = jax.tree.map(
        lambda *xs: np.mean(xs, 0), *(run.scorer().variables for run in runs)
    )
    detector = runs[0].scorer()._replace(variables=mean)
    config = runs[0].config
    from mldg_jax.data.attack_folds import attacks_of
    from mldg_jax.data.corpus import find_corpus

    folder = find_corpus("debspoof", "full", data)
    unseen = attacks_of(folder, config.corpus)
    rows = TrialSet("x", folder, "eval", 1, unseen).rows()
    some = rows.take(np.flatnonzero(rows.label == BONAFIDE)[:5])
    expected = scorer.score_waveforms(detector, (some.waveform(i) for i in range(5)))
    file = workdir / "erm diwa fold1 attacks0 of 2" / "scores_debspoof_unseen.txt"
    np.testing.assert_allclose(jobs.read_scores(file, some), expected, atol=1e-4)


def test_a_second_start_trains_and_scores_nothing(table):
    workdir, given = table
    before = {p: p.stat().st_mtime_ns for p in workdir.rglob("scores_*.txt")}
    assert cli.main(given) == 0
    assert before == {p: p.stat().st_mtime_ns for p in workdir.rglob("scores_*.txt")}
    assert not list(workdir.rglob("segments"))  # needed for the averages alone


def test_one_run_is_tested_at_every_budget(data, tmp_path):
    options = ["--methods", "erm,sam", "--seeds", "0:1", "--budgets", "4,8"]
    assert cli.main(command(data, tmp_path, *options)) == 0
    results = read(tmp_path)
    steps = {b: [r["steps"] for r in x.values()] for b, x in results["budgets"].items()}
    assert steps == {"4": [4, 2], "8": [8, 4]}
    assert results["rows"] == results["budgets"]["8"]
    assert (tmp_path / "curves.svg").exists()
    assert len(list(tmp_path.glob("*seed*"))) == 2  # not one for each budget


def test_values_are_chosen_for_each_group_and_used(data, tmp_path):
    options = ["--methods", "erm", "--seeds", "0:1", "--attack-folds", "0:2"]
    tuning = ["--tune", "--vary", "optimizer.lr=1e-3,1e-2"]
    tuning += ["--set", "selection.steps=2", "--set", "selection.num_meta_test=2"]
    assert cli.main(command(data, tmp_path / "tune", *options, *tuning)) == 0
    chosen = read(tmp_path / "tune")["chosen_by_attack_fold"]
    assert set(chosen) == {"0", "1"}
    using = ["--chosen", str(tmp_path / "tune" / "results.json")]
    assert cli.main(command(data, tmp_path / "used", *options, *using)) == 0
    for group, values in chosen.items():
        folder = tmp_path / "used" / f"erm seed0 fold1 attacks{group}"
        assert (
            run_folder.read_config(folder).optimizer.lr == values["erm"]["optimizer.lr"]
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--averages", "swa"], "choose from ema, last, uniform, swad, diwa"),
        (["--averages", "swad"], "add --attack-folds"),
        (["--averages", "diwa"], "add --set init_seed=0"),
        (["--budgets", "8,4"], "ascending"),
        (["--attack-folds", "3:5"], "corpus.attack_folds has 4 groups"),
        (["--folds", "0:9"], "has no speaker fold 4; it has [0, 1, 2, 3]"),
        (["--chosen", "README.md"], "README.md"),
    ],
)
def test_what_cannot_be_done_is_refused_at_once(
    data, tmp_path, capsys, options, message
):
    given = command(data, tmp_path, "--methods", "erm", "--seeds", "0:1", *options)
    assert cli.main(given) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("*seed*"))
