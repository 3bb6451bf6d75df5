"""Devices and processes; no other module of the package deals with them.

The same step function runs under ``jit`` on one device and under ``pmap`` on several,
or under ``jit`` and ``shard_map`` with the same result, in one process or in many.
Every device holds a slice of *every* domain's examples, and gradients are averaged over
the axis ``AXIS``. State and frozen parameters are replicated and have no device axis.
Every process draws the same episode and loads its own devices' utterances.
"""

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mldg_jax.common.errors import UserError

AXIS = "devices"
HEARTBEAT_TIMEOUT = 60  # seconds until a silent process is considered dead

Step = Callable[[Any, Any, Any], tuple[Any, Any]]
Mapping = Literal["pmap", "shard_map"]


def axis_name(devices: Sequence[jax.Device]) -> str | None:
    """Returns the name of the axis to average gradients over.

    Args:
      devices: devices of the run, of all processes.

    Returns:
      ``AXIS``; None on one device.
    """
    return AXIS if len(devices) > 1 else None


def map_step(
    step: Step, devices: Sequence[jax.Device], mapping: Mapping = "pmap"
) -> Any:
    """Wraps a step for its devices, to be called or lowered.

    Args:
      step: pure function ``(state, frozen, episode) -> (state, metrics)`` that averages
        over ``axis_name(devices)`` itself. The old state's buffers are donated.
      devices: one device, for ``jit``, or several: of all processes, in one order in
        all.
      mapping: how it runs on several devices.

    Returns:
      The wrapped step. On several devices it takes episodes with a device axis.
    """
    if len(devices) == 1:
        return jax.jit(step, donate_argnums=0)
    if mapping == "pmap":
        return jax.pmap(
            step,
            axis_name=AXIS,
            in_axes=(None, None, 0),
            out_axes=(None, None),
            devices=list(devices),
            donate_argnums=0,
        )

    def shard(state, frozen, episode):
        return step(state, frozen, jax.tree.map(lambda x: x[0], episode))

    everywhere, split = PartitionSpec(), PartitionSpec(AXIS)
    mapped = jax.shard_map(
        shard,
        mesh=_mesh(devices),
        in_specs=(everywhere, everywhere, split),
        out_specs=(everywhere, everywhere),
        # With this check, the gradient with respect to a replicated input is summed
        # over the devices at once, and the step's own mean would come too late.
        check_vma=False,
    )
    return jax.jit(mapped, donate_argnums=0)


def compile_step(
    step: Step, devices: Sequence[jax.Device], mapping: Mapping = "pmap"
) -> Step:
    """Wraps a step for training: ``feed(map_step(…), …)``.

    Args:
      step, devices, mapping: see ``map_step``.

    Returns:
      The step; it takes an episode of the shards of ``local_shard(devices)``.
    """
    return feed(map_step(step, devices, mapping), devices, mapping)


def feed(mapped: Any, devices: Sequence[jax.Device], mapping: Mapping = "pmap") -> Step:
    """Makes a mapped step take the episodes of ``data.loader``.

    Args:
      mapped: from ``map_step``, also compiled.
      devices, mapping: see ``map_step``.

    Returns:
      The step, as ``compile_step`` returns it.
    """
    # With more emulated devices than cores, queued collectives would time out.
    wait = len(devices) > 1 and devices[0].platform == "cpu"
    place = len(devices) > 1 and mapping == "shard_map"
    if not (wait or place):
        return mapped
    shards = NamedSharding(_mesh(devices), PartitionSpec(AXIS))
    put = functools.partial(jax.make_array_from_process_local_data, shards)

    def fed(state, frozen, episode):
        episode = jax.tree.map(put, episode) if place else episode
        result = mapped(state, frozen, episode)
        return jax.block_until_ready(result) if wait else result

    return fed


def _mesh(devices: Sequence[jax.Device]) -> Mesh:
    return Mesh(np.array(devices), (AXIS,))


def replicate(tree: Any, devices: Sequence[jax.Device]) -> Any:
    """Copies a tree to every device, without a device axis.

    Args:
      tree: a pytree of arrays, the same in every process.
      devices: devices of the run, of all processes.

    Returns:
      The tree on the devices, once on each.
    """
    if len(devices) == 1:
        return jax.device_put(tree, devices[0])
    everywhere = NamedSharding(_mesh(devices), PartitionSpec())

    def put(x):
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):  # numpy has no such dtype
            return jax.random.wrap_key_data(put(jax.random.key_data(x)))
        x = np.asarray(x)
        return jax.make_array_from_callback(x.shape, everywhere, lambda index: x[index])

    return jax.tree.map(put, tree)


def local_shard(devices: Sequence[jax.Device]) -> tuple[int, list[int]]:
    """Finds this process's share of the devices, for ``data.loader.shard_episode``.

    Args:
      devices: devices of the run, of all processes.

    Returns:
      The number of devices, and the positions of this process's own among them.
    """
    process = jax.process_index()
    own = [i for i, device in enumerate(devices) if device.process_index == process]
    return len(devices), own


def connect(coordinator: str, processes: int | None, process: int | None) -> None:
    """Connects this process to the others of a run; call it before any other JAX call.

    Args:
      coordinator: ``HOST:PORT`` of process 0, or "auto" on TPU slices, SLURM, etc.
      processes: number of processes; None with "auto".
      process: number of this process, from 0; None with "auto".

    Raises:
      UserError: the processes cannot connect, or the arguments do not fit together.
    """
    if coordinator == "auto":
        arguments = {}
    elif processes is None or process is None or not 0 <= process < processes:
        raise UserError(
            f"process {process} of {processes} at {coordinator}: --coordinator "
            "HOST:PORT requires --processes N and --process I, with I from 0 to N − 1"
        )
    else:
        arguments = {
            "coordinator_address": coordinator,
            "num_processes": processes,
            "process_id": process,
        }
    try:
        jax.distributed.initialize(
            **arguments, heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT
        )
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"cannot connect to the other processes at {coordinator}: {reason}. Check "
            "the address, and that all processes were started"
        ) from None


def local(tree: Any) -> Any:
    """Returns this process's first copy of a replicated tree.

    Args:
      tree: a tree from ``replicate`` or the step.

    Returns:
      The tree on one device; shares memory with the argument.
    """
    return jax.tree.map(lambda x: x.addressable_data(0), tree)


def is_multiprocess() -> bool:
    """Returns True if the run has several processes."""
    return jax.process_count() > 1


def broadcast_from_primary(values: np.ndarray) -> np.ndarray:
    """Sends the values of process 0 to all, so that rounding cannot part their ways.

    Args:
      values: (n,) array, of the same shape and dtype in every process.

    Returns:
      The values of process 0, bit for bit.
    """
    if not is_multiprocess():
        return values
    # As bytes, because JAX would round float64 to float32.
    received = multihost_utils.broadcast_one_to_all(values.view(np.uint8))
    return np.asarray(received).view(values.dtype)


def should_stop(step: int, asked: bool) -> bool:
    """Decides whether all processes stop after this step; call it after every step.

    Args:
      step: number of the step.
      asked: whether this process was asked to stop. Ignored with several processes:
        JAX notices a SIGTERM in any of them and agrees on a step that none has passed.

    Returns:
      The same answer in every process.
    """
    if is_multiprocess():
        return multihost_utils.reached_preemption_sync_point(step)
    return asked


def is_primary() -> bool:
    """Returns True in the process that writes files, process 0."""
    return jax.process_index() == 0


def one_core_per_process(core: int) -> None:
    """Binds this process, and the XLA threads it will start, to one CPU core.

    Call it before the first computation. Does nothing on systems without CPU affinity.

    Args:
      core: number of the core, modulo the cores available to this process.
    """
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[core % len(cores)]})


def cache_compilations(folder: str | os.PathLike) -> None:
    """Caches compiled programs in a folder, for later processes with the same step.

    Args:
      folder: processes may share it; JAX_COMPILATION_CACHE_DIR comes before it.
    """
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def only_cpu() -> bool:
    """Returns True if JAX finds no accelerator."""
    return jax.default_backend() == "cpu"


def devices(count: int | None = None) -> list[jax.Device]:
    """Returns the first devices of the default platform, of all processes.

    Args:
      count: number of devices; None for all.

    Returns:
      The devices.

    Raises:
      UserError: there are fewer devices.
    """
    available = jax.devices()
    count = len(available) if count is None else count
    if not 1 <= count <= len(available):
        raise UserError(
            f"{count} devices asked for; JAX finds {len(available)} "
            f"({available[0].platform}). On CPU, emulate more with "
            "XLA_FLAGS=--xla_force_host_platform_device_count=N"
        )
    return available[:count]
