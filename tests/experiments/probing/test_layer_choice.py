"""The search finds the layers that hold what all families share."""

import numpy as np
import pytest

from mldg_jax.experiments.probing import held_out_scores, layer_choice
from mldg_jax.experiments.probing.layer_choice import BEST_LAYER, LAST_LAYER
from tests.experiments.probing import synthetic


def search(strength, cost=None, means=None):
    rows = synthetic.rows()
    planned = held_out_scores.plan(rows, synthetic.FAMILY)
    given = synthetic.means(rows, strength) if means is None else means
    cost = range(10, 10 + len(strength)) if cost is None else cost
    return layer_choice.search(planned, given, synthetic.FAMILY, cost, replicates=60)


def test_the_layer_with_the_shared_cue_is_the_best_layer():
    choice = search((0.0, 0.0, 6.0, 0.0))
    single = choice.best(1)
    assert single.layers == (2,) and single.rate.eer < 0.1
    others = [x.rate.eer for x in choice.tried if 2 not in x.layers]
    assert min(others) > 0.3  # a cue of one family does not help with the others
    assert single.setting == "model.frontend.layers=[2]"
    assert (single.parameters, single.multiply_adds) == (6 + 1, 12)
    assert set(single.by_group) == {"a", "b", "c", "d"}
    assert np.mean(list(single.by_group.values())) == pytest.approx(single.rate.eer)


def test_two_layers_that_complete_each_other_are_better_than_each():
    rows = synthetic.rows()
    means = synthetic.means(rows, (0.0, 0.0, 0.0))
    means[:, :, 1] = means[:, :, 2]  # nothing misleads
    noise = 3 * np.random.default_rng(1).normal(size=len(rows.label))
    means[:, 1, 0] = noise + rows.label  # the difference of the two has no noise
    means[:, 2, 0] = noise - rows.label
    choice = search((0.0,) * 3, means=means)
    best = choice.best()
    assert {1, 2} <= set(best.layers) and best.rate.eer < 0.2
    assert choice.best(1).rate.eer > 0.3
    assert choice.gaps[BEST_LAYER].high < 0
    assert choice.gaps[LAST_LAYER].difference == pytest.approx(
        best.rate.eer - choice.of((2,)).rate.eer
    )


def test_pairs_and_fours_are_of_the_six_best():
    choice = search((6.0, 0.1, 3.0, 4.0, 5.0, 0.0, 2.0, 2.5))
    sizes = [len(x.layers) for x in choice.tried]
    assert [sizes.count(k) for k in (1, 2, 4)] == [8, 15, 15]
    used = {layer for x in choice.tried if len(x.layers) > 1 for layer in x.layers}
    assert used == {0, 2, 3, 4, 6, 7}


def test_of_equal_layers_the_cheapest_and_never_the_input_alone():
    rows = synthetic.rows()
    one = synthetic.means(rows, (6.0,))
    choice = search((6.0,) * 3, cost=(1, 3, 2), means=np.repeat(one, 3, axis=1))
    assert len({x.rate.eer for x in choice.tried if len(x.layers) == 1}) == 1
    assert choice.best(1).layers == (2,)
