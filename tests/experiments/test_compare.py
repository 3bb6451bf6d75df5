"""``mldg compare``: its runs, that they are done only once, and the tables."""

import csv
import dataclasses
import io
import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from mldg_jax import cli
from mldg_jax.common.error_rates import Difference
from mldg_jax.common.errors import UserError
from mldg_jax.data.corpora import official, prepare
from mldg_jax.experiments import compare, method_tables
from mldg_jax.experiments.results import Comparison, MethodResult
from mldg_jax.experiments.statistics import SCHEME, SeedRate
from tests.data import miniatures

CONFIG = "configs/xlsr.py:smoke"
NAMES = (
    "asvspoof2019_la", "asvspoof2021_la", "asvspoof2021_df", "asvspoof5",
    "in_the_wild", "fakeavceleb",
)  # fmt: skip
SMALL = ("episode.num_meta_test=1", "steps=2", "corpus.name=asvspoof2019_la")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The six corpora as miniatures."""
    folder = tmp_path_factory.mktemp("six")
    for name in NAMES:
        made = miniatures.MAKERS[name](folder / "source" / name)
        builder = official.BUILDERS[name]
        with pytest.MonkeyPatch.context() as patch:
            small = builder.layout._replace(counts=made.counts)
            patch.setattr(builder, "layout", small)
            prepare.build(name, made.source, folder / "data", workers=1, progress=False)
    return folder / "data"


def rows(methods, data, vary=None, overrides=(), choose=False):
    given = [*SMALL, "corpus.config=", *overrides]
    return compare.table_rows(CONFIG, methods, vary or {}, given, choose, data)


def test_every_method_takes_as_many_gradient_evaluations(data):
    found = rows(
        ["frozen", "erm", "control", "mldg", "mldg2"], data, overrides=["steps=60"]
    )
    steps = {label: row.config.steps for label, row in found.items()}
    # Two attacks, one of them meta-test: second order pays 3 + 1 instead of 1 + 1.
    assert steps == dict.fromkeys(("frozen", "erm", "control", "mldg"), 60) | {
        "mldg2": 30
    }
    assert {row.evaluations for row in found.values()} == {60 * 2 * 2}


def test_ranks_concern_methods_with_adapters_and_keep_their_scale(data):
    found = rows(["frozen", "erm"], data, {"model.lora.rank": [2, 8]})
    assert list(found) == ["frozen", "erm rank=2", "erm rank=8"]
    base = rows(["erm"], data)["erm"].config.model.lora
    for label in ("erm rank=2", "erm rank=8"):
        lora = found[label].config.model.lora
        assert lora.alpha / lora.rank == base.alpha / base.rank


def test_a_value_is_varied_where_a_method_has_it(data):
    vary = {"objective.beta": [0.5, 2.0], "objective.inner_steps": [1, 3]}
    found = rows(["erm", "mldg"], data, vary)
    assert len(found) == 5 and "mldg beta=2.0 inner_steps=3" in found
    # three inner steps on one of two attacks: 3 + 1 instead of 1 + 1
    assert found["mldg beta=2.0 inner_steps=3"].config.steps == 1


def test_the_reference_varies_alike(data):
    found = rows(["frozen", "erm", "mldg"], data, {"model.lora.rank": [2, 8]})
    assert compare.reference(found, "mldg rank=8") == "erm rank=8"
    assert compare.reference(found, "frozen") == "erm rank=2"
    assert compare.reference(found, "erm rank=8") is None


def test_choosing_leaves_attacks_out_and_does_not_look_at_the_test(data, tmp_path):
    overrides = ["selection.held_out=[A02]"]
    with pytest.raises(UserError, match="at least 2 attacks"):
        rows(["mldg"], data, overrides=overrides, choose=True)


def test_the_paper_s_table_end_to_end(data, tmp_path, capsys):
    """Tiny random XLS-R, six corpora: train, score, compare; then one method more."""
    tests = "[" + ", ".join(f"{name}:eval" for name in NAMES) + "]"
    command = ["compare", "--config", CONFIG, "--seeds", "0:1", "--workers", "0"]
    command += ["--workdir", str(tmp_path), "--data-dir", str(data)]
    for text in (*SMALL, "corpus.config=", f"tests={tests}"):
        command += ["--set", text]
    assert cli.main([*command, "--methods", "lfcc-gmm,erm"]) == 0
    printed = capsys.readouterr().out
    assert "average" in printed and "lfcc-gmm − erm" in printed
    assert "crossed with replicates of attacks" in printed

    scores = sorted(tmp_path.glob("*/scores_*.txt"))
    assert len(scores) == 2 * 6
    before = {path: path.stat().st_mtime_ns for path in scores}
    scores[-1].unlink()  # as if it had been killed before it
    assert cli.main([*command, "--methods", "lfcc-gmm,erm,frozen"]) == 0
    again = [path for path in scores if path.stat().st_mtime_ns != before[path]]
    assert again == [scores[-1]]

    results = json.loads((tmp_path / "results.json").read_text())
    assert list(results["rows"]) == ["lfcc-gmm", "erm", "frozen"]
    assert results["columns"][-1] == "average"
    one = results["rows"]["erm"]["eer"]
    others = [one[f"{name}_eval"]["eer"] for name in NAMES]
    assert one["average"]["eer"] == pytest.approx(np.mean(others))
    assert results["rows"]["erm"]["parameters"] > 0

    assert "(in brackets adjusted for all differences" in capsys.readouterr().out
    gap = results["rows"]["frozen"]["difference"]["average"]
    assert gap["p"] <= gap["p_adjusted"]

    speakers = ["--methods", "lfcc-gmm,erm,frozen", "--resample", "speakers"]
    assert cli.main([*command, *speakers]) == 0
    assert SCHEME.sentence() in capsys.readouterr().out
    other = json.loads((tmp_path / "results.json").read_text())
    new = other["rows"]["erm"]["eer"]["average"]
    assert new["eer"] == one["average"]["eer"]
    assert new["high"] - new["low"] != one["average"]["high"] - one["average"]["low"]
    example = results["schemes"]["speakers"]["difference"]
    gap = other["rows"]["frozen"]["difference"]["asvspoof2019_la_eval"]
    assert example.items() <= gap.items()

    changed = [*command, "--methods", "erm", "--set", "optimizer.lr=1"]
    assert cli.main(changed) == 2
    assert "optimizer.lr" in capsys.readouterr().err


@pytest.fixture
def comparison():
    rate = SeedRate(0.1, 0.05, 0.2, 0.01, (0.09, 0.11))
    common = {"parameters": 1000, "steps": 10, "evaluations": 400}
    worse = {"pooled": dataclasses.replace(rate, eer=0.12)}
    return Comparison(
        columns={"pooled": "pooled"},
        rows={
            "erm": MethodResult(
                "erm", "erm", **common | {"parameters": 500}, eer=worse
            ),
            "mldg": MethodResult("mldg", "mldg", **common, eer={"pooled": rate}),
        },
        differences={
            ("mldg", "erm"): {"pooled": Difference(-0.02, -0.03, -0.01, 0.004)}
        },
        trained=("A01",),
        unseen=("A02",),
        seeds=2,
        folds=4,
        scheme=SCHEME,
    )


def test_tables(comparison):
    files = method_tables.files(comparison)
    assert "| mldg | 1,000 | 10.0 ± 1.0 [5.0, 20.0] |" in files["table.md"]
    assert "−2.0 [−3.0, −1.0], p 0.004 \\*" in files["table.md"]
    assert "2 seeds × 4 speaker folds" in files["table.md"]
    assert SCHEME.sentence() in files["table.md"]
    assert SCHEME.sentence() in method_tables.text(comparison)
    assert r"mldg & 1,000 & \textbf{10.00} $\pm$ 1.00 \\" in files["table.tex"]
    assert r"erm & 500 & 12.00" in files["table.tex"]
    _, line = csv.DictReader(io.StringIO(files["table.csv"]))
    assert (line["method"], float(line["eer"]), float(line["p"])) == (
        "mldg",
        0.1,
        0.004,
    )
    drawn = ET.fromstring(files["parameters.svg"])
    assert "math" not in files["parameters.svg"]
    words = " ".join(drawn.itertext())
    assert "trained parameters" in words and "mldg" in words


def test_equal_numbers_of_parameters_are_no_picture(comparison):
    rows = {
        name: dataclasses.replace(row, parameters=500)
        for name, row in comparison.rows.items()
    }
    files = method_tables.files(dataclasses.replace(comparison, rows=rows))
    assert "parameters.svg" not in files and "differences.svg" in files


def test_json_has_what_scripts_read(comparison):
    found = json.loads(json.dumps(comparison.to_json()))
    assert found["columns"] == ["pooled"] and found["tune"] is False
    assert (found["seeds"], found["folds"]) == (2, 4)
    assert found["bootstrap"]["resampled"] == SCHEME.resampled()
    assert found["rows"]["erm"] == {
        "method": "erm", "varied": {}, "parameters": 500, "steps": 10,
        "evaluations": 400, "difference": {},
        "eer": {"pooled": {"eer": 0.12, "low": 0.05, "high": 0.2, "sd": 0.01,
                           "by_seed": [0.09, 0.11]}},
    }  # fmt: skip
    mldg = found["rows"]["mldg"]
    assert mldg["reference"] == "erm"
    difference = {"difference": -0.02, "low": -0.03, "high": -0.01, "p": 0.004}
    assert mldg["difference"] == {"pooled": difference}


@pytest.mark.parametrize("text", ["5:0", "a", "-1", ""])
def test_bad_numbers(text, tmp_path, capsys):
    command = ["compare", "--config", CONFIG, "--workdir", str(tmp_path)]
    assert cli.main([*command, f"--seeds={text}"]) == 2
    assert "--seeds" in capsys.readouterr().err


def test_speaker_folds_are_for_corpora_that_have_them(data, tmp_path, capsys):
    command = ["compare", "--config", CONFIG, "--workdir", str(tmp_path)]
    command += ["--data-dir", str(data), "--folds", "0:2"]
    for text in (*SMALL, "corpus.config="):
        command += ["--set", text]
    assert cli.main([*command, "--workers", "0"]) == 2
    assert "has no speaker fold 0; only DebSpoof has any" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        ({"seed": [1, 2]}, "--vary seed: compare sets it itself; use --seeds"),
        ({"optimizer.lrr": [1.0]}, "did you mean optimizer.lr"),
        ({"optimizer.lr": ["fast"]}, "it must be a number"),
        ({"objective.rho": [0.1]}, "none of the methods frozen, erm sets it"),
    ],
)
def test_what_would_vary_nothing_is_refused(data, vary, message):
    with pytest.raises(UserError, match=message):
        rows(["frozen", "erm"], data, vary)


@pytest.mark.parametrize("methods", [[""], ["erm", "erm"], ["erm", ""]])
def test_every_method_is_named_once(data, methods):
    with pytest.raises(UserError, match="name each method once"):
        rows(methods, data)
