"""The only file that knows devices.

The same step function runs under ``jit`` on one device and under ``pmap`` on several.
Under pmap every device holds a slice of *every* domain's examples: all devices work on
meta-train, then all on meta-test, and gradients are averaged over the axis ``AXIS``.
State and frozen parameters are replicated and have no device axis.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mldg_jax.errors import UserError

AXIS = "devices"


def axis_name(devices: Sequence[jax.Device]) -> str | None:
    """The axis to average over: None on one device."""
    return AXIS if len(devices) > 1 else None


def compile_step(
    step: Callable[[Any, Any, Any], tuple[Any, Any]], devices: Sequence[jax.Device]
) -> Callable[[Any, Any, Any], tuple[Any, Any]]:
    """Compiles ``step(state, frozen, episode) -> (state, metrics)``.

    Args:
      step: a pure function that averages over ``axis_name(devices)`` itself. The old
        state's buffers are donated.
      devices: one device, or several for pmap.

    Returns:
      The compiled function; its episode comes from ``shard(episode, devices)``.
    """
    if len(devices) == 1:
        return jax.jit(step, donate_argnums=0)
    return jax.pmap(
        step,
        axis_name=AXIS,
        in_axes=(None, None, 0),
        out_axes=(None, None),
        devices=list(devices),
    )


def replicate(tree: Any, devices: Sequence[jax.Device]) -> Any:
    """Puts a tree on every device once, without a device axis."""
    if len(devices) == 1:
        return jax.device_put(tree, devices[0])
    mesh = Mesh(np.array(devices), (AXIS,))
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def shard(episode: Any, devices: Sequence[jax.Device]) -> Any:
    """Lays an episode out for ``compile_step``.

    On several devices (domains, examples, …) becomes (devices, domains, examples /
    devices, …), every device with the same share of spoof and bona fide; leaves without
    an examples axis are repeated.

    Raises:
      UserError: the examples a domain cannot be divided by the devices.
    """
    count = len(devices)
    if count == 1:
        return episode

    def lay_out(x):
        if x.ndim < 2:
            return np.broadcast_to(x, (count, *x.shape))
        examples = x.shape[1]
        if examples % count:
            raise UserError(
                f"{examples} examples a domain cannot be divided by {count} devices: "
                f"set episode.examples to a multiple of {count}"
            )
        # Example i goes to device i mod count, which spreads spoof and bona fide.
        split = x.reshape(x.shape[0], examples // count, count, *x.shape[2:])
        return np.moveaxis(split, 2, 0)

    return jax.tree.map(lay_out, episode)


def one_core_per_process(core: int) -> None:
    """Binds this process, and the XLA threads it will start, to one CPU core.

    Call it before the first computation. Does nothing where the system cannot bind.
    """
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[core % len(cores)]})


def cache_compilations(folder: str | os.PathLike) -> None:
    """Keeps compiled programs in a folder, for later processes with the same step."""
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def devices(count: int) -> list[jax.Device]:
    """The first devices of the default platform.

    Raises:
      UserError: there are fewer.
    """
    found = jax.devices()
    if not 1 <= count <= len(found):
        raise UserError(
            f"{count} devices asked for; this machine shows {len(found)} "
            f"({found[0].platform}). On CPU, emulate more with "
            "XLA_FLAGS=--xla_force_host_platform_device_count=N"
        )
    return found[:count]
