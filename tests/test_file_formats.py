"""docs/file-formats.md describes the files as they are, field by field."""

import csv
import dataclasses
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from mldg_jax import cli
from mldg_jax.common.config import Config
from mldg_jax.common.error_rates import Difference
from mldg_jax.experiments import demo, jobs, method_tables
from mldg_jax.experiments.demo_story import Story
from mldg_jax.experiments.results import MethodResult, compare_scores
from mldg_jax.experiments.scored_tests import Scored
from mldg_jax.experiments.selection import Candidate, Selection
from mldg_jax.experiments.statistics import SCHEME
from mldg_jax.scoring import scorer, timeline
from mldg_jax.scoring.segments import segment_output
from mldg_jax.scoring.segments.segment_metrics import SegmentRates
from mldg_jax.training import log
from tests import signals

TEXT = (Path(__file__).parents[1] / "docs/file-formats.md").read_text("utf-8")


def section(title: str) -> str:
    return TEXT.split(f"\n## {title}\n")[1].split("\n## ")[0]


def described(title: str, table: int = 0) -> set[str]:
    """Returns the names in the first column of a table of a section."""
    tables = re.findall(r"(?:^\|.*\n)+", section(title), re.MULTILINE)
    rows = tables[table].splitlines()[2:]
    names = [re.match(r"\| `(\w[\w.]*)` \|", row) for row in rows]
    assert all(names), rows
    return {x[1] for x in names if x}


def inline(title: str, field: str) -> set[str]:
    """Returns the names that the description of a field has."""
    (row,) = re.findall(rf"^\| `{field}` \|(.*)\|$", section(title), re.MULTILINE)
    return set(re.findall(r"`(\w+)`", row))


@pytest.fixture(scope="module")
def run(smoke_run, tmp_path_factory):
    """A finished run, calibrated, with an evaluation on its card."""
    import shutil

    folder = Path(shutil.copytree(smoke_run, tmp_path_factory.mktemp("f") / "run"))
    rows = signals.corpus()
    label = rows.label.copy()
    label[::9] = 1 - label[::9]  # separable trials have no calibration
    scorer.calibrate(folder, rows._replace(label=label), utterances=0)
    scores = scorer.score_waveforms(
        scorer.load(folder), map(rows.waveform, range(len(rows.label)))
    )
    jobs.write_scores(folder.parent / "scores.txt", rows, scores)
    return folder


@pytest.fixture(scope="module")
def evaluated(run):
    """What ``mldg evaluate --json --card`` prints."""
    import contextlib

    out = io.StringIO()
    words = ["evaluate", "--scores", str(run.parent / "scores.txt"), "--replicas", "40"]
    words += ["--resample", "trials"]
    with contextlib.redirect_stdout(out):
        assert cli.main([*words, "--json", "--card", str(run)]) == 0
    return json.loads(out.getvalue())


def read(path: Path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_run_folder(run, evaluated):
    assert {x.name for x in run.iterdir()} == described("A run folder")


def test_config(run):
    content = read(run / "config.json")
    facts = content.pop("provenance")
    assert content.keys() == {x.name for x in dataclasses.fields(Config)}
    assert facts.keys() == described("config.json")
    names = inline("config.json", "trained_on")
    assert facts["trained_on"].keys() == names


def test_the_log(run):
    names = described("metrics.jsonl")
    for line in log.read(run, 10**6):
        assert line.keys() == names
    optional = section("metrics.jsonl").split("\n\n")[-1]
    missing = set(re.findall(r"`(\w+)`", optional.split(";")[0]))
    assert missing < names  # of methods without an inner step


@pytest.mark.parametrize("name", ["frozen.json", "calibration.json"])
def test_small_files(name, run):
    assert read(run / name).keys() == described(name)


def test_the_formula_of_the_calibration(run):
    one = read(run / "calibration.json")
    calibrated = scorer.load(run)
    wave = [signals.speech_like(9_000)[0]]
    raw = scorer.score_waveforms(calibrated._replace(calibration=None), wave)
    np.testing.assert_allclose(
        scorer.score_waveforms(calibrated, wave),
        one["scale"] * raw + one["offset"],
        rtol=1e-6,
    )


def test_trained_parameters(run):
    assert "`head/…`, `frontend/layers_N/…/lora_a`" in section("trainable.safetensors")
    pattern = r"head/|frontend/layers_\d+/.*/lora_[ab]$|batch_stats/head/"
    arrays = load_file(run / "trainable.safetensors")
    assert all(re.match(pattern, name) for name in arrays)
    assert {name.split("/")[0] for name in arrays} == {
        "head",
        "frontend",
        "batch_stats",
    }
    assert {x.dtype.name for x in arrays.values()} == {"float32"}


def test_evaluations_of_the_card(run, evaluated):
    (entry,) = read(run / "evaluations.json")
    assert entry.keys() == described("evaluations.json")
    assert entry["metrics"].keys() == inline("evaluations.json", "metrics")


def test_evaluate_prints(evaluated):
    title = "mldg evaluate --json"
    assert evaluated.keys() == described(title)
    for field, value in (
        ("by_attack", next(iter(evaluated["by_attack"].values()))),
        ("keys", evaluated["keys"]),
    ):
        assert value.keys() == inline(title, field), field


def test_score_files(run):
    columns = ("utterance", "attack", "key", "score")
    assert described("Score files") == set(columns)
    rows = signals.corpus()
    lines = (run.parent / "scores.txt").read_text().splitlines()
    assert len(lines) == len(rows.label)
    for line, name, label, attack in zip(
        lines, rows.utterance, rows.label, rows.attack, strict=True
    ):
        cells = line.split(" ")
        assert cells[:3] == [name, attack, "bonafide" if label else "spoof"]
        float(cells[3])


def test_segment_scores(run, tmp_path):
    windows = scorer.load(run).timeline(signals.speech_like(9_000)[0], 16_000)
    timeline.write(tmp_path, "a.wav", windows)
    (path,) = tmp_path.glob("a.wav-*.tsv")
    first, heading, *lines = path.read_text().splitlines()
    assert first == "# a.wav" and len(lines) == len(windows.score)
    assert heading.split("\t") == ["start", "end", "score"]
    assert described("Segment scores") == {"start", "end", "score"}


@pytest.fixture(scope="module")
def comparison():
    rows = signals.corpus()
    rng = np.random.default_rng(0)
    scores = {x: rows.label + rng.normal(size=(2, len(rows.label))) for x in "abc"}
    methods = {x: MethodResult(x, x, 7, 3, 5) for x in "abc"}
    return compare_scores(
        methods, {"eval": [Scored(rows, scores)]}, {"A01", "A02"},
        [("a", "b"), ("c", "b")],
        by_attack=True, scheme=dataclasses.replace(SCHEME, replicates=20),
    )  # fmt: skip


def test_results_of_a_demo(comparison):
    title = "results.json of a demo"
    chosen = Selection({"a": {"optimizer.lr": 1.0}}, [Candidate("a", {}, (0.1,))])
    content = json.loads(
        json.dumps(Story(comparison, selection=chosen, seconds=1.0).to_json())
    )
    assert content.keys() == described(title)
    assert content["attacks"].keys() == inline(title, "attacks")
    method, *_ = content["methods"].values()
    assert method.keys() == inline(title, "methods")
    selection = content["selection"]
    (candidate,) = selection["candidates"]
    assert selection.keys() | (candidate.keys() - {"method"}) == inline(
        title, "selection"
    )
    assert {x.name for x in dataclasses.fields(Story)} & {"seconds"}
    assert all(name in demo.CONTENTS for name in ("results.json", "scores_eval.txt"))


def test_results_of_a_comparison(comparison):
    title = "results.json of a comparison"
    content = json.loads(json.dumps(comparison.to_json()))
    assert content.keys() == described(title)
    row = content["rows"]["a"]
    assert row.keys() | {"decisions"} == inline(title, "rows")
    rates = "Error rates and differences in results.json"
    assert row["eer"]["pooled"].keys() == described(rates, 0)
    required = {x.name for x in dataclasses.fields(Difference)} - {"on_new_attacks"}
    assert row["difference"]["pooled"].keys() == described(rates, 1) == required
    columns = set(re.findall(r"`(\w+)`", section(rates).split("|")[0]))
    assert set(content["columns"]) <= row["eer"].keys() | {"average"}
    assert row["eer"].keys() == columns


def test_the_table(comparison):
    table = method_tables.comma_separated(comparison)
    header, *lines = csv.reader(io.StringIO(table))
    assert set(header) == described("table.csv") and len(header) == len(set(header))
    rates = dict(zip(header, lines[0], strict=True))
    one = comparison.rows["a"].eer[rates["column"]]
    assert float(rates["eer"]) == one.eer and rates["reference"] == "b"


def test_error_rates_of_segments():
    fields = {x.name for x in dataclasses.fields(SegmentRates)}
    assert described("mldg evaluate-segments --json") == fields


def test_the_files_of_segments(tmp_path):
    folder = tmp_path / "out"
    segment_output.write(folder, "a.wav", np.array([1.0, -1.0]), 0.03)
    found = re.findall(r"`NAME-HASH(\.[\w.]+)`", section("Frame scores"))
    written = {x.name.partition(".wav-")[2][12:] for x in folder.iterdir()}
    assert set(found) == written
    table = next(folder.glob("*.frames.tsv")).read_text().splitlines()
    assert table[1].split("\t") == ["start", "end", "score"]
    assert table[3].split("\t") == ["0.02", "0.03", "-1.000000"]
