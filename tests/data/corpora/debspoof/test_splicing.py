"""Tests of splicing, and of the audit of its joins."""

import numpy as np
import pytest

from mldg_jax.data.corpora.debspoof import splice_audit
from mldg_jax.data.corpora.debspoof.splice_audit import SplicedSample, join_cues
from mldg_jax.data.corpora.debspoof.splicing import FADE, crossfade, splice

RATE = 16_000


def speech(seed: int, seconds: float = 2.4, level: float = 0.1) -> np.ndarray:
    """Returns noise with four bursts a second, as int16."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE)) / RATE
    envelope = 0.05 + np.sin(2 * np.pi * 2 * time + rng.uniform(0, 6)) ** 2
    noise = np.convolve(rng.normal(size=len(time)), [1, 0.9, 0.5], "same")
    return np.int16(32_767 * np.clip(level * envelope * noise, -1, 1))


def test_what_is_outside_the_parts_is_the_host_and_inside_the_donor():
    host, donor = speech(0), speech(1, level=0.02)
    spliced = splice(host, donor, 2, np.random.default_rng(0))
    assert spliced is not None and len(spliced.parts) == 2
    for start, end in spliced.parts:
        assert 0.15 <= end - start <= 1.0
        inside = spliced.samples[int(start * RATE) + FADE : int(end * RATE) - FADE]
        # The piece of the donor, scaled: correlation with its best place is perfect.
        wanted = inside[:2_000].astype(float)
        rows = np.lib.stride_tricks.sliding_window_view(donor.astype(float), 2_000)
        match = rows @ wanted / (np.linalg.norm(rows, axis=1) * np.linalg.norm(wanted))
        assert match.max() > 0.9999
        place = donor[match.argmax() :][: len(inside)].astype(float)
        gain = np.linalg.norm(inside) / np.linalg.norm(place)
        assert 2 < gain < 4.1  # the donor was quiet
    first, last = spliced.joins[0], spliced.joins[-1]
    np.testing.assert_array_equal(
        spliced.samples[: first - FADE // 2], host[: first - FADE // 2]
    )
    rest = len(spliced.samples) - last - FADE // 2
    np.testing.assert_array_equal(spliced.samples[-rest:], host[-rest:])


def test_an_utterance_without_room_is_not_spliced():
    short = speech(0, seconds=0.4)
    assert splice(short, speech(1), 1, np.random.default_rng(0)) is None
    assert splice(speech(1), short, 1, np.random.default_rng(0)) is None


def test_a_crossfade_keeps_the_power_of_unrelated_signals():
    rng = np.random.default_rng(0)
    joined = [crossfade(*rng.normal(size=(2, 2 * FADE))) for _ in range(2_000)]
    assert len(joined[0]) == 3 * FADE
    np.testing.assert_allclose(np.mean(np.square(joined), 0), 1, atol=0.2)


def audited(make) -> float:
    """Returns the EER of the audit on 200 spliced utterances of noise."""
    samples = []
    for i in range(200):
        bonafide = bool(i % 2)
        made = make(i, bonafide)
        attack = "-" if bonafide else "A"
        cues = join_cues(*made)
        samples.append(
            SplicedSample(["train", "eval"][i // 100], bonafide, attack, cues)
        )
    result = splice_audit.audit(samples)
    assert (result.n_bonafide, result.n_spoof) == (50, 50)
    assert result.by_attack.keys() == {"A"}
    assert result.passed == (min(result.eers.values()) >= 0.35)
    assert ("NOT PASSED" in splice_audit.table(result)) != result.passed
    return result.eers["logistic regression"]


def test_the_audit_finds_no_join_where_both_classes_are_spliced_alike():
    def make(i, bonafide):
        del bonafide  # donors of both classes are equal
        spliced = splice(speech(i), speech(i + 1_000), 2, np.random.default_rng(i))
        assert spliced is not None
        return spliced.samples, spliced.joins

    assert audited(make) >= 0.35


@pytest.mark.parametrize("flaw", ["level", "click"])
def test_the_audit_finds_careless_joins(flaw):
    """Spoof is inserted at another level, or without a cross-fade."""

    def make(i, bonafide):
        spliced = splice(speech(i), speech(i + 1_000), 1, np.random.default_rng(i))
        assert spliced is not None
        samples = spliced.samples.astype(float)
        first, last = spliced.joins
        if flaw == "level" and not bonafide:
            samples[first:last] *= 3
        if flaw == "click" and not bonafide:
            samples[first:last] += 900
        return np.clip(samples, -32_768, 32_767).astype(np.int16), spliced.joins

    assert audited(make) < 0.2
