"""The linear head: its equation in numpy, its size, padding, what it reads."""

import numpy as np
import pytest

from mldg_jax.models.detector import create_detector
from mldg_jax.models.linear import LinearHead
from mldg_jax.training.config_files import read_config_file
from tests.models import layered_heads as given


def test_it_is_its_equation():
    head, hidden = LinearHead(), given.states()
    variables = given.variables(head)
    means = given.standardise(variables, hidden).mean(axis=2)  # layers, batch, width
    joined = np.concatenate(list(means), axis=1)
    layer = variables["params"]["logits"]
    expected = joined @ layer["kernel"] + layer["bias"]
    logits = given.apply(head, variables, hidden)
    np.testing.assert_allclose(logits, expected, rtol=1e-12, atol=1e-12)
    assert given.count(head) == 2 * given.LAYERS * given.WIDTH + 2


def test_padding_makes_no_difference():
    given.check_padding(LinearHead())


@pytest.mark.parametrize(
    ("layers", "read", "depth"), [("2", (-1,), 2), ("[0, 2]", (0, 2), 2)]
)
def test_it_reads_the_last_layer_or_those_listed(layers, read, depth):
    config = read_config_file(
        "tests/tiny.py:mldg",
        ["model.head={kind: linear}", f"model.frontend.layers={layers}"],
    )
    detector = create_detector(config.model)
    assert (detector.read, detector.frontend.layers) == (read, depth)
    assert detector.chosen([10, 11, 12]) == [[10, 11, 12][i] for i in read]
