"""Interpolation and slices of losses in closed form."""

import jax
import numpy as np
import pytest

from mldg_jax import lora
from mldg_jax.analysis import geometry, landscape, losses
from mldg_jax.models import split

SCALE = 0.5


def quadratic(point):
    return float(sum((x**2).sum() for x in jax.tree.leaves(point["trainable"])))


def plain(*values):
    tree = {"head": {"w": np.array(values)}}
    return {"trainable": tree, "batch_stats": {"head": {"mean": np.zeros(2)}}}


def test_interpolation_in_closed_form():
    found = landscape.interpolate(quadratic, plain(1.0, 0.0), plain(0.0, 1.0))
    np.testing.assert_allclose(found.loss, (1 - found.t) ** 2 + found.t**2)
    assert found.barrier == 0  # a convex loss has none


def test_barrier_is_the_largest_excess_over_the_line_between_the_ends():
    t = np.array([-0.5, 0.0, 0.25, 0.5, 1.0, 1.5])
    loss = np.array([99.0, 1.0, 1.5, 2.4, 3.0, 99.0])
    assert landscape.Path(t, loss).barrier == pytest.approx(0.4)


def other(problem):
    def one(path, x):
        wave = np.sin(np.arange(x.size) + len(path)).reshape(x.shape)
        return x + 0.1 * wave

    return jax.tree_util.tree_map_with_path(one, problem.trainable)


@pytest.mark.usefixtures("float64")
def test_updates_are_blended_not_their_factors(problem):
    """The blend's update is the weighted mean; merging it gives the same logits."""
    points = [
        {"trainable": x, "batch_stats": problem.batch_stats}
        for x in (problem.trainable, other(problem))
    ]
    middle = landscape.blend(*points, 0.25)
    one, two, both = (
        geometry.updates(p["trainable"], SCALE) for p in (*points, middle)
    )
    for place, update in both.items():
        explicit = (
            0.75 * one[place].a @ one[place].b + 0.25 * two[place].a @ two[place].b
        )
        np.testing.assert_allclose(update.a @ update.b, explicit, atol=1e-12)
    kernel = middle["trainable"]["head"]["logits"]["kernel"]
    ends = [p["trainable"]["head"]["logits"]["kernel"] for p in points]
    np.testing.assert_allclose(kernel, 0.75 * ends[0] + 0.25 * ends[1])

    waveform = problem.batch["waveform"][:, 0]
    adapters, head = lora.split(middle["trainable"], [r".*/lora_[ab]"])
    merged = lora.merge(problem.frozen, adapters, scale=SCALE)
    logits = [
        jax.jit(problem.detector.apply)(variables, waveform)
        for variables in (
            split.variables(middle["trainable"], middle["batch_stats"], problem.frozen),
            split.variables(head, middle["batch_stats"], merged),
        )
    ]
    np.testing.assert_allclose(*logits, rtol=0, atol=1e-12)


@pytest.mark.usefixtures("float64")
def test_the_ends_of_a_path_are_the_runs(problem):
    @jax.jit
    def value(point, frozen, batch):
        loss = losses.evaluation(problem.detector, point["batch_stats"], frozen)
        return loss(point["trainable"], batch)[0]

    points = [
        {"trainable": x, "batch_stats": problem.batch_stats}
        for x in (problem.trainable, other(problem))
    ]
    ends = [float(value(p, problem.frozen, problem.batch)) for p in points]
    for factors in (False, True):
        path = landscape.interpolate(
            lambda p: value(p, problem.frozen, problem.batch),
            *points,
            (0.0, 0.5, 1.0),
            factors=factors,
        )
        np.testing.assert_allclose(path.loss[[0, -1]], ends, rtol=1e-12)


def test_slices_in_closed_form():
    point = plain(1.0, 2.0)
    first, second = (
        {"head": {"w": np.array([1.0, 0])}},
        {"head": {"w": np.array([0, 1.0])}},
    )
    x, y = np.linspace(-1, 1, 5), np.linspace(-2, 2, 3)
    line = landscape.around(quadratic, point, first, x=x)
    np.testing.assert_allclose(line.loss, [(1 + x) ** 2 + 4])
    plane = landscape.around(quadratic, point, first, second, x=x, y=y)
    np.testing.assert_allclose(plane.loss, (1 + x) ** 2 + (2 + y[:, None]) ** 2)


@pytest.mark.usefixtures("float64")
def test_a_random_direction_is_as_long_as_every_array():
    tree = {"a": np.full((3, 4), 2.0), "b": np.arange(5.0), "zero": np.zeros(3)}
    found = landscape.random_direction(jax.random.key(0), tree)
    for name, x in tree.items():
        assert np.linalg.norm(found[name]) == pytest.approx(np.linalg.norm(x), rel=1e-5)
    cosine = np.vdot(found["b"], tree["b"]) / np.linalg.norm(tree["b"]) ** 2
    assert abs(cosine) < 0.99
