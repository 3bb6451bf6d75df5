"""Specifications of TPU chips, and the communication in their compiled programs."""

import dataclasses
import math
import re
from typing import NamedTuple

from mldg_jax.common.errors import UserError

GIB = 2**30
BETWEEN_SLICES = "send to other slices"
EXAMPLES = "v5e:2x4, v5e:4x4, v6e:2x4, v4:2x2x2, v5p:2x2x2"  # of topologies


class Chip(NamedTuple):
    """A kind of TPU chip.

    Attributes:
      peak: published peak of bfloat16 matrix products, in FLOP/s. float32 products run
        in bfloat16 unless a higher precision is requested.
      bandwidth: published HBM bandwidth, in bytes/s.
      hbm: HBM available to a program, in bytes: the published size minus the
        compiler's reserve, as libtpu 0.0.52 reports it when it refuses a program.
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
    """Looks up the chip of a TPU slice.

    Args:
      topology: chip and shape of the slice, e.g. "v5e:2x4".

    Returns:
      The chip's specification.

    Raises:
      UserError: an unknown chip.
    """
    name = topology.partition(":")[0]
    if name not in CHIPS:
        raise UserError(
            f"topology is {topology!r}; it must be one of {', '.join(CHIPS)} and a "
            f"shape, e.g. {EXAMPLES}"
        )
    return CHIPS[name]


@dataclasses.dataclass(frozen=True)
class Collective:
    """Communication between chips of one kind, e.g. all-reduce.

    Attributes:
      count: number of instructions; one inside a loop counts once.
      bytes: total size of their results.
    """

    count: int
    bytes: int


def collectives(text: str) -> dict[str, Collective]:
    """Finds the communication between chips in a compiled program.

    Args:
      text: the program as HLO text.

    Returns:
      A ``Collective`` for each kind that occurs. "send to other slices" is what a chip
      sends over the data centre's network; the other kinds stay within a slice.
    """
    kinds = (
        "all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute|"
        "collective-broadcast"
    )
    by_kind: dict[str, Collective] = {}
    # Of an asynchronous start-done pair, only "done" has the shape of the result.
    for shape, kind in re.findall(rf"= (.+?) ({kinds})(?:-done)?\(", text):
        before = by_kind.get(kind, Collective(0, 0))
        size = sum(map(_bytes, re.findall(r"([a-z]+\d*)\[([\d,]*)\]", shape)))
        by_kind[kind] = Collective(before.count + 1, before.bytes + size)
    # What crosses slices goes through the hosts, by the runtime called megascale.
    sent = re.findall(r"= \((.+?)\) send\([^\n]*xla_megascale", text)
    if sent:
        arrays = re.findall(r"([a-z]+\d*)\[([\d,]+)\]", " ".join(sent))
        by_kind[BETWEEN_SLICES] = Collective(len(sent), sum(map(_bytes, arrays)))
    return by_kind


def _bytes(array: tuple[str, str]) -> int:
    """Returns the size in bytes of an array, given as e.g. ("bf16", "8,128")."""
    dtype, shape = array
    bits = 8 if dtype == "pred" else int(re.sub(r"\D", "", dtype))
    return math.prod(map(int, shape.split(","))) * bits // 8 if shape else bits // 8
