"""Learning curves: the same rows at every budget, as a picture and as CSV."""

import csv
import dataclasses
import io
import xml.etree.ElementTree as ET

import pytest

from mldg_jax.common.error_rates import Difference
from mldg_jax.experiments import difference_plot, learning_curves
from mldg_jax.experiments.results import Comparison, MethodResult
from mldg_jax.experiments.statistics import SCHEME, SeedRate


def comparison(steps, eer):
    rate = SeedRate(eer, eer - 0.05, eer + 0.1, 0.01, (eer,))
    rows = {
        "erm": MethodResult("erm", "erm", 10, steps, 16 * steps, eer={"pooled": rate}),
        "sam": MethodResult(
            "sam", "sam", 10, steps // 2, 16 * steps,
            eer={"pooled": dataclasses.replace(rate, eer=eer - 0.01)},
        ),
        "lfcc-gmm": MethodResult("lfcc-gmm", "lfcc-gmm", eer={"pooled": rate}),
    }  # fmt: skip
    gaps = {
        ("sam", "erm"): {"pooled": Difference(-0.01, -0.02, -0.005, 0.01)},
        ("lfcc-gmm", "erm"): {"pooled": Difference(0.0, -0.02, 0.02, 0.9)},
    }
    return Comparison(
        {"pooled": "unseen attacks"}, rows, gaps, (), ("A1",), 1, 0, SCHEME
    )


@pytest.fixture
def compared():
    return [comparison(400, 0.2), comparison(1600, 0.15)]


def test_every_method_has_a_line_for_every_budget(compared):
    text = learning_curves.files([400, 1600], compared)["curves.csv"]
    lines = list(csv.DictReader(io.StringIO(text)))
    assert [(x["budget"], x["method"], x["steps"]) for x in lines] == [
        ("400", "erm", "400"), ("400", "sam", "200"), ("400", "lfcc-gmm", "0"),
        ("1600", "erm", "1600"), ("1600", "sam", "800"), ("1600", "lfcc-gmm", "0"),
    ]  # fmt: skip
    assert float(lines[3]["eer"]) == 0.15
    assert lines[0]["gradient_evaluations"] == lines[1]["gradient_evaluations"]


def test_the_picture_has_the_methods_that_are_trained(compared):
    svg = learning_curves.files([400, 1600], compared)["curves.svg"]
    words = " ".join(ET.fromstring(svg).itertext())
    assert "sam" in words and "gradient evaluations" in words
    assert "lfcc-gmm" not in words  # takes none
    assert "6,400" in words and "25,600" in words and "math" not in words


def test_every_difference_has_a_row(compared):
    words = " ".join(ET.fromstring(difference_plot.picture(compared[0])).itertext())
    assert "sam − erm" in words and "lfcc-gmm − erm" in words
    assert "unseen attacks" in words
