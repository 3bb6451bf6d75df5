"""Error rates in the form that tables show."""

import pytest

from mldg_jax.common.error_rates import Difference, ErrorRate


def test_an_error_rate_is_shown_with_its_interval_where_it_has_one():
    assert ErrorRate(0.125).text() == "12.5"
    assert ErrorRate(0.125, 0.1, 0.2).text(2) == "12.50 [10.00, 20.00]"
    assert ErrorRate(0.5).to_json() == {"eer": 0.5, "low": None, "high": None}


def test_a_difference_has_signs_and_no_negative_zero():
    assert Difference(-0.0001, -0.02, 0.03, 0.9).text() == "+0.0 [−2.0, +3.0]"


@pytest.mark.parametrize(
    ("low", "high", "excludes"), [(-1, 1, False), (0, 1, False), (0.1, 1, True)]
)
def test_an_interval_excludes_zero_on_either_side(low, high, excludes):
    assert Difference(0.0, low, high, 1.0).excludes_zero == excludes
    assert Difference(0.0, -high, -low, 1.0).excludes_zero == excludes
