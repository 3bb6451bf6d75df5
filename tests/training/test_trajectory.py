"""Averages of one trajectory, against the iterates themselves."""

import json

import jax
import numpy as np
import pytest

from mldg_jax.common import run_folder
from mldg_jax.common.errors import UserError
from mldg_jax.data.corpus import BONAFIDE
from mldg_jax.training import checkpoints, loop, trajectory, validation
from mldg_jax.training.config_files import read_config_file
from mldg_jax.training.swad import swad_segments
from tests import signals

STEPS, EVERY, START, EARLIER = 14, 3, 6, 9
ON = [
    f"steps={STEPS}", f"averages.every={EVERY}", f"averages.start={START}",
    f"averages.at=[{EARLIER}]", "averages.detector=swad", "averages.n_converge=2",
    "averages.n_tolerance=2", "averages.tolerance_ratio=0.05",
    "validation.attacks=[A02, A05]", "validation.utterances=8",
    "checkpoint_every=1", "keep_every=1",
]  # fmt: skip


def config(*overrides):
    return read_config_file("tests/tiny.py:mldg", [*ON, *overrides])


def train(config, workdir, **options):
    made = signals.corpus()
    options = {"progress": lambda step: None} | options
    return loop.train(config, workdir, made, validate_on=made, **options)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(config(), tmp_path_factory.mktemp("averages") / "run")


@pytest.fixture(scope="module")
def iterates(run):
    """φ after every step, and the last state: the run's own checkpoints."""
    with checkpoints.open_checkpoints(run, lambda: []) as manager:
        states = {
            step: manager.restore(step)
            for step in range(1, STEPS + 1)  # keep_every=1 keeps them all
        }
    return states


def read(run, step, name):
    return run_folder.read_parameters(trajectory.path(run, step, name))[0]


def assert_close(a, b, atol):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=0, atol=atol), a, b)


def mean_of(iterates, steps):
    trees = [iterates[step]["trainable"] for step in steps]
    return jax.tree.map(lambda *xs: np.mean(xs, 0, np.float64), *trees)


@pytest.mark.parametrize("step", [EARLIER, STEPS])
def test_each_is_the_average_of_its_iterates(run, iterates, step):
    assert_close(read(run, step, "last"), iterates[step]["trainable"], 0)
    assert_close(read(run, step, "ema"), iterates[step]["average"], 0)
    expected = mean_of(iterates, range(START + 1, step + 1))
    assert_close(read(run, step, "uniform"), expected, 1e-6)


@pytest.mark.parametrize("step", [EARLIER, STEPS])
def test_swad_averages_the_segments_that_its_losses_choose(run, iterates, step):
    facts = json.loads(
        trajectory.path(run, step, "swad").with_name("swad.json").read_text()
    )
    assert facts["ends"] == [e for e in (3, 6, 9, 12, 14) if e <= step]
    valley = swad_segments(
        facts["losses"], n_converge=2, n_tolerance=2, tolerance_ratio=0.05
    )
    chosen = [facts["ends"][i] for i in valley.segments]
    assert facts["chosen"] == chosen
    steps = [s for e in chosen for s in range((e - 1) // EVERY * EVERY + 1, e + 1)]
    assert_close(read(run, step, "swad"), mean_of(iterates, steps), 1e-6)


def test_swad_s_losses_are_those_of_the_iterates_on_held_out_attacks(run, iterates):
    """By `mldg score`'s path, on a run whose detector is the iterate."""
    facts = json.loads(
        trajectory.path(run, STEPS, "swad").with_name("swad.json").read_text()
    )
    from mldg_jax.scoring import scorer

    parts = scorer.load_parameters(run)
    corpus = signals.corpus()
    rows = validation.choose(config().validation, corpus, corpus, for_averages=True)
    for end, loss in zip(facts["ends"], facts["losses"], strict=True):
        own = parts._replace(
            trainable=iterates[end]["trainable"],
            batch_stats=iterates[end]["batch_stats"],
        )
        waveforms = [rows.waveform(i) for i in range(len(rows.label))]
        scores = scorer.score_waveforms(own.scorer(), waveforms)
        real, spoof = scores[rows.label == BONAFIDE], scores[rows.label != BONAFIDE]
        entropy = np.logaddexp(0, -real).mean() / 2 + np.logaddexp(0, spoof).mean() / 2
        assert entropy == pytest.approx(loss, abs=1e-5)


def test_the_detector_is_the_average_that_the_config_names(run):
    assert_close(run_folder.read_trainable(run)[0], read(run, STEPS, "swad"), 0)


def test_a_run_that_is_stopped_has_the_same_averages(run, tmp_path):
    """Within a segment: the running mean is part of the state."""
    counted = []

    def stop():
        counted.append(1)
        return len(counted) == 5

    workdir = train(config(), tmp_path / "run", stop=stop)
    assert not run_folder.finished(workdir)
    train(config(), workdir)
    for step in (EARLIER, STEPS):
        for name in trajectory.NAMES:
            assert_close(read(workdir, step, name), read(run, step, name), 0)


def test_the_average_at_an_earlier_step_is_that_of_a_shorter_run(run, tmp_path):
    shorter = train(config(f"steps={EARLIER}", "averages.at=[]"), tmp_path / "run")
    for name in trajectory.NAMES:
        assert_close(read(shorter, EARLIER, name), read(run, EARLIER, name), 0)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("averages.every=0", "set averages.every too"),
        ("averages.start=4", "multiple of averages.every, 3"),
        ("averages.start=9", "below every step of averages.at"),
        ("averages.at=[14]", "must be below steps"),
        ("validation.attacks=[]", "name some in validation.attacks"),
        ("validation.every=3", "set validation.every=0 or averages.detector=ema"),
        ("validation.patience=2", "set validation.patience=0"),
    ],
)
def test_contradictions_are_refused(override, message, tmp_path):
    with pytest.raises(UserError, match=message):
        train(config(override), tmp_path / "run")
    assert not (tmp_path / "run").exists()
