"""Multiply-adds of Whisper's layers, counted by hand."""

import itertools

from mldg_jax.experiments.probing import front_end_cost, layer_means
from mldg_jax.training.config_files import read_config_file
from tests.experiments.probing.test_layer_means import SHAPE


def test_a_layer_costs_its_matrices_and_its_attention():
    config = read_config_file(
        "tests/tiny.py:mldg", ["model.weights=random", f"model.frontend={SHAPE}"]
    )
    front_end = layer_means.open_front_end(config)
    costs = front_end_cost.multiply_adds(front_end)
    frames, dim, hidden = 5, 16, 24  # 1,600 samples: a tenth of a second
    layer = frames * (4 * dim**2 + 2 * dim * hidden) + 2 * frames**2 * dim
    assert len(costs) == 4 and costs[0] > 0
    assert [b - a for a, b in itertools.pairwise(costs)] == [10 * layer] * 3
