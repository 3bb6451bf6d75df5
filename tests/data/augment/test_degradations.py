"""The table of degradations: each is applied, and repeatable, or refused."""

import numpy as np
import pytest

from mldg_jax.common.errors import UserError
from mldg_jax.data.augment import codecs, degradations
from mldg_jax.data.augment.degradations import DEGRADATIONS, degrade, select
from tests import signals

RATE = 16_000
VOICES = [signals.voiced(RATE, seed) for seed in range(1, 9)]
RANDOM = ("white", "babble", "room", "lead-noise")


def talkers(rng, count):
    return [VOICES[i] for i in rng.choice(len(VOICES), count, replace=False)]


def apply(name, utterance="u1", clip=None):
    clip = signals.voiced(5 * RATE) if clip is None else clip
    return degrade(clip, name, utterance, talkers)


@pytest.mark.parametrize("name", select())
def test_every_degradation_changes_a_recording_repeatably(name):
    clip = np.concatenate([signals.voiced(4 * RATE), np.zeros(RATE, np.float32)])
    before = clip.copy()
    changed = apply(name, clip=clip)
    assert changed.dtype == np.float32 and np.abs(changed).max() <= 1
    assert not np.array_equal(changed, clip)
    np.testing.assert_array_equal(clip, before)  # the input is not written to
    apply(name, "u2", clip)
    np.testing.assert_array_equal(apply(name, clip=clip), changed)
    is_random = name.startswith(RANDOM)
    assert np.array_equal(apply(name, "u2", clip), changed) != is_random


@pytest.mark.parametrize("name", select(["codec"]))
def test_codecs_keep_a_voice_in_place(name):
    clip = signals.voiced(2 * RATE)
    coded = apply(name, clip=clip)
    assert len(coded) == len(clip)
    lags = range(-100, 101)
    products = [np.dot(np.roll(coded, -lag), clip) for lag in lags]
    assert abs(lags[int(np.argmax(products))]) <= 3  # samples, 0.2 ms
    # (AMR at 4.75 kbit/s has 95 bits for 20 ms)
    assert 0.75 < np.corrcoef(coded, clip)[0, 1] < 0.99999


def test_strengths_of_one_kind_share_their_noise():
    clip = 0.1 * signals.voiced(RATE)
    for kind in ("white", "babble"):
        noises = [apply(f"{kind}-{x}db", clip=clip) - clip for x in (30, 0)]
        assert np.corrcoef(noises)[0, 1] == pytest.approx(1, abs=1e-4)
    # (shared by no other kind)
    white, babble = (apply(f"{x}-0db", clip=clip) - clip for x in ("white", "babble"))
    assert abs(np.corrcoef(white, babble)[0, 1]) < 0.1


def test_names_and_groups_choose():
    everything = select()
    assert "amrwb" not in everything and len(everything) == len(DEGRADATIONS) - 1
    assert select(["level", "g722"]) == ["g722", "level-down", "level-up"]
    left = select(without=["codec", "noise"])
    assert {DEGRADATIONS[x].group for x in left} == set(degradations.GROUPS) - {
        "codec",
        "noise",
    }
    with pytest.raises(
        UserError, match=r"--only has 'mp5', which is neither .*mp3-64k"
    ):
        select(["mp5"])
    with pytest.raises(UserError, match=r"--without level leaves no degradation"):
        select(["level"], ["level"])


def test_a_missing_encoder_is_named_and_how_to_do_without(monkeypatch):
    gone = codecs.CODECS["opus"]._replace(encoder="libnothing")
    monkeypatch.setitem(codecs.CODECS, "opus", gone)
    with pytest.raises(UserError, match=r"no encoder libnothing.*--without opus-24k"):
        select()
    with pytest.raises(UserError, match="remove opus-8k from --only"):
        select(["opus-8k"])
    assert "g722" in select(without=["opus-24k", "opus-8k"])


def test_what_cannot_be_degraded_is_refused():
    quiet_end = np.concatenate([signals.voiced(600), np.zeros(RATE)]).astype(np.float32)
    with pytest.raises(UserError, match=r"s are left; at least 0\.2 s are needed"):
        apply("trim-end", clip=quiet_end)
    late = np.concatenate([np.zeros(2 * RATE, np.float32), signals.voiced(RATE)])
    with pytest.raises(UserError, match="what is left is silent"):
        apply("first-1s", clip=late)
    square = np.where(np.arange(RATE) % 200 < 100, 1.0, -1.0).astype(np.float32)
    with pytest.raises(UserError, match="did not change"):
        apply("level-up", clip=square)
    short = signals.voiced(RATE)  # may stay: it has less than two seconds
    np.testing.assert_array_equal(apply("first-2s", clip=short), short)
