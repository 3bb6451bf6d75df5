"""Which runs a table consists of, and what each of them sees."""

import json

import pytest

from mldg_jax.common.errors import UserError
from mldg_jax.data.attack_folds import HELD_OUT, attacks_of
from mldg_jax.experiments import method_rows
from mldg_jax.experiments.design import Chosen, Design, read_chosen
from mldg_jax.experiments.jobs import Average
from tests.data import small_debspoof

CONFIG = "configs/debspoof_full.py"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data directory with DebSpoof full in miniature."""
    folder = tmp_path_factory.mktemp("full") / "data"
    small_debspoof.make(folder, "full")
    return folder


def rows(data, *methods, tune=False, **options):
    return method_rows.table_rows(CONFIG, methods, {}, [], tune, data, **options)


def test_methods_get_equal_gradient_evaluations_at_every_budget(data):
    found = rows(data, "erm", "sam", budgets=[400, 1600], segments=True)
    erm, sam = (row.config.averages for row in found.values())
    assert (erm.at, found["erm"].config.steps) == ((400,), 1600)
    assert (sam.at, found["sam"].config.steps) == ((200,), 800)
    assert (erm.every, erm.start) == (40, 80)
    assert (sam.every, sam.start) == (20, 40)
    for budget in (0, 1):
        first, second = (row.facts(budget) for row in found.values())
        assert first.evaluations == second.evaluations == (6_400, 25_600)[budget]


def test_a_cell_leaves_its_speakers_its_attacks_and_a_family_to_choose_on_out(data):
    (row,) = rows(data, "erm", segments=True).values()
    design = Design((0, 1), folds=(0, 1), attack_folds=(0, 3), averages=("ema", "swad"))
    made = design.jobs(row, data.parent, data)
    names = [job.workdir.name for job in made[:5]]
    assert names == [
        "erm seed0 fold0 attacks0", "erm seed0 fold0 attacks3",
        "erm seed0 fold1 attacks0", "erm seed0 fold1 attacks3",
        "erm seed1 fold0 attacks0",
    ]  # fmt: skip
    for job in made:
        section = job.config.validation
        unseen = attacks_of(job.corpus, job.config.corpus)
        assert job.tests[0].attacks == unseen
        assert section.attacks and not set(section.attacks) & set(unseen)
        assert section.split == HELD_OUT and not section.every
        assert job.averages == (Average("ema", 400), Average("swad", 400))
        assert job.dev is not None
        test, dev = job.tests[0].rows(), job.dev.rows()
        assert not set(test.utterance) & set(dev.utterance)
        assert set(dev.attack) - {"-"} == set(section.attacks)


def test_tuning_never_opens_the_attacks_or_the_speakers_of_its_cell(data):
    (row,) = (r for r in rows(data, "mldg", tune=True).values() if "0.03" in r.label)
    (job,) = Design((0,), folds=(1,), attack_folds=(2,), tune=True).jobs(
        row, data.parent, data
    )
    from mldg_jax.data.corpus import load_test

    tuned_on = job.tests[0].rows()
    unseen = attacks_of(job.corpus, job.config.corpus)
    assert not set(tuned_on.attack) & set(unseen)
    speakers = load_test(job.corpus, "eval", 1)
    assert not set(tuned_on.utterance) & set(speakers.utterance)
    assert job.dev is None and job.config.steps == job.config.selection.steps


def test_every_method_is_tuned_with_as_many_values(data):
    methods = ["frozen", "erm", "mldg", "sam", "coral", "vrex", "group_dro", "fish"]
    methods += ["fishr", "mixup", "irm", "mmd", "sagm"]
    found = rows(data, *methods, tune=True)
    for method in methods:
        assert sum(row.method == method for row in found.values()) == 3


def test_chosen_values_are_those_of_the_cell(data, tmp_path):
    file = tmp_path / "results.json"
    by_fold = {"0": {"mldg": {"objective.inner_lr": 0.3}}, "1": {"mldg": {}}}
    content = {"chosen": {"mldg": {}}, "chosen_by_attack_fold": by_fold}
    file.write_text(json.dumps(content))
    chosen = read_chosen(file)
    (row,) = rows(data, "mldg").values()
    design = Design((0,), attack_folds=(0, 1), chosen=chosen)
    rates = [j.config.objective.inner_lr for j in design.jobs(row, tmp_path, data)]
    assert rates == [0.3, 0.03]
    with pytest.raises(UserError, match=r"values for the attack folds 0, 1, not for 2"):
        Design((0,), attack_folds=(2,), chosen=chosen).jobs(row, tmp_path, data)
    assert Chosen({"erm": {"optimizer.lr": 1}}).of("erm", None) == {"optimizer.lr": 1}


def test_a_file_without_chosen_values_is_refused(tmp_path):
    (tmp_path / "results.json").write_text('{"rows": {}}')
    with pytest.raises(
        UserError, match=r"give the results\.json of mldg compare --tune"
    ):
        read_chosen(tmp_path / "results.json")
