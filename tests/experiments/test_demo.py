"""``mldg demo`` from a corpus to its report, in two processes; then once more."""

import json
import os
import re

import pytest

from mldg_jax import cli
from mldg_jax.common import run_folder
from mldg_jax.data.corpus import load_split
from mldg_jax.experiments import demo, jobs
from mldg_jax.experiments.statistics import SCHEME
from mldg_jax.scoring import scorer
from tests import webpages

# Tiny arrays: what takes time is compiling, in the workers.
QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
SETTINGS = (
    "steps=2", "crop_samples=1600", "log_every=1", "checkpoint_every=1",
    "optimizer.warmup=1", "selection.steps=1", "selection.seeds=1",
    "model.frontend.layers=1", "selection.lr=[0.0005]", "selection.head_lr=[0.003]",
    "selection.inner_lr=[0.03]",
)  # fmt: skip


@pytest.fixture(scope="module")
def command(debspoof, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("demo")
    words = ["demo", "--workdir", str(workdir), "--data-dir", str(debspoof)]
    words += ["--seeds", "1", "--workers", "2"]
    for text in SETTINGS:
        words += ["--set", text]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XLA_FLAGS", f"{os.environ.get('XLA_FLAGS', '')} {QUICK}")
        yield workdir, words


def test_demo_end_to_end(command, debspoof, capsys):
    workdir, words = command
    assert cli.main(words) == 0
    printed = capsys.readouterr().out
    for title in demo.METHODS.values():
        assert title in printed
    assert SCHEME.sentence() in printed and "mldg − erm" in printed

    results = json.loads((workdir / "results.json").read_text())
    assert list(results["methods"]) == list(demo.METHODS)
    assert set(results["differences"]) == {f"{a} - {b}" for a, b in demo.PAIRS}
    assert results["bootstrap"]["resampled"] == SCHEME.resampled()
    assert len(results["selection"]["candidates"]) == 3
    chosen = results["selection"]["chosen"]
    assert chosen["mldg"] == {"optimizer.lr": 0.0005, "objective.inner_lr": 0.03}
    for method, values in chosen.items():  # and the final runs have it
        config = run_folder.flat_config(run_folder.read_config(workdir / f"{method}-0"))
        assert values.items() <= config.items()
    for method, one in results["methods"].items():
        assert 0 <= one["eer"]["pooled"]["low"] <= one["eer"]["pooled"]["eer"] <= 1
        assert set(one["by_attack"]) == {
            *results["attacks"]["trained"], *results["attacks"]["unseen"]
        }  # fmt: skip
        steps = [line["step"] for log in one["training"] for line in log]
        assert steps == ([] if method == "lfcc-gmm" else [1, 2])
    parameters = {k: one["trained_parameters"] for k, one in results["methods"].items()}
    assert parameters["lfcc-gmm"] is None
    assert 0 < parameters["frozen"] < parameters["erm"] == parameters["mldg"]

    for run in workdir.glob("[!s]*-0"):  # what `mldg score` reads is calibrated
        is_detector = not run.name.startswith("lfcc")
        assert (run / "calibration.json").exists() == is_detector, run
        if is_detector:
            rows = load_split(debspoof / "debspoof/small/1.2.0", "eval")
            written = jobs.read_scores(run / "scores_eval.txt", rows)
            raw = scorer.load(run)._replace(calibration=None)
            one = scorer.score_waveforms(raw, [rows.waveform(0)])
            assert one[0] == pytest.approx(written[0], abs=1e-4)  # not calibrated
    assert not [*workdir.glob("selection/*/calibration.json")]
    contents = (workdir / "README.txt").read_text()
    runs = r"(lfcc-gmm|frozen|erm|mldg)-0"
    names = {re.sub(runs, "METHOD-SEED", x.name) for x in workdir.iterdir()}
    of_folder, of_run = contents.split("In a run:")
    described = re.findall(r"^(\S+?)/? {2,}", of_folder, re.MULTILINE)
    # (in tests, another folder has the compiled programs)
    assert names - {"README.txt"} | {"xla"} == set(described)
    in_runs = {x.name for x in workdir.glob("*/*")} | {
        x.name for x in workdir.glob("selection/*/*")
    }
    assert set(re.findall(r"^(\S+) {2,}", of_run, re.MULTILINE)) <= in_runs

    page = (workdir / "report.html").read_text()
    webpages.needs_no_network(page)
    assert SCHEME.sentence() in page and page.count("<audio") == 6
    assert SCHEME.sentence() in (workdir / "tables.md").read_text()
    assert {x.name for x in (workdir / "figures").iterdir()} == {
        "attacks.svg", "det_unseen.svg", "det_all.svg", "loss.svg", "cosine.svg"
    }  # fmt: skip


def test_demo_again_does_nothing_but_the_report(command, capsys):
    workdir, words = command
    runs = [*workdir.glob("*/scores_*"), *workdir.glob("selection/*/scores_*")]
    assert len(runs) == 3 + 4
    before = {path: path.stat().st_mtime_ns for path in runs}
    first = json.loads((workdir / "results.json").read_text())
    (workdir / "erm-0/calibration.json").unlink()
    assert cli.main(words) == 0
    assert {path: path.stat().st_mtime_ns for path in runs} == before
    assert (workdir / "erm-0/calibration.json").exists()  # as an old run got it
    again = json.loads((workdir / "results.json").read_text())
    assert {**again, "seconds": 0} == {**first, "seconds": 0}
