import pytest

from mldg_jax.data.corpora.debspoof import reference
from mldg_jax.data.corpora.debspoof.reference import Reference

STAMPS = "tuxpaint-stamps-default"
README = Reference("50294b0f", {"espeak-ng": "1.51", "flite": "2.2", STAMPS: "2022"})


def test_the_same_corpus_has_nothing_to_say():
    assert reference.difference("50294b0f", {"espeak-ng": "1.52"}, README) is None


def test_other_versions_are_named_with_what_they_mean():
    versions = {
        "espeak-ng": "1.52",
        "flite": "2.2",
        STAMPS: "2025",
        "other-package": "1",
    }
    said = reference.difference("35c9da57aa", versions, README)
    assert "\n" not in said
    assert "sha256 35c9da57 instead of 50294b0f, built on Debian 12" in said
    assert "espeak-ng 1.52 (not 1.51), tuxpaint-stamps-default 2025 (not 2022)" in said
    assert "flite" not in said and "other-package" not in said
    assert said.endswith("tux_* have different audio")


def test_another_machine_with_the_same_versions():
    said = reference.difference("b84dd7ec", README.versions, README)
    assert "every package has the same version" in said


@pytest.mark.parametrize("size", ["small", "full"])
def test_a_reference_of_each_size(size):
    known = reference.read(size)
    assert len(known.sha256) >= 16
    assert set(reference.NOTES) <= known.versions.keys()
    assert ("hibari-tts" in known.versions) == (size == "full")


def test_no_numbers_of_size_quick_are_published():
    assert reference.read("quick") is None
