import numpy as np
import pytest

from mldg_jax.data.corpora.debspoof import cue_audit


def samples(planted: bool) -> list[cue_audit.Sample]:
    generator = np.random.default_rng(0)
    result = []
    for split, count in (("train", 400), ("eval", 300)):
        for i in range(count):
            bonafide = i % 2 == 0
            values = generator.standard_normal(len(cue_audit.CUES))
            if planted:
                values[0] += 3 * bonafide
            language = "abc"[generator.integers(3)]
            attack = "-" if bonafide else "xy"[i % 4 // 2]
            result.append(
                cue_audit.Sample(split, bonafide, attack, language, tuple(values))
            )
    return result


def test_a_planted_cue_is_found():
    result = cue_audit.audit(samples(planted=True))
    assert result.eers[result.best] < 0.12
    assert not result.passed
    assert "NOT PASSED" in cue_audit.table(result)


def test_without_a_cue_it_is_near_chance():
    result = cue_audit.audit(samples(planted=False))
    assert 0.4 < result.eers[result.best] <= 0.6
    assert result.passed
    assert set(result.by_attack) == {"x", "y"}


def test_cues_measure_what_they_say():
    wave = np.zeros(32_000, np.int16)
    wave[8_000:24_000] = 8_000 * np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000)
    values = dict(zip(cue_audit.CUES, cue_audit.cues(wave), strict=True))
    assert values["duration"] == pytest.approx(2.0)
    assert values["leading silence"] == pytest.approx(0.5, abs=1e-3)
    assert values["trailing silence"] == pytest.approx(0.5, abs=1e-3)
    assert values["zeros"] > 0.5
    assert values["bandwidth"] == pytest.approx(1000, abs=100)
    assert values["level"] == pytest.approx(20 * np.log10(8000 / 32768 / 2), abs=0.1)
