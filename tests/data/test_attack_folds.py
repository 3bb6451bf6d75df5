"""Groups of attacks that are held out in turn, on a corpus with families and folds."""

import dataclasses

import numpy as np
import pytest

from mldg_jax.common.config import CorpusSection, ValidationSection
from mldg_jax.common.errors import UserError
from mldg_jax.data import attack_folds, corpus
from mldg_jax.data.corpus import BONAFIDE
from tests.data import small_debspoof

GROUPS = (
    ("gl", "phase_voc", "espeak"),
    ("world", "world_swap", "kokoro"),
    ("lpc", "fest_diphone", "hmm"),
    ("piper", "flite_cg", "fest_clunits"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """DebSpoof full in miniature."""
    return small_debspoof.make(tmp_path_factory.mktemp("full") / "data", "full")


def section(**values):
    return CorpusSection(attack_folds=GROUPS, **values)


def test_every_speaker_and_every_family_is_unseen_once(folder):
    met = []
    for fold in range(4):
        for attack_fold in range(4):
            own = section(fold=fold, attack_fold=attack_fold)
            held_out = attack_folds.attacks_of(folder, own)
            training = attack_folds.training_rows(folder, own)
            everything = corpus.load_test(folder, "eval", fold)
            test = everything.take(np.isin(everything.attack, held_out))
            assert not set(training.utterance) & set(everything.utterance)
            assert not set(training.attack) & set(held_out)
            met += test.utterance.tolist()
    splits = [corpus.load_split(folder, s) for s in corpus.split_names(folder)]
    spoof = [u for x in splits for u in x.utterance[x.label != BONAFIDE].tolist()]
    assert sorted(met) == sorted(spoof)


def test_all_other_attacks_are_trained_on(folder):
    """Also those that only the official test has, with a speaker fold."""
    family = attack_folds.families(folder)
    rows = attack_folds.training_rows(folder, section(fold=0, attack_fold=1))
    expected = {a for a, of in family.items() if of not in GROUPS[1]}
    assert set(rows.attack) - {"-"} == expected
    assert {"fest_hts", "phase_voc"} <= expected
    official = attack_folds.training_rows(folder, section(attack_fold=1))
    assert set(official.utterance) <= set(corpus.load_split(folder, "train").utterance)
    no_group = attack_folds.training_rows(folder, section())
    assert len(no_group.label) == len(corpus.load_split(folder, "train").label)


def test_attacks_may_be_named_alone(folder):
    family = attack_folds.families(folder)
    groups = (("gl_mel",), tuple(a for a in family if a != "gl_mel"))
    own = CorpusSection(attack_folds=groups, attack_fold=0)
    assert attack_folds.attacks_of(folder, own) == ("gl_mel",)


@pytest.mark.parametrize(
    ("groups", "number", "message"),
    [
        (GROUPS, 4, "corpus.attack_fold is 4, but corpus.attack_folds has 4 groups"),
        (GROUPS[:3], 0, "contains the attack 'fest_clunits' 0 times"),
        ((*GROUPS, ("espeak",)), 0, "contains the attack 'espeak' 2 times"),
        ((*GROUPS, ("klatt",)), 0, "'klatt', which is neither an attack nor a family"),
    ],
)
def test_groups_that_are_not_a_partition_are_refused(folder, groups, number, message):
    own = CorpusSection(attack_folds=groups, attack_fold=number)
    with pytest.raises(UserError, match=message):
        attack_folds.attacks_of(folder, own)


def test_what_is_held_out_for_validation_is_not_trained_on(folder):
    own = section(fold=2, attack_fold=3)
    attacks = attack_folds.first_families(folder, own, 1)
    assert attacks == ("gl_coarse", "gl_mel")  # of group 0, which is next
    assert set(attack_folds.first_families(folder, own, 2)) > set(attacks)
    held_out = ValidationSection(attacks=attacks, split=attack_folds.HELD_OUT)
    rows = attack_folds.training_rows(folder, own)
    training, validation = attack_folds.with_validation(folder, held_out, rows)
    assert validation is not None
    real = validation.label == BONAFIDE
    assert set(validation.attack[~real]) == set(attacks)
    assert not set(validation.utterance[real]) & set(training.utterance)
    before = np.sum(rows.label == BONAFIDE)
    assert real.sum() == before // attack_folds.EVERY
    assert np.sum(training.label == BONAFIDE) == before - real.sum()
    # The loop excludes the attacks itself, and checks that the training data has them.
    assert set(attacks) <= set(training.attack)


def test_a_split_is_validated_on_as_it_is(folder):
    rows = attack_folds.training_rows(folder, section())
    off = ValidationSection()
    assert attack_folds.with_validation(folder, off, rows) == (rows, None)
    on = dataclasses.replace(off, every=5, attacks=("gl_mel",), split="dev")
    training, validation = attack_folds.with_validation(folder, on, rows)
    assert training is rows and validation is not None
    dev = corpus.load_split(folder, "dev")
    np.testing.assert_array_equal(validation.utterance, dev.utterance)


def test_a_corpus_without_families_has_its_attacks(tmp_path):
    from mldg_jax.data.corpora import prepare
    from tests.data import miniatures

    lines = ["path,label,attack,split"]
    for i in range(4):
        miniatures.noise(tmp_path / f"{i}.wav")
        lines.append(
            f"{i}.wav," + ("bonafide,-" if i % 2 else f"spoof,A{i}") + ",train"
        )
    (tmp_path / "m.csv").write_text("\n".join(lines))
    made, _ = prepare.from_manifest(
        tmp_path / "m.csv", tmp_path / "data", workers=1, progress=False
    )
    assert attack_folds.families(made) == {"A0": "A0", "A2": "A2"}
