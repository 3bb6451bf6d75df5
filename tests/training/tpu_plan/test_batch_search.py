"""The search for the largest batch."""

import pytest

from mldg_jax.training.tpu_plan.batch_search import largest_batch


@pytest.mark.parametrize("first", [6, 12, 60, 300])
@pytest.mark.parametrize("largest", [0, 6, 18, 96, 102])
def test_the_largest_batch_is_found_and_the_next_one_tried(first, largest):
    tried = []

    def measure(batch):
        """Linear and then, as the compiler recomputes to make it fit, flat."""
        tried.append(batch)
        return min(1_000 + 90 * batch, 9_900) if batch <= largest else None

    assert largest_batch(measure, first, 6, 10_000) == largest
    assert largest + 6 in tried and (largest in tried or not largest)
    assert len(tried) == len(set(tried)) <= 8
    assert all(batch % 6 == 0 for batch in tried)
