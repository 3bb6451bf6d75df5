"""The model card's words on training data."""

import pytest

from mldg_jax.scoring.training_facts import training_lines


@pytest.mark.parametrize(
    ("speakers", "languages", "words"),
    [
        (7, ["en", "hu"], "1,164 bona fide utterances of 7 speakers; languages en, hu"),
        (1, [], "1,164 bona fide utterances of 1 speaker"),
        (0, ["-"], "1,164 bona fide utterances"),  # nothing is stated
    ],
)
def test_what_is_not_known_is_left_out(speakers, languages, words):
    facts = {"bonafide": 1164, "speakers": speakers, "languages": languages}
    lines = training_lines({**facts, "spoof": {"A01": 2000, "A02": 3}})
    assert lines == [f"- {words}", "- attacks (utterances): A01 (2,000), A02 (3)"]
