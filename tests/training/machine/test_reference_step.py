"""The step of ``mldg doctor`` has the results that are stored with it."""

import jax
import numpy as np
import pytest

from mldg_jax.training.machine import reference_step


@pytest.fixture(scope="module")
def result():
    return reference_step.run(jax.local_devices()[0])


def test_float64_computes_the_stored_results():
    with jax.enable_x64(True):
        exact = reference_step.run(jax.local_devices()[0], np.float64)
    assert exact.values == pytest.approx(reference_step.EXPECTED, rel=1e-9)
    norm = np.linalg.norm(exact.gradient)
    assert norm == pytest.approx(reference_step.EXPECTED["gradient_norm"], rel=1e-9)


def test_float32_deviates_by_rounding_alone(result):
    assert 0 < reference_step.deviation(result) < reference_step.tolerance("cpu") / 5


def test_a_wrong_result_deviates(result):
    wrong = result._replace(
        values=result.values | {"gradient_norm": 1.01 * result.values["gradient_norm"]}
    )
    assert reference_step.deviation(wrong) > reference_step.tolerance("cpu")
    other = result._replace(gradient=1.01 * result.gradient)
    assert reference_step.difference(other, result) == pytest.approx(0.01, rel=1e-3)


def test_an_unknown_platform_is_given_the_widest_tolerance():
    assert reference_step.tolerance("rocm") == reference_step.tolerance("tpu")
