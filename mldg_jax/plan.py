"""Will the training step fit a TPU slice that is not there, and what does it cost?

The TPU's own compiler (libtpu) runs on any machine. It compiles the very step that
``mldg train`` runs, for the chips of a slice, from shapes alone: no weights, no
data, no accelerator. From the compiler come the memory and the collectives; FLOPs are
counted from the program (``flops``), because the compiler's cost analysis counts a
loop's body once.
"""

import functools
import math
import re
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from mldg_jax import parallel, steps
from mldg_jax.data import loader
from mldg_jax.errors import UserError
from mldg_jax.flops import count_flops
from mldg_jax.models import detector as detectors

GIB = 2**30


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


def plan(
    config: Any,
    topology: str,
    *,
    batch: int | None = None,
    attacks: int | None = None,
    largest: bool = False,
    progress: Callable[[str], Any] = lambda text: None,
) -> dict[str, Any]:
    """Compiles a config's training step for a TPU slice.

    Args:
      config: see ``configs/``; its weights and corpus are not looked at.
      topology: chip and shape of the slice, such as "v5e:2x4".
      batch: utterances a chip and step, both halves and all attacks together; by
        default what ``config.episode.examples`` comes to.
      attacks: of a step; by default ``config.episode.attacks``, or where that is 0 (all
        of the corpus) the 6 of ASVspoof 2019 LA.
      largest: whether to search for the largest batch that fits, too: three to six
        compilations more.
      progress: called with a line of text before and after what takes minutes.

    Returns:
      What ``describe`` prints: the step's sizes; ``memory`` in bytes a chip, None if
      the compiler refuses the program, whose reason is then ``refused``; ``flops`` a
      chip; ``bound_seconds``, no less than which the step takes; ``collectives`` of the
      program, kind → number and bytes; with ``largest`` also ``largest_batch``.

    Raises:
      UserError: an unknown slice or an impossible batch.
    """
    chip = _chip(topology)
    devices = parallel.topology(topology)
    count = len(devices)
    attacks = attacks or config.episode.attacks or 6
    unit = attacks * math.lcm(2, count) // count
    if not 0 < config.episode.meta_test < attacks:
        raise UserError(
            f"episode.meta_test is {config.episode.meta_test} of {attacks} attacks; "
            "both halves need one: set --attacks to what the corpus has"
        )
    batch = _batch(batch, unit, config.episode.examples * attacks, count)

    @functools.cache
    def compiled(batch):
        examples = batch * count // attacks
        progress(f"compiling for {topology}, {batch} utterances a chip; takes minutes")
        start = time.monotonic()
        jaxpr, lowered = lower(config, devices, attacks=attacks, examples=examples)
        program, refused = _compile(lowered)
        memory = refused is None and _memory(program.memory_analysis())
        used = f"{memory['total'] / GIB:.2f} GiB" if memory else refused
        progress(f"  {time.monotonic() - start:.0f} s: {used}")
        return {
            "memory": memory or None,
            "refused": refused,
            # What a step pays that is not logged: that is the cheaper branch.
            "flops": count_flops(jaxpr, "tpu", branch=min),
            "flops_logged": count_flops(jaxpr, "tpu"),
            "collectives": {} if refused else collectives(program.as_text()),
        }

    result = {
        "topology": topology,
        "chips": count,
        "attacks": attacks,
        "examples": batch * count // attacks,
        "samples": config.samples,
        "objective": dict(config.objective),
        "compute": dict(config.compute),
        "batch": batch,
        "hbm": chip.hbm,
        **compiled(batch),
    }
    result["bound_seconds"] = _bound(chip, result)
    if largest:

        def measure(batch):
            memory = compiled(batch)["memory"]
            return memory and memory["total"]

        result["largest_batch"] = largest_batch(measure, batch, unit, chip.hbm)
    return result


def _chip(topology: str) -> Chip:
    name = topology.partition(":")[0]
    if name not in CHIPS:
        raise UserError(
            f"topology is {topology!r}; it must be one of {', '.join(CHIPS)} and a "
            f"shape, for example {parallel.TOPOLOGIES}"
        )
    return CHIPS[name]


def _batch(batch: int | None, unit: int, total: int, chips: int) -> int:
    """The utterances a chip and step, checked: a multiple of ``unit``."""
    if batch is None:
        batch, source = total / chips, f"the config's {total} utterances a step"
    else:
        source = f"--batch {batch}"
    if batch < 1 or batch % unit:
        below = max(0, int(batch // unit * unit))
        near = " or ".join(str(n) for n in (below, below + unit) if n)
        raise UserError(
            f"{source} over {chips} chips: every chip takes as many utterances of each "
            "attack, and of each attack's half are bona fide. Give --batch "
            f"{near}, or another multiple of {unit}"
        )
    return int(batch)


def lower(config: Any, devices: list, *, attacks: int, examples: int) -> tuple:
    """Traces a config's training step, from shapes alone.

    Args:
      config: see ``configs/``.
      devices: from ``parallel.topology``, or real ones.
      attacks: domains of the episode, both halves together.
      examples: utterances of each, on all devices together.

    Returns:
      The jaxpr and the lowered program, see ``parallel.lower_step``.
    """
    axis_name = parallel.axis_name(devices)
    detector = detectors.create(config.model, axis_name, config.compute)
    waveform = jax.ShapeDtypeStruct((1, config.samples), np.float32)
    key = jax.eval_shape(jax.random.key, 0)
    frontend = jax.eval_shape(detector.frontend.init, key, waveform)["params"]
    state, frozen = jax.eval_shape(
        functools.partial(steps.init_state, config, detector), frontend, waveform
    )
    episode = _episode(config, attacks, examples, len(devices))
    step = steps.make_step(config, detector, axis_name=axis_name)
    return parallel.lower_step(step, devices, state, frozen, episode)


def _episode(config: Any, attacks: int, examples: int, count: int) -> dict:
    """Shapes of what ``data.loader.sampler`` makes for ``count`` devices."""

    def decisions(domains):
        label = np.zeros((domains, examples), np.int32)
        return {"label": label, "domain": label[:, 0]}

    held_out = config.episode.meta_test
    drawn = {
        "meta_train": decisions(attacks - held_out),
        "meta_test": decisions(held_out),
    }

    def shapes(half):
        waveform = (*half["label"].shape, config.samples)
        return {
            "waveform": jax.ShapeDtypeStruct(waveform, np.float32),
            **{k: jax.ShapeDtypeStruct(v.shape, v.dtype) for k, v in half.items()},
        }

    dealt = loader.lay_out(drawn, count, range(count))
    return {name: shapes(half) for name, half in dealt.items()}


def _compile(lowered: Any) -> tuple[Any, str | None]:
    """The program, or why the compiler refuses it for want of memory."""
    try:
        return lowered.compile(), None
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return None, str(error).splitlines()[0]


def _memory(analysis: Any) -> dict[str, int]:
    """Bytes a chip, from the compiler's memory analysis."""
    parts = {
        "arguments": analysis.argument_size_in_bytes,
        "outputs": analysis.output_size_in_bytes - analysis.alias_size_in_bytes,
        "temporaries": analysis.temp_size_in_bytes,
        "program": analysis.generated_code_size_in_bytes,
    }
    return parts | {"total": sum(parts.values())}


def _bound(chip: Chip, result: dict) -> dict[str, float]:
    """Roofline: seconds for the FLOPs, and for reading and writing once."""
    bound = {"compute": result["flops"] / chip.peak}
    if memory := result["memory"]:
        moved = memory["arguments"] + memory["outputs"]
        bound["memory"] = moved / chip.bandwidth
    return bound


def collectives(text: str) -> dict[str, dict[str, int]]:
    """Communication between chips in a compiled program.

    Args:
      text: the program in XLA's HLO notation.

    Returns:
      kind → ``count``, instructions of that kind, and ``bytes``, the sum of their
      results. An instruction inside a loop counts once.
    """
    kinds = (
        "all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute|"
        "collective-broadcast"
    )
    found: dict[str, dict[str, int]] = {}
    # Of an asynchronous pair only the second has the result's shape.
    for shape, kind in re.findall(rf"= (.+?) ({kinds})(?:-done)?\(", text):
        entry = found.setdefault(kind, {"count": 0, "bytes": 0})
        entry["count"] += 1
        entry["bytes"] += sum(
            map(_bytes, re.findall(r"([a-z]+\d*)\[([\d,]*)\]", shape))
        )
    return found


def _bytes(array: tuple[str, str]) -> int:
    """Of an array such as ("bf16", "8,128")."""
    dtype, shape = array
    bits = 8 if dtype == "pred" else int(re.sub(r"\D", "", dtype))
    return math.prod(map(int, shape.split(","))) * bits // 8 if shape else bits // 8


def largest_batch(
    measure: Callable[[int], int | None], first: int, unit: int, limit: float
) -> int:
    """The largest multiple of ``unit`` that fits, tried together with the next one.

    Args:
      measure: batch → bytes, or None where it does not fit.
      first: where to start; a multiple of ``unit``.
      unit: step between batches.
      limit: bytes there are; the search extrapolates to them, ``measure`` decides.

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
    """Where the last two that fit say the limit is; else halfway, or twice as much."""
    *_, low, high = (0, 0, *sorted(fits))
    guess = math.inf
    if low and fits[high] > fits[low]:
        slope = (fits[high] - fits[low]) / (high - low)
        guess = high + (limit - fits[high]) / slope
    if not high < guess < refused:
        guess = 2 * high if refused == math.inf else (high + refused) / 2
    return int(max(high + unit, guess // unit * unit))


def describe(result: dict[str, Any]) -> str:
    """The result of ``plan`` as text."""
    memory, bound = result["memory"], result["bound_seconds"]
    seconds = result["samples"] / 16_000
    lines = [
        f"{result['topology']}: {result['chips']} chips, {result['batch']} utterances "
        f"of {seconds:.2f} s a chip and step ({result['attacks']} attacks × "
        f"{result['examples']})",
        "",
    ]
    if memory:
        lines += [f"{'memory a chip':24}GiB"]
        lines += [f"  {k:18}{v / GIB:7.2f}" for k, v in memory.items()]
        lines[-1] += f" of {result['hbm'] / GIB:.2f}: it fits"
    else:
        lines += [f"it does not fit: {result['refused']}"]
    what = max(bound, key=bound.get)
    slowest = bound[what]
    utterances = result["batch"] * result["chips"] / slowest
    lines += [
        "",
        f"{result['flops'] / 1e12:.2f} TFLOP a chip and step: matrix products and "
        "convolutions, recomputation included; elementwise work is not counted",
        f"a step takes at least {1e3 * slowest:.0f} ms, at most {utterances:,.0f} "
        f"utterances/s on the slice: roofline bound by {what}, no prediction",
    ]
    lines += [
        f"{entry['count']} {kind} of {entry['bytes'] / 1e6:.1f} MB together"
        for kind, entry in result["collectives"].items()
    ]
    if "largest_batch" in result:
        best = result["largest_batch"]
        lines += [
            f"largest batch that fits: {best} utterances a chip"
            if best
            else "no batch fits, not even the smallest"
        ]
    return "\n".join(lines)
