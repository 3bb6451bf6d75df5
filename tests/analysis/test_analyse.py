"""`mldg analyse`: its files, its page, and the input it rejects."""

import re

import numpy as np
import pytest
from markupsafe import escape

from mldg_jax import cli
from mldg_jax.analysis import run_comparison, study, subjects, trained_update
from mldg_jax.analysis.report import analysis_page
from mldg_jax.common.config_values import with_values
from mldg_jax.common.errors import UserError
from tests import signals, webpages
from tests.analysis import finished

# One layer, and halves of one size: fewer and smaller programs to compile.
SMALL = ("model.frontend.layers=1", "episode.num_meta_test=3")


def silent(what):
    del what


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    home = tmp_path_factory.mktemp("runs")
    names = {"mldg-0": ("mldg", "seed=0"), "mldg-1": ("mldg", "seed=1")}
    return [
        finished.make(home / name, seed, *SMALL, method=method)
        for name, (method, seed) in names.items()
    ]


@pytest.fixture(scope="module")
def chosen():
    return subjects.choose(signals.corpus(), examples=2, samples=4_000)


def assert_whole(folder, pictures):
    files = {path.name for path in folder.iterdir()}
    assert files == {"arrays.npz", "table.md", "report.html"}
    text = (folder / "report.html").read_text()
    webpages.needs_no_network(text)
    webpages.ids_are_unique_and_found(text)
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", text)
    assert text.count("<figure>") == len(captions) and all(
        len(caption) > 60 for caption in captions
    )
    assert text.count("<svg") == pictures
    return text, np.load(folder / "arrays.npz")


def test_the_study_of_one_run(folders, chosen, tmp_path, monkeypatch):
    found = study.analyse_run(
        subjects.load(folders[0]),
        chosen,
        report=silent,
        eigenvalues=1,
        lanczos_steps=4,
        grid=np.linspace(-1, 1, 3),
    )
    analysis_page.write(found, tmp_path)
    text, arrays = assert_whole(tmp_path, pictures=15)
    assert [x.step for x in found.along] == [2, finished.STEPS]
    cosine = arrays["along/1/similarity/cosine"]
    np.testing.assert_array_equal(cosine, found.along[-1].similarity.cosine)
    assert cosine.shape == (6, 6) and arrays["along/0/taylor/remainder"].shape == (7,)
    assert arrays["geometry/mass/merged"].shape == (1, 4)
    assert all(attack in text for attack in chosen.attacks)
    table = (tmp_path / "table.md").read_text()
    assert "| quantity | step 2 | finished |" in table
    assert "| run | layer | projection |" in table
    nasty = '<script>alert(1)</script>&"'
    monkeypatch.setattr(analysis_page, "run_analysis_figures", lambda study: {})
    page, _ = analysis_page.run_page(found._replace(name=nasty, held_out=(nasty,)))
    assert "<script" not in page and page.count(escape(nasty)) == 3


def test_a_run_without_adapters_whose_objective_has_memory(chosen, tmp_path):
    """Its last step counts, the state is that of training, and the page says what is
    not about its objective."""
    options = ("objective.name=group_dro", "objective.eta=100")
    folder = finished.make(tmp_path / "run", *SMALL, *options, method="frozen")
    run, stages = subjects.load(folder), []
    found = study.analyse_run(
        run,
        chosen,
        report=stages.append,
        eigenvalues=1,
        lanczos_steps=2,
        grid=np.linspace(-1, 1, 2),
    )
    total = 2 * study.MOMENT_STAGES + 2  # at step 2 and at the last; two of the run
    assert [x.number for x in stages] == list(range(1, total + 1))
    assert {x.total for x in stages} == {total}
    assert stages[0].task.startswith("step 2: gradients of")
    states = [x.objective_state for x in subjects.checkpoints(run)]
    for state, moment in zip(states, found.along, strict=True):
        updated = state * np.exp(100 * moment.loss)
        expected = (updated * moment.loss).sum() / updated.sum()
        assert moment.own is not None
        assert moment.own.loss == pytest.approx(expected, rel=1e-3)
        assert moment.own.loss > moment.loss.mean()
    (note,) = found.notes
    assert note.startswith("group_dro has no inner step: ")
    analysis_page.write(found, tmp_path / "out")
    text = (tmp_path / "out" / "report.html").read_text()
    assert note in text and "Method frozen (objective group_dro)" in text
    assert "the run&#x27;s α" not in text and "the run's α" not in text
    table = (tmp_path / "out" / "table.md").read_text()
    assert table.startswith(note) and "gradient of group_dro" in table
    omitted = tuple(x._replace(own=None) for x in found.along)
    page, _ = analysis_page.run_page(found._replace(along=omitted))
    assert page.count("<svg") == text.count("<svg") - 1
    assert "gradient of group_dro" not in page


def test_the_comparison_of_runs(folders, chosen, tmp_path):
    them = [subjects.load(folder) for folder in folders]
    found = run_comparison.compare_runs(
        them, chosen, report=silent, line=np.linspace(0, 1, 3)
    )
    analysis_page.write(found, tmp_path)
    text, arrays = assert_whole(tmp_path, pictures=2)
    assert "mldg-0 : mldg-1" in text and "±" in text
    assert found.kinds == {"mldg : mldg": [("mldg-0", "mldg-1")]}
    path = arrays["paths/mldg-0 - mldg-1/loss"]
    ends = [trained_update.evaluator(run, chosen)(run.point) for run in them]
    np.testing.assert_allclose(path[[0, -1]], ends, rtol=1e-4)
    assert np.nanmax(arrays["angles/mldg-0 - mldg-1/reads"]) <= 90.0001


@pytest.fixture(scope="module")
def shapes(folders, chosen):
    return [
        trained_update.describe(subjects.load(folder), chosen) for folder in folders
    ]


def test_mean_and_deviation_over_seeds(shapes):
    header, rows = analysis_page.methods_table(tuple(shapes))
    share = [
        100 * np.nansum(x.mass.merged[:, 3]) / np.nansum(x.mass.merged) for x in shapes
    ]
    (out,) = (row for row in rows if row[1] == "out")
    assert out[:3] == ["mldg", "out", "2"] and len(header) == len(out)
    assert out[4] == f"{np.mean(share):.1f} ± {np.std(share, ddof=1):.1f}"


def test_methods_are_compared_seed_by_seed(shapes):
    """One method's ranks of ΔW are higher by 1 and by 3: the interval of two numbers is
    their mean ± 12.706 times its standard error, which is 1 here."""
    others = [
        one._replace(
            method="erm",
            mass=one.mass._replace(merged_rank=one.mass.merged_rank + more),
        )
        for one, more in zip(shapes, (1, 3), strict=True)
    ]
    header, rows = analysis_page.differences_table((*shapes, *others))
    assert [row[:3] for row in rows] == [
        ["erm − mldg", name, "2"] for name in ("query", "key", "value", "out")
    ]
    cells = [row[header.index("of √F ∘ ΔW")] for row in rows]
    assert set(cells) == {"+2.0 [−10.7, +14.7]"}
    assert analysis_page.differences_table(tuple(shapes))[1] == []
    assert analysis_page.differences_table((*shapes, *others[:1]))[1] == []


def test_runs_of_a_method_with_other_settings_are_another_method(folders):
    one, other = (subjects.load(folder) for folder in folders)
    names = "mldg-0", "mldg-1"
    assert run_comparison.method_labels([one, other]) == dict.fromkeys(names, "mldg")
    changed = with_values(other.config, {"objective.inner_lr": 0.5})
    other = other._replace(config=changed)
    labels = ("mldg inner_lr=0.01", "mldg inner_lr=0.5")
    assert run_comparison.method_labels([one, other]) == dict(
        zip(names, labels, strict=True)
    )
    changed = with_values(one.config, {"objective.name": "mldg_gc"})
    labels = run_comparison.method_labels([one, other._replace(config=changed)])
    assert labels["mldg-1"] == "mldg objective=mldg_gc"


def test_runs_that_cannot_be_compared_are_refused(folders, chosen):
    run = subjects.load(folders[0])
    with pytest.raises(UserError, match="two runs are named 'mldg-0'"):
        run_comparison.compare_runs([run, run], chosen, report=silent)
    other = subjects.load(folders[1])
    changed = with_values(other.config, {"model.weights": "another"})
    other = other._replace(config=changed)
    with pytest.raises(UserError, match=r"model\.weights another"):
        run_comparison.compare_runs([run, other], chosen, report=silent)


def test_the_command_refuses_what_is_no_run(tmp_path, capsys):
    assert cli.main(["analyse", str(tmp_path)]) == 2
    assert "is not a run folder" in capsys.readouterr().err


def test_help_teaches(capsys):
    with pytest.raises(SystemExit):
        cli.main(["analyse", "--help"])
    text = capsys.readouterr().out
    assert "report.html" in text and "--examples" in text
