"""Will the training step fit a TPU slice that is not there, and what does it cost?

The TPU's own compiler (libtpu) runs on any machine. It compiles the very step that
``mldg train`` runs, for the chips of a slice, from shapes alone: no weights, no
data, no accelerator. From the compiler come the memory and the collectives; FLOPs are
counted from the program (``flops``), because the compiler's cost analysis counts a
loop's body once.
"""

import dataclasses
import functools
import math
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from mldg_jax.common.errors import UserError
from mldg_jax.data import loader
from mldg_jax.models.detector import create_detector
from mldg_jax.training import parallel
from mldg_jax.training.build import build_state, build_step
from mldg_jax.training.tpu_plan.chips import (
    GIB,
    Chip,
    Collective,
    chip_of,
    collectives,
)
from mldg_jax.training.tpu_plan.flops import count_flops


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes a chip, from the compiler's memory analysis."""

    arguments: int
    outputs: int
    temporaries: int
    program: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(dataclasses.astuple(self))

    def to_json(self) -> dict[str, int]:
        """Returns the parts and their ``total``."""
        return {**dataclasses.asdict(self), "total": self.total}


@dataclasses.dataclass(frozen=True)
class Program:
    """What the compiler makes of a step.

    Attributes:
      memory: None if the compiler refuses the program.
      refused: the reason then.
      flops: a chip and step, where nothing is logged.
      flops_logged: where it is.
      collectives: by their kind; none if the program is refused.
    """

    memory: Memory | None
    refused: str | None
    flops: int
    flops_logged: int
    collectives: dict[str, Collective]


@dataclasses.dataclass(frozen=True)
class StepPlan:
    """A training step on a TPU slice.

    Attributes:
      topology: chip and shape of the slice.
      chips: of the slice.
      attacks, examples: of a step; utterances of each attack.
      samples: of an utterance.
      objective, compute: the config's sections.
      batch: utterances a chip and step.
      hbm: bytes a chip that a program may use.
      program: the compiled step.
      bound_seconds: no less than which the step takes, by what bounds it.
      largest_batch: that fits, 0 if none does; None if it was not searched for.
    """

    topology: str
    chips: int
    attacks: int
    examples: int
    samples: int
    objective: dict[str, Any]
    compute: dict[str, Any]
    batch: int
    hbm: float
    program: Program
    bound_seconds: dict[str, float]
    largest_batch: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns what ``mldg plan --json`` prints, the program's values among it."""
        content = dataclasses.asdict(self)
        content |= content.pop("program")
        if self.program.memory is not None:
            content["memory"] = self.program.memory.to_json()
        if self.largest_batch is None:
            del content["largest_batch"]
        return content


def plan(
    config: Any,
    topology: str,
    *,
    batch: int | None = None,
    attacks: int | None = None,
    largest: bool = False,
    progress: Callable[[str], Any] = lambda text: None,
) -> StepPlan:
    """Compiles a config's training step for a TPU slice.

    Args:
      config: see ``configs/``; its weights and corpus are not looked at.
      topology: chip and shape of the slice, such as "v5e:2x4".
      batch: utterances a chip and step, both halves and all attacks together; by
        default what ``config.episode.examples_per_attack`` comes to.
      attacks: of a step; by default ``config.episode.attacks_per_episode``, or where
        that is 0 (all of the corpus) the 6 of ASVspoof 2019 LA.
      largest: whether to search for the largest batch that fits, too: three to six
        compilations more.
      progress: called with a line of text before and after what takes minutes.

    Raises:
      UserError: an unknown slice or an impossible batch.
    """
    chip = chip_of(topology)
    devices = parallel.topology(topology)
    count = len(devices)
    domains: int = attacks or config.episode.attacks_per_episode or 6
    unit = domains * math.lcm(2, count) // count
    if not 0 < config.episode.num_meta_test < domains:
        raise UserError(
            f"episode.num_meta_test is {config.episode.num_meta_test} of {domains} "
            "attacks; both halves need one: set --attacks to what the corpus has"
        )
    batch = _batch(batch, unit, config.episode.examples_per_attack * domains, count)

    @functools.cache
    def compiled(batch: int) -> Program:
        examples = batch * count // domains
        progress(f"compiling for {topology}, {batch} utterances a chip; takes minutes")
        start = time.monotonic()
        jaxpr, lowered = lower(config, devices, attacks=domains, examples=examples)
        program, refused = _compile(lowered)
        memory = None if refused else _memory(program.memory_analysis())
        used = f"{memory.total / GIB:.2f} GiB" if memory else refused
        progress(f"  {time.monotonic() - start:.0f} s: {used}")
        return Program(
            memory,
            refused,
            # What a step pays that is not logged: that is the cheaper branch.
            count_flops(jaxpr, "tpu", branch=min),
            count_flops(jaxpr, "tpu"),
            {} if refused else collectives(program.as_text()),
        )

    def measure(batch: int) -> int | None:
        memory = compiled(batch).memory
        return memory and memory.total

    return StepPlan(
        topology=topology,
        chips=count,
        attacks=domains,
        examples=batch * count // domains,
        samples=config.crop_samples,
        objective={"name": config.objective.name, **config.objective.options()},
        compute=dataclasses.asdict(config.compute),
        batch=batch,
        hbm=chip.hbm,
        program=compiled(batch),
        bound_seconds=_bound(chip, compiled(batch)),
        largest_batch=largest_batch(measure, batch, unit, chip.hbm)
        if largest
        else None,
    )


def _batch(batch: int | None, unit: int, total: int, chips: int) -> int:
    """The utterances a chip and step, checked: a multiple of ``unit``."""
    wanted: float = total / chips if batch is None else batch
    source = f"--batch {batch}"
    if batch is None:
        source = f"the config's {total} utterances a step"
    if wanted < 1 or wanted % unit:
        below = max(0, int(wanted // unit * unit))
        near = " or ".join(str(n) for n in (below, below + unit) if n)
        raise UserError(
            f"{source} over {chips} chips: every chip takes as many utterances of each "
            "attack, and of each attack's half are bona fide. Give --batch "
            f"{near}, or another multiple of {unit}"
        )
    return int(wanted)


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
    detector = create_detector(config.model, axis_name, config.compute)
    waveform = jax.ShapeDtypeStruct((1, config.crop_samples), np.float32)
    key = jax.eval_shape(jax.random.key, 0)
    frontend = jax.eval_shape(detector.frontend.init, key, waveform)["params"]
    state, frozen = jax.eval_shape(
        functools.partial(build_state, config, detector), frontend, waveform
    )
    episode = _episode(config, attacks, examples, len(devices))
    step = build_step(config, detector, axis_name=axis_name)
    return parallel.lower_step(step, devices, state, frozen, episode)


def _episode(config: Any, attacks: int, examples: int, count: int) -> dict:
    """Shapes of what ``data.loader.sampler`` makes for ``count`` devices."""

    def decisions(domains):
        label = np.zeros((domains, examples), np.int32)
        return {"label": label, "seed": label.astype(np.uint32)}

    held_out = config.episode.num_meta_test
    drawn = {
        "meta_train": decisions(attacks - held_out),
        "meta_test": decisions(held_out),
    }

    def shapes(half):
        waveform = (*half["label"].shape, config.crop_samples)
        return {
            "waveform": jax.ShapeDtypeStruct(waveform, np.float32),
            **{k: jax.ShapeDtypeStruct(v.shape, v.dtype) for k, v in half.items()},
        }

    dealt = loader.shard_episode(drawn, count, range(count))
    return {name: shapes(half) for name, half in dealt.items()}


def _compile(lowered: Any) -> tuple[Any, str | None]:
    """The program, or why the compiler refuses it for want of memory."""
    try:
        return lowered.compile(), None
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return None, str(error).splitlines()[0]


def _memory(analysis: Any) -> Memory:
    return Memory(
        arguments=analysis.argument_size_in_bytes,
        outputs=analysis.output_size_in_bytes - analysis.alias_size_in_bytes,
        temporaries=analysis.temp_size_in_bytes,
        program=analysis.generated_code_size_in_bytes,
    )


def _bound(chip: Chip, program: Program) -> dict[str, float]:
    """Roofline: seconds for the FLOPs, and for reading and writing once."""
    bound = {"compute": program.flops / chip.peak}
    if memory := program.memory:
        bound["memory"] = (memory.arguments + memory.outputs) / chip.bandwidth
    return bound


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
