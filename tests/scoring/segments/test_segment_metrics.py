"""Tests of segment metrics against brute force."""

import numpy as np
import pytest

from mldg_jax.scoring.segments.segment_metrics import (
    RESOLUTIONS,
    LabelledFrames,
    coarsen,
    measure,
    range_based_eer,
    segment_eer,
)


def random_utterances(seed, n=12, decimals=2):
    """Draws utterances with boundaries anywhere and rounded, hence tied, scores."""
    rng = np.random.default_rng(seed)
    utterances = []
    for _ in range(n):
        frames = int(rng.integers(1, 60))
        edges = np.sort(rng.uniform(0, 0.02 * frames, 2 * int(rng.integers(0, 4))))
        spoof = [(a, b) for a, b in edges.reshape(-1, 2).round(4).tolist()]
        score = np.round(rng.normal(size=frames), decimals)
        utterances.append(LabelledFrames(score, spoof))
    return utterances


def counted_eer(bonafide, spoof):
    """Computes the EER by trying every number of rejected trials, bona fide first."""
    trials = sorted([(s, 0) for s in bonafide] + [(s, 1) for s in spoof])
    best = 2.0, 0.0
    for rejected in range(len(trials) + 1):
        miss = sum(1 for _, k in trials[:rejected] if k == 0) / len(bonafide)
        alarm = sum(1 for _, k in trials[rejected:] if k == 1) / len(spoof)
        if abs(miss - alarm) < abs(best[0] - best[1]) - 1e-15:
            best = miss, alarm
    return sum(best) / 2


def brute_segments(utterances, factor):
    """Labels and scores segments frame by frame, in plain Python."""
    classes = {0: [], 1: []}
    for x in utterances:
        for first in range(0, len(x.score), factor):
            frames = range(first, min(first + factor, len(x.score)))
            middles = [0.02 * f + 0.01 for f in frames]
            fake = any(a <= t < b for t in middles for a, b in x.spoof)
            classes[0 if fake else 1].append(min(x.score[f] for f in frames))
    return classes


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("factor", RESOLUTIONS)
def test_segment_eer_equals_brute_force(seed, factor):
    utterances = random_utterances(seed)
    classes = brute_segments(utterances, factor)
    expected = counted_eer(classes[1], classes[0])
    assert segment_eer(utterances, factor) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_range_based_eer_equals_sampling_the_time_line(seed):
    """Classifies 0.1 ms slices, on which all boundaries of the test lie."""
    utterances = random_utterances(seed, n=6, decimals=1)
    slices = []
    for x in utterances:
        for k in range(200 * len(x.score)):
            time = 1e-4 * (k + 0.5)
            fake = any(a <= time < b for a, b in x.spoof)
            slices.append((x.score[k // 200], fake))
    score, fake = map(np.array, zip(*slices, strict=True))
    rates = []
    for threshold in [*np.unique(score), np.inf]:
        miss = np.mean(score[~fake] < threshold)
        rates.append((miss, np.mean(score[fake] >= threshold)))
    best = min(rates, key=lambda x: round(abs(x[0] - x[1]), 12))
    assert range_based_eer(utterances) == pytest.approx(sum(best) / 2, abs=1e-9)


@pytest.mark.parametrize("spoof", [[(0.0, np.inf)], []], ids=["all fake", "none"])
def test_one_class_alone_has_no_rate(spoof):
    rates = measure([LabelledFrames(np.arange(5.0), spoof)] * 3)
    assert set(rates.by_resolution.values()) == {None}
    assert rates.range_based is None and rates.utterance is None
    assert rates.n_spoofed == 3 * bool(spoof)
    assert rates.seconds == pytest.approx(0.3)


def test_utterances_of_one_frame():
    real, fake = LabelledFrames([1.0], []), LabelledFrames([-1.0], [(0.0, np.inf)])
    assert set(measure([real, fake]).by_resolution.values()) == {0.0}
    swapped = [LabelledFrames(-real.score, []), LabelledFrames([1.0], fake.spoof)]
    rates = measure(swapped)
    assert set(rates.by_resolution.values()) == {1.0}
    assert rates.range_based == 1.0 and rates.utterance == 1.0


def test_a_frame_with_a_boundary_counts_in_both_classes():
    x = LabelledFrames([0.0, 1.0], [(0.0, 0.005)], seconds=0.03)
    assert x.spoof_seconds == pytest.approx([0.005, 0.0])
    assert x.bonafide_seconds == pytest.approx([0.015, 0.01])
    assert x.label.tolist() == [1, 1]  # the middle of the first is bona fide
    # at 0.5 all spoof is rejected, and 15 of 25 ms of bona fide
    assert range_based_eer([x]) == pytest.approx((15 / 25 + 0) / 2)


def test_a_short_last_segment_counts():
    assert coarsen(np.array([3, 1, 2, 5, 4]), 2).tolist() == [1, 2, 4]


def test_given_utterance_scores_are_used():
    real, fake = LabelledFrames([1.0], []), LabelledFrames([-1.0], [(0.0, 0.02)])
    assert measure([real, fake]).utterance == 0.0
    assert measure([real, fake], np.array([0.0, 1.0])).utterance == 1.0


def test_scores_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="finite"):
        LabelledFrames([np.nan], [])


def test_decisions_at_a_threshold_are_measured_in_time():
    x = LabelledFrames([0.0, 1.0, -1.0], [(0.0, 0.005), (0.04, 0.06)], seconds=0.05)
    rates = measure([x], threshold=0.5)
    # bona fide: 15 ms below, 20 ms above; spoof: 5 and 10 ms, all below
    assert rates.miss == pytest.approx(15 / 35) and rates.false_alarm == 0
    rates = measure([x], threshold=0.0)
    assert rates.miss == 0 and rates.false_alarm == pytest.approx(5 / 15)
    assert measure([LabelledFrames([1.0], [])]).false_alarm is None
