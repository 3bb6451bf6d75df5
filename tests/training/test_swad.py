"""SWAD's choice of segments against the authors' code and against Algorithm 1."""

from pathlib import Path

import numpy as np
import pytest

from mldg_jax.training import averaging, swad

GOLDEN = Path(__file__).parents[1] / "golden" / "objectives" / "swad.npz"
TOLERANCE = {"rtol": 0, "atol": 1e-12}
CASES = [
    "alive_at_end",
    "converged_at_last",
    "converged_at_last_equal",
    "converged_at_once",
    "dead_valley",
    "not_converged",
    "nothing_averaged_yet",
    "random0",
    "random1",
    "random2",
    "random3",
    "spike_before_minimum",
    "tied_minimum",
    "tolerance_below_converge",
    "tolerance_equals_converge",
]


@pytest.fixture(params=CASES)
def oracle(request):
    prefix = request.param + "/"
    with np.load(GOLDEN, allow_pickle=False) as golden:
        return {
            name.removeprefix(prefix): golden[name]
            for name in golden.files
            if name.startswith(prefix)
        }


def choose(oracle, evaluations=None, **options):
    names = ("n_converge", "n_tolerance", "tolerance_ratio")
    settings = {name: oracle[f"hparams/{name}"].item() for name in names}
    return swad.swad_segments(oracle["val_loss"][:evaluations], **settings, **options)


def run(oracle):
    """Returns means and (first, last) steps of the segments, as a loop makes them."""
    thetas, every = oracle["theta"], oracle["hparams/checkpoint_freq"].item()
    means, steps, start = [], [], 0
    state = averaging.init(thetas[0])
    for step, theta in enumerate(thetas):
        state = averaging.update(state, theta, step, start)
        if step % every == 0:
            means.append(state)
            steps.append((start, step))
            start = step + 1
    return means, steps


def average(segments, means):
    weights = swad.segment_weights(segments, len(means))
    assert weights.sum() == pytest.approx(1, abs=1e-15)
    return averaging.weighted_average([x.average for x in means], weights)


def test_the_file_has_no_other_cases():
    with np.load(GOLDEN, allow_pickle=False) as golden:
        assert sorted({x.split("/")[0] for x in golden.files} - {"source"}) == CASES


def test_segments_equal_the_authors_code(oracle):
    means, steps = run(oracle)
    count = choose(oracle, rule="reference").evaluations
    assert len(oracle["segment/theta"]) == count
    for k, (mean, (first, last)) in enumerate(
        zip(means[:count], steps[:count], strict=True)
    ):
        np.testing.assert_allclose(
            mean.average, oracle["segment/theta"][k], **TOLERANCE
        )
        assert mean.count == oracle["segment/n_averaged"][k]
        assert first == oracle["segment/start_step"][k]
        assert last == oracle["segment/end_step"][k]


def test_the_choice_equals_the_authors_code(oracle):
    valley = choose(oracle, rule="reference")
    means, steps = run(oracle)
    chosen = valley.segments
    assert chosen == tuple(oracle["final/averaged_segments"])
    assert valley.converged == oracle["converged"]
    assert valley.dead_valley == oracle["dead_valley"]
    if valley.converged:
        assert steps[valley.minimum][1] == oracle["converge_step"]
        assert valley.threshold == pytest.approx(oracle["threshold"], abs=1e-12)
        assert len(chosen) == oracle["final/n_averaged"]
    else:
        assert oracle["converge_step"] == -1 and "threshold" not in oracle
        assert valley.minimum is None and valley.threshold is None
        assert means[chosen[0]].count == oracle["final/n_averaged"]
    run_steps = steps[valley.evaluations - 1][1] + 1
    assert oracle["steps_run"] == (
        run_steps if valley.dead_valley else len(oracle["theta"])
    )

    np.testing.assert_allclose(
        average(chosen, means), oracle["final/theta"], **TOLERANCE
    )
    by_step = np.zeros(len(oracle["theta"]))
    for (first, last), weight in zip(
        steps, swad.segment_weights(chosen, len(means)), strict=True
    ):
        by_step[first : last + 1] = weight / (last + 1 - first)
    np.testing.assert_allclose(by_step, oracle["final/step_weight"], **TOLERANCE)
    # A first segment that is flushed is recorded with its last step.
    flushed_only = valley.converged and not oracle["trace/n_averaged"][-1]
    assert oracle["final/start_step"] == steps[chosen[0]][int(flushed_only)]
    assert oracle["final/end_step"] == steps[chosen[-1]][1]


def test_the_state_after_every_evaluation_equals_the_authors_code(oracle):
    means, _ = run(oracle)
    count = len(oracle["trace/theta"])
    for k in range(count):
        valley = choose(oracle, k + 1, rule="reference", flush=False)
        assert valley.converged == oracle["trace/converged"][k]
        assert valley.dead_valley == oracle["trace/dead_valley"][k]
        assert valley.evaluations == k + 1
        number, theta = oracle["trace/n_averaged"][k], oracle["trace/theta"][k]
        if not valley.converged:  # the authors' code has no average yet
            assert number == 0 and not theta.any() and valley.segments == (k,)
            continue
        if number == 0:  # a copy of the minimum
            assert valley.segments == (valley.minimum,)
        else:
            assert len(valley.segments) == number
        np.testing.assert_allclose(average(valley.segments, means), theta, **TOLERANCE)


def test_the_default_is_the_interval_of_algorithm_1(oracle):
    valley = choose(oracle)
    first, last = (
        oracle[f"ours/algorithm1_{end}_segment"].item() for end in ("first", "last")
    )
    assert valley.segments == tuple(range(first, last + 1))
    assert valley == choose(oracle, rule="paper", flush=False)


def test_both_rules_agree_on_the_valley(oracle):
    """They differ in what they average, never in where the valley is."""
    paper, reference = choose(oracle), choose(oracle, rule="reference")
    assert paper.minimum == reference.minimum
    assert paper.threshold == reference.threshold
    if reference.dead_valley:
        assert paper.dead_valley and paper.evaluations == reference.evaluations
        assert paper.segments[-1] == reference.segments[-1]


def test_the_rules_differ():
    """Otherwise one of the tests above could pass with the wrong rule."""
    losses = [3, 1.1, 1, 1.1, 1.2, 9, 9, 9, 9]
    options = {"n_converge": 2, "n_tolerance": 3, "tolerance_ratio": 0.5}
    paper = swad.swad_segments(losses, **options)
    reference = swad.swad_segments(losses, rule="reference", **options)
    assert paper.segments == (2, 3, 4) and paper.evaluations == 8
    assert reference.segments == (2, 2, 3, 4)


@pytest.mark.parametrize("rule", ["paper", "reference"])
def test_equal_losses_never_end_the_valley_before_it_begins(rule):
    """The mean of three 0.7 is rounded to less than 0.7."""
    valley = swad.swad_segments(
        [0.7] * 4, n_converge=3, n_tolerance=4, tolerance_ratio=0, rule=rule
    )
    assert valley.minimum == 0 and valley.segments[0] >= 0 and len(valley.segments)


def test_weights_count_repeats_and_sizes():
    weights = swad.segment_weights([0, 2, 2], 4)
    np.testing.assert_allclose(weights, [1 / 3, 0, 2 / 3, 0], rtol=1e-15)
    by_iterate = swad.segment_weights([0, 1], 3, sizes=[1, 3, 3])
    np.testing.assert_array_equal(by_iterate, [0.25, 0.75, 0])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"val_loss": []}, "non-empty"),
        ({"val_loss": [1, float("nan")]}, "at least 0"),
        ({"val_loss": [1, float("inf")]}, "finite"),
        ({"n_converge": 0}, "n_converge is 0"),
        ({"n_tolerance": 0}, "n_tolerance is 0"),
        ({"tolerance_ratio": -0.1}, "tolerance_ratio is -0.1"),
        ({"rule": "both"}, "rule is 'both'"),
    ],
)
def test_impossible_values_are_refused(changed, message):
    options = {
        "val_loss": [1.0, 2.0],
        "n_converge": 1,
        "n_tolerance": 1,
        "tolerance_ratio": 0.1,
    }
    with pytest.raises(ValueError, match=message):
        swad.swad_segments(**{**options, **changed})
