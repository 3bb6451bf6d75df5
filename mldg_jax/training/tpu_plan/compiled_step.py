"""Compiles the training step for a TPU slice, to see whether it fits and what it costs.

The TPU compiler (libtpu) runs on any machine and compiles the step of ``mldg train``
from shapes alone. It reports memory and collectives; FLOPs are counted from the program
(``flops``), because the compiler's cost analysis counts a loop's body once.
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
from mldg_jax.training import lowered_step, parallel
from mldg_jax.training.build import build_state, build_step
from mldg_jax.training.objective_section import BY_DOMAIN
from mldg_jax.training.tpu_plan import slices
from mldg_jax.training.tpu_plan.batch_search import largest_batch
from mldg_jax.training.tpu_plan.chips import GIB, Chip, Collective, chip_of, collectives
from mldg_jax.training.tpu_plan.flops import count_flops


@dataclasses.dataclass(frozen=True)
class Memory:
    """Memory per chip in bytes, from the compiler's memory analysis."""

    arguments: int
    outputs: int
    temporaries: int
    program: int

    @property
    def total(self) -> int:
        """The sum of all parts."""
        return sum(dataclasses.astuple(self))

    def to_json(self) -> dict[str, int]:
        """Returns the parts and their ``total``."""
        return {**dataclasses.asdict(self), "total": self.total}


@dataclasses.dataclass(frozen=True)
class Program:
    """A compiled step.

    Attributes:
      memory: memory per chip; None if the compiler refused the program.
      refused: the compiler's reason for that, else None.
      flops: FLOPs per chip of a step without logging.
      flops_logged: FLOPs per chip of a step whose metrics are logged.
      collectives: communication by kind; empty if the program was refused.
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
      chips: number of chips.
      attacks: attacks per step.
      examples: utterances per attack, on all chips together.
      samples: length of an utterance, in samples.
      objective, compute: sections of the config.
      batch: utterances per chip and step.
      hbm: bytes per chip that a program may use.
      program: the compiled step.
      bound_seconds: lower bounds on the duration of a step, by resource.
      largest_batch: largest batch that fits, 0 if none does; None if not searched.
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
        """Returns the JSON object that ``mldg plan --json`` prints."""
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
      config: see ``configs/``; its weights and corpus are not read.
      topology: chip and shape of the slice, e.g. "v5e:2x4".
      batch: utterances per chip and step, all attacks together; None derives it from
        ``config.episode.examples_per_attack``.
      attacks: attacks per step; None for ``config.episode.attacks_per_episode``, or 6
        as in ASVspoof 2019 LA if that is 0 (all attacks of the corpus).
      largest: also search for the largest batch that fits; 3 to 6 more compilations.
      progress: called with a line of text before and after each compilation.

    Returns:
      The plan.

    Raises:
      UserError: an unknown slice, or a batch that cannot be divided among the chips.
    """
    chip = chip_of(topology)
    devices = slices.topology(topology)
    count = len(devices)
    domains: int = attacks or config.episode.attacks_per_episode or 6
    unit = domains * math.lcm(2, count) // count
    if not 0 < config.episode.num_meta_test < domains:
        raise UserError(
            f"episode.num_meta_test is {config.episode.num_meta_test} of {domains} "
            "attacks, and both halves need at least one: set --attacks to the corpus's "
            "number of attacks"
        )
    batch = _batch(batch, unit, config.episode.examples_per_attack * domains, count)

    @functools.cache
    def compiled(batch: int) -> Program:
        examples = batch * count // domains
        progress(
            f"compiling for {topology}, {batch} utterances per chip; takes minutes"
        )
        start = time.monotonic()
        jaxpr, lowered = lower(config, devices, attacks=domains, examples=examples)
        program, refused = _compile(lowered)
        memory = None if refused else _memory(program.memory_analysis())
        used = f"{memory.total / GIB:.2f} GiB" if memory else refused
        progress(f"  {time.monotonic() - start:.0f} s: {used}")
        return Program(
            memory,
            refused,
            # A step without logging takes the cheaper branch of the program.
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
    """Returns the utterances per chip and step; checks that ``unit`` divides them."""
    requested, source = float(batch or 0), f"--batch {batch}"
    if batch is None:
        requested, source = total / chips, f"the config's {total} utterances per step"
    if requested < 1 or requested % unit:
        below = max(0, int(requested // unit * unit))
        nearest = " or ".join(str(n) for n in (below, below + unit) if n)
        raise UserError(
            f"{source} over {chips} chips: every chip takes the same number of "
            "utterances of each attack, and half of an attack's utterances are bona "
            f"fide. Give --batch {nearest}, or another multiple of {unit}"
        )
    return int(requested)


def lower(config: Any, devices: list, *, attacks: int, examples: int) -> tuple:
    """Traces and lowers a config's training step, from shapes alone.

    Args:
      config: see ``configs/``.
      devices: devices from ``slices.topology``, or real ones.
      attacks: attacks of the episode, both halves together.
      examples: utterances per attack, on all devices together.

    Returns:
      The jaxpr and the lowered step, see ``lowered_step.lower_step``.
    """
    axis_name = parallel.axis_name(devices)
    detector = create_detector(config.model, axis_name, config.compute)
    waveform = jax.ShapeDtypeStruct((1, config.crop_samples), np.float32)
    key = jax.eval_shape(jax.random.key, 0)
    frontend = jax.eval_shape(detector.frontend.init, key, waveform)["params"]
    build = functools.partial(build_state, config, detector, num_domains=attacks)
    shapes = jax.eval_shape(build, frontend, waveform)
    step = build_step(config, detector, axis_name=axis_name, num_domains=attacks)
    shapes = (*shapes, _episode(config, attacks, examples, len(devices)))
    return lowered_step.lower_step(
        step, devices, *shapes, mapping=config.compute.mapping
    )


def _episode(config: Any, attacks: int, examples: int, count: int) -> dict:
    """Returns the shapes of an episode of ``data.loader.sampler`` on some devices."""

    def decisions(domains):
        label = np.zeros((domains, examples), np.int32)
        numbers = ["domain"] if config.objective.name in BY_DOMAIN else []
        columns = {"label": label, "seed": label.astype(np.uint32)}
        return columns | dict.fromkeys(numbers, label[:, 0])

    num_meta_test = config.episode.num_meta_test
    drawn = {
        "meta_train": decisions(attacks - num_meta_test),
        "meta_test": decisions(num_meta_test),
    }

    def shapes(half):
        waveform = (*half["label"].shape, config.crop_samples)
        return {
            "waveform": jax.ShapeDtypeStruct(waveform, np.float32),
            **{k: jax.ShapeDtypeStruct(v.shape, v.dtype) for k, v in half.items()},
        }

    sharded = loader.shard_episode(drawn, count, range(count))
    return {name: shapes(half) for name, half in sharded.items()}


def _compile(lowered: Any) -> tuple[Any, str | None]:
    """Returns the program, or None and the reason if it needs too much memory."""
    try:
        return lowered.compile(), None
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return None, str(error).splitlines()[0]


def _memory(analysis: Any) -> Memory:
    return Memory(
        arguments=analysis.argument_size_in_bytes,
        # Outputs written to the memory of donated arguments take no extra space.
        outputs=analysis.output_size_in_bytes - analysis.alias_size_in_bytes,
        temporaries=analysis.temp_size_in_bytes,
        program=analysis.generated_code_size_in_bytes,
    )


def _bound(chip: Chip, program: Program) -> dict[str, float]:
    """Returns roofline bounds: seconds for the FLOPs, and for one pass over memory."""
    bound = {"compute": program.flops / chip.peak}
    if memory := program.memory:
        bound["memory"] = (memory.arguments + memory.outputs) / chip.bandwidth
    return bound
