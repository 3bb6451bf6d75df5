"""Lowers a training step for devices, without running it."""

from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import SingleDeviceSharding

from mldg_jax.training.parallel import Mapping, Step, map_step


def lower_step(
    step: Step,
    devices: Sequence[jax.Device],
    *shapes: Any,
    mapping: Mapping = "pmap",
) -> tuple[Any, jax.stages.Lowered]:
    """Traces and lowers a step of ``map_step`` without running it.

    Args:
      step: see ``parallel.map_step``.
      devices: real devices, or those of ``tpu_plan.slices.topology``.
      *shapes: ``jax.ShapeDtypeStruct`` trees of the state, the frozen parameters and
        the episode, sharded over all devices.
      mapping: see ``parallel.map_step``.

    Returns:
      The jaxpr, and the lowered step, whose ``compile()`` returns the program.
    """
    mapped = map_step(step, devices, mapping)
    if len(devices) == 1:  # pmap is given its devices; jit follows its arguments
        sharding = SingleDeviceSharding(devices[0])
        shapes = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), shapes
        )
    return jax.make_jaxpr(mapped)(*shapes), mapped.lower(*shapes)
