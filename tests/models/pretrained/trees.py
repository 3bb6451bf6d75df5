"""Small parameters under every name of a key table."""

from pathlib import Path
from typing import Any

import numpy as np
from flax import traverse_util

from mldg_jax.models.pretrained.convert import Table

GOLDEN = Path(__file__).parents[2] / "golden"

# Sizes all differ, so that a wrong transpose shows.
_SHAPES = {
    "same": (6,),
    "dense": (3, 5),
    "conv1d": (4, 2, 7),
    "conv2d": (4, 2, 7, 8),
    "conv1x1": (3, 5),
    "tap": (3, 5),
    "taps": (9,),
}
# Layers; AASIST's branches and layers are one digit each.
_NUMBERS = [[()], [("0",), ("11",)], [("1", "2"), ("2", "1")]]


def variables_of(table: Table) -> dict[str, Any]:
    """Every parameter that the table names, of layers 0 and 11, in our layout."""
    random = np.random.default_rng(0)
    flat = {}
    for _, ours, layout in table.rules:
        for numbers in _NUMBERS[ours.count("{}")]:
            value = random.normal(size=_SHAPES[layout])
            flat[ours.format(*numbers)] = value.astype(np.float32)
    return traverse_util.unflatten_dict(flat, sep="/")
