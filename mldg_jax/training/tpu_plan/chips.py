"""TPU chips in figures, and what their compiled programs say of communication."""

import dataclasses
import math
import re
from typing import NamedTuple

from mldg_jax.common.errors import UserError

GIB = 2**30
EXAMPLES = "v5e:2x4, v5e:4x4, v6e:2x4, v4:2x2x2, v5p:2x2x2"  # of topologies


class Chip(NamedTuple):
    """One TPU chip.

    Attributes:
      peak: FLOP/s of bfloat16 matrix products, as published. float32 products run as
        bfloat16 ones unless a higher precision is asked for.
      bandwidth: bytes/s between HBM and the chip, as published.
      hbm: bytes that a program may use: what is published minus what the compiler keeps
        (libtpu 0.0.52 names it when it refuses a program).
    """

    peak: float
    bandwidth: float
    hbm: float


# https://docs.cloud.google.com/tpu/docs/v4 and …/v5e, …/v5p, …/v6e
CHIPS = {
    "v4": Chip(275e12, 1200e9, 30.75 * GIB),
    "v5e": Chip(197e12, 819e9, 15.75 * GIB),
    "v5p": Chip(459e12, 2765e9, 95.73 * GIB),
    "v6e": Chip(918e12, 1638e9, 31.24 * GIB),
}


def chip_of(topology: str) -> Chip:
    """The chip that a topology such as "v5e:2x4" names.

    Raises:
      UserError: an unknown one.
    """
    name = topology.partition(":")[0]
    if name not in CHIPS:
        raise UserError(
            f"topology is {topology!r}; it must be one of {', '.join(CHIPS)} and a "
            f"shape, for example {EXAMPLES}"
        )
    return CHIPS[name]


@dataclasses.dataclass(frozen=True)
class Collective:
    """Communication between chips, of one kind.

    Attributes:
      count: instructions of that kind; one inside a loop counts once.
      bytes: the sum of their results.
    """

    count: int
    bytes: int


def collectives(text: str) -> dict[str, Collective]:
    """Communication between chips in a compiled program.

    Args:
      text: the program in XLA's HLO notation.

    Returns:
      A ``Collective`` by its kind.
    """
    kinds = (
        "all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute|"
        "collective-broadcast"
    )
    found: dict[str, Collective] = {}
    # Of an asynchronous pair only the second has the result's shape.
    for shape, kind in re.findall(rf"= (.+?) ({kinds})(?:-done)?\(", text):
        before = found.get(kind, Collective(0, 0))
        size = sum(map(_bytes, re.findall(r"([a-z]+\d*)\[([\d,]*)\]", shape)))
        found[kind] = Collective(before.count + 1, before.bytes + size)
    return found


def _bytes(array: tuple[str, str]) -> int:
    """Of an array such as ("bf16", "8,128")."""
    dtype, shape = array
    bits = 8 if dtype == "pred" else int(re.sub(r"\D", "", dtype))
    return math.prod(map(int, shape.split(","))) * bits // 8 if shape else bits // 8
