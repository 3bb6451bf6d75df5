"""The accelerators that manifests can ask for, and what schedulers call them."""

import math
import re
from typing import NamedTuple

from mldg_jax.common.errors import UserError
from mldg_jax.training.tpu_plan.chips import CHIPS

EXAMPLES = "v5e:2x4, v6e:4x4, v4:2x2x2, v5p:2x2x2, h100:8, a100-80gb:8, l4:1 or cpu"


class Accelerator(NamedTuple):
    """What a run trains on.

    Attributes:
      kind: "tpu", "gpu" or "cpu".
      name: e.g. "v5e" or "h100".
      topology: shape of a TPU slice, e.g. "2x4"; "" for others.
      per_host: chips or GPUs of a host; 0 for "cpu".
      hosts: hosts of a TPU slice; 1 for others.
      gke: the value of GKE's node label for this accelerator; "" if there is none.
      sky: SkyPilot's name, with the size of a TPU slice; "" for "cpu".
    """

    kind: str
    name: str
    topology: str
    per_host: int
    hosts: int
    gke: str
    sky: str


class _Tpu(NamedTuple):
    """Names of a TPU generation: GKE's label, SkyPilot's prefix, its count per chip."""

    gke: str
    sky: str
    cores: int  # v4 and v5p slices are named by TensorCores, the others by chips
    dimensions: int


_FLAT = frozenset(["1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16"])
_DEEP = frozenset(
    ["2x2x1", "2x2x2", "2x2x4", "2x4x4"]
)  # larger: multiples of 4, in order
_PER_NODE = (1, 2, 4, 8)  # GPUs of the clouds' machines

# https://cloud.google.com/kubernetes-engine/docs/concepts/plan-tpus (labels, hosts)
# and https://cloud.google.com/tpu/docs/supported-tpu-configurations (names of sizes)
_TPUS = {
    "v4": _Tpu("tpu-v4-podslice", "tpu-v4", 2, 3),
    "v5e": _Tpu("tpu-v5-lite-podslice", "tpu-v5litepod", 1, 2),
    "v5p": _Tpu("tpu-v5p-slice", "tpu-v5p", 2, 3),
    "v6e": _Tpu("tpu-v6e-slice", "tpu-v6e", 1, 2),
}
CHIPS_PER_HOST = 4  # of every slice with several hosts, in all four generations
assert _TPUS.keys() == CHIPS.keys()

# GKE's value of cloud.google.com/gke-accelerator, and SkyPilot's name
_GPUS = {
    "l4": ("nvidia-l4", "L4"),
    "a100": ("nvidia-tesla-a100", "A100"),
    "a100-80gb": ("nvidia-a100-80gb", "A100-80GB"),
    "h100": ("nvidia-h100-80gb", "H100"),
    "h200": ("nvidia-h200-141gb", "H200"),
    "b200": ("nvidia-b200", "B200"),
}


def parse(text: str, *, slices: int = 1) -> Accelerator:
    """Parses ``--accelerator``.

    Args:
      text: ``CHIP:SHAPE`` of a TPU slice, ``GPU:COUNT`` of each node, or "cpu".
      slices: number of TPU slices that train together, ≥ 1. Slices are joined host by
        host, so that several slices need hosts with four chips each.

    Returns:
      The accelerator.

    Raises:
      UserError: an unknown accelerator, or a size that it does not come in.
    """
    name, _, size = text.lower().partition(":")
    if name in _TPUS:
        return _tpu(text, name, size, slices)
    if slices != 1:
        raise UserError(
            f"--slices {slices} with --accelerator {text}: only TPUs come in slices; "
            "for several nodes with GPUs give --nodes N"
        )
    if name == "cpu" and not size:
        return Accelerator("cpu", "cpu", "", 0, 1, "", "")
    if name in _GPUS:
        counts = [*_PER_NODE, 16] if name == "a100" else [*_PER_NODE]
        if size not in map(str, counts):
            raise UserError(
                f"--accelerator {text}: give the GPUs of each node, "
                f"{', '.join(map(str, counts[:-1]))} or {counts[-1]}, as in {name}:8"
            )
        gke, sky = _GPUS[name]
        return Accelerator("gpu", name, "", int(size), 1, gke, sky)
    raise UserError(
        f"--accelerator {text!r} is not known; give {EXAMPLES} (known: "
        f"{', '.join([*_TPUS, *_GPUS])})"
    )


def _tpu(text: str, name: str, size: str, slices: int) -> Accelerator:
    tpu = _TPUS[name]
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)+", size):
        raise UserError(
            f"--accelerator {text}: give chip and shape of a slice, e.g. {EXAMPLES}"
        )
    shape = [int(n) for n in size.split("x")]
    if len(shape) != tpu.dimensions:
        raise UserError(
            f"--accelerator {text}: slices of {name} have {tpu.dimensions} dimensions, "
            f"as in {name}:{'x'.join(['2', '2', '4'][-tpu.dimensions :])}"
        )
    if not _comes_as(shape):
        sizes = sorted(_FLAT if tpu.dimensions == 2 else _DEEP, key=_volume)
        more = " and larger with multiples of 4" if tpu.dimensions == 3 else ""
        raise UserError(
            f"--accelerator {text}: slices of {name} do not come in this shape; give "
            f"one of {', '.join(sizes)}{more}"
        )
    chips = math.prod(shape)
    # One host can have the 8 chips of a 2x4 slice, but several slices can only be
    # joined if each consists of several hosts.
    whole = chips <= CHIPS_PER_HOST or (size == "2x4" and slices == 1)
    if slices > 1 and chips <= CHIPS_PER_HOST:
        raise UserError(
            f"--slices {slices} of {text}: a slice on a single host cannot be joined "
            f"with others; give a larger one, such as {name}:"
            f"{'2x4' if tpu.dimensions == 2 else '2x2x2'}"
        )
    return Accelerator(
        kind="tpu",
        name=name,
        topology=size,
        per_host=chips if whole else CHIPS_PER_HOST,
        hosts=1 if whole else chips // CHIPS_PER_HOST,
        gke=tpu.gke,
        sky=f"{tpu.sky}-{chips * tpu.cores}",
    )


def _comes_as(shape: list[int]) -> bool:
    """Says whether Google offers slices of a shape."""
    if "x".join(map(str, shape)) in _FLAT | _DEEP:
        return True
    return len(shape) == 3 and sorted(shape) == shape and not any(n % 4 for n in shape)


def _volume(size: str) -> int:
    return math.prod(int(n) for n in size.split("x"))
