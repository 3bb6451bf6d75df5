"""The arena's EER and rules, against computations of another kind."""

import hashlib
import itertools
from fractions import Fraction

import numpy as np
import pytest

from mldg_jax import metrics
from mldg_jax.exporting import arena_rules


def crossing(bonafide, spoof):
    """Finds the EER geometrically, in exact arithmetic.

    The points (miss, false alarm) of all thresholds are joined by straight lines, and
    the line on which both rates are equal is intersected with them.
    """
    points = []
    for t in sorted({*bonafide, *spoof}):
        miss = Fraction(sum(x < t for x in bonafide), len(bonafide))
        alarm = Fraction(sum(x >= t for x in spoof), len(spoof))
        points.append((miss, alarm))
    for (m0, a0), (m1, a1) in itertools.pairwise(points):
        if a1 <= m1:
            # m0 + s (m1 − m0) = a0 + s (a1 − a0)
            s = (a0 - m0) / ((a0 - m0) + (m1 - a1))
            return 100 * (m0 + s * (m1 - m0))
    return 50 * sum(points[-1])


@pytest.mark.parametrize("seed", range(20))
def test_the_eer_is_interpolated(seed):
    rng = np.random.default_rng(seed)
    n, m = rng.integers(1, 30, 2)
    # one decimal: many ties
    bonafide = np.round(rng.normal(1, 1, n), 1)
    spoof = np.round(rng.normal(0, 1, m), 1)
    exact = crossing(bonafide.tolist(), spoof.tolist())
    value = arena_rules.interpolated_eer(bonafide, spoof)
    assert value == pytest.approx(float(exact), abs=1e-10)


@pytest.mark.parametrize(
    ("bonafide", "spoof", "eer"),
    [
        ([3, 4], [1, 2], 0.0),
        ([1, 2], [3, 4], 100.0),
        ([1, 1], [1, 1, 1], 50.0),
        # miss 0, 0, ½ and false alarm 1, ½, 0 cross half way between 2 and 3
        ([2, 3], [1, 2], 25.0),
    ],
)
def test_eers_by_hand(bonafide, spoof, eer):
    value = arena_rules.interpolated_eer(np.array(bonafide), np.array(spoof))
    assert value == pytest.approx(eer)


def test_it_is_not_the_eer_of_asvspoof():
    bonafide, spoof = np.array([1.0, 4.0, 5.0]), np.array([0.0, 2.0, 3.0, 4.5])
    ours = 100 * metrics.eer(bonafide, spoof)[0]
    assert abs(arena_rules.interpolated_eer(bonafide, spoof) - ours) > 0.5


SCORES = b"a 1.000000\nb 2.000000\nc -1.500000\n"
LABELS = {"a": True, "b": True, "c": False}


def submission():
    """Returns a submission without a problem."""
    return {
        "schema_version": 4,
        "system": {
            "name": "Ours",
            "slug": "ours",
            "description": "",
            "code": "https://github.com/me/ours",
            "checkpoint": "https://huggingface.co/me/ours",
            "params_millions": 4.7,
            "paper": {
                "arxiv_id": "2502.10838",
                "url": "https://arxiv.org/abs/2502.10838",
                "bibtex": "@article{a}",
            },
        },
        "dataset": {"id": "org/data", "revision": "abc", "split": "test"},
        "scores": {"eer_percent": 0.0, "n_trials": 3, "n_skipped": 0},
        "artifact": {
            "scores_url": "https://huggingface.co/me/ours/resolve/0123abc/s.txt",
            "scores_sha256": hashlib.sha256(SCORES).hexdigest(),
            "bench_version": "0.3.0",
        },
        "submitter": {"hf_username": "me", "contact": "me@example.com"},
        "submitted_at": "2026-11-26",
        "notes": "",
    }


def test_a_good_submission_has_no_problem():
    assert arena_rules.problems_of(submission()) == []
    assert arena_rules.file_problems(submission(), SCORES, LABELS) == []
    without = submission()
    del without["system"]["paper"], without["notes"]
    assert arena_rules.problems_of(without) == []


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("schema_version", 3, "schema_version is 3"),
        ("system.slug", "My System", "lower-case"),
        ("system.slug", None, "system.slug is None"),
        ("system.code", "TODO", "a web address"),
        ("system.paper.bibtex", "", "system.paper.bibtex"),
        ("system.params_millions", -1, "must be ≥ 0"),
        ("system.colour", "red", "system.colour is not an entry"),
        ("colour", "red", "colour is not an entry"),
        ("dataset.id", "data", "ORG/NAME"),
        ("scores.n_trials", 3.5, "whole number"),
        ("scores.eer_percent", "low", "must be a number"),
        ("scores.eer_percent", float("nan"), "must be a number"),
        ("artifact.scores_url",
         "https://huggingface.co/me/ours/resolve/main/s.txt", "the hash of a commit"),
        ("artifact.scores_sha256", "abc", "64 hexadecimal"),
        ("submitter.contact", " ", "submitter.contact"),
        ("submitted_at", "26.11.2026", "YYYY-MM-DD"),
        ("reproduction", {"match": "scoring"}, "leave it out"),
    ],
)  # fmt: skip
def test_every_rule_can_fail(place, value, message):
    changed = submission()
    *sections, name = place.split(".")
    section = changed
    for key in sections:
        section = section[key]
    section[name] = value
    (problem,) = arena_rules.problems_of(changed)
    assert message in problem


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        (SCORES + b"a 1.000000\n", LABELS, "each utterance once"),
        (SCORES.replace(b"1.000000", b"1.0"), LABELS, "six decimals"),
        (SCORES.replace(b"a ", b"z "), LABELS, "not in the data set"),
        (SCORES, LABELS | {"d": False}, "n_trials is 3; the files have 4"),
        (SCORES, LABELS | {"d": False}, "at most 5%"),
        (SCORES.replace(b"-1.5", b"1.5"), LABELS, "eer_percent is 0.0"),
        (b"a 1.000000\n", LABELS, "bona fide and spoof"),
        (SCORES + b"\n", LABELS, "scores_sha256 is not"),
    ],
)
def test_the_files_must_agree(scores, labels, message):
    problems = arena_rules.file_problems(submission(), scores, labels)
    assert any(message in problem for problem in problems)
