"""The largest batch that fits a chip."""

import math
from collections.abc import Callable


def largest_batch(
    measure: Callable[[int], int | None], first: int, unit: int, limit: float
) -> int:
    """Finds the largest multiple of ``unit`` that fits; the next one is tried too.

    Args:
      measure: returns the bytes that a batch needs, or None if it does not fit.
      first: batch to start with, a multiple of ``unit``.
      unit: step between batches.
      limit: available bytes, which guide the search; ``measure`` decides.

    Returns:
      The batch; 0 if even ``unit`` does not fit.
    """
    fits: dict[int, int] = {}
    refused, batch = math.inf, first
    while max(fits, default=0) + unit < refused:
        used = measure(batch)
        if used is None:
            refused = batch
        else:
            fits[batch] = used
        batch = _next_batch(fits, refused, unit, limit)
    return max(fits, default=0)


def _next_batch(fits: dict, refused: float, unit: int, limit: float) -> int:
    """Extrapolates from the two largest that fit; else bisects, or doubles."""
    *_, low, high = (0, 0, *sorted(fits))
    guess = math.inf
    if low and fits[high] > fits[low]:
        slope = (fits[high] - fits[low]) / (high - low)
        guess = high + (limit - fits[high]) / slope
    if not high < guess < refused:
        guess = 2 * high if refused == math.inf else (high + refused) / 2
    return int(max(high + unit, guess // unit * unit))
