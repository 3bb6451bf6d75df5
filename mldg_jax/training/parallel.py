"""Devices and processes; no other module of the package deals with them.

The same step function runs under ``jit`` on one device and under ``pmap`` on several,
in one process or in many. Under pmap every device holds a slice of *every* domain's
examples, and gradients are averaged over the axis ``AXIS``. State and frozen parameters
are replicated and have no device axis. Every process draws the same episode and loads
its own devices' utterances.
"""

import importlib.util
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils, topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

from mldg_jax.common.errors import UserError
from mldg_jax.training.tpu_plan import chips

AXIS = "devices"
HEARTBEAT_TIMEOUT = 60  # seconds until a silent process is considered dead

Step = Callable[[Any, Any, Any], tuple[Any, Any]]


def axis_name(devices: Sequence[jax.Device]) -> str | None:
    """Returns the name of the axis to average gradients over.

    Args:
      devices: devices of the run, of all processes.

    Returns:
      ``AXIS``; None on one device.
    """
    return AXIS if len(devices) > 1 else None


def map_step(step: Step, devices: Sequence[jax.Device]) -> Any:
    """Wraps a step in ``jit`` or ``pmap``, to be called or lowered.

    Args:
      step: pure function ``(state, frozen, episode) -> (state, metrics)`` that averages
        over ``axis_name(devices)`` itself. The old state's buffers are donated.
      devices: one device, or several for pmap: of all processes, in one order in all.

    Returns:
      The wrapped step.
    """
    if len(devices) == 1:
        return jax.jit(step, donate_argnums=0)
    return jax.pmap(
        step,
        axis_name=AXIS,
        in_axes=(None, None, 0),
        out_axes=(None, None),
        devices=list(devices),
        donate_argnums=0,
    )


def compile_step(step: Step, devices: Sequence[jax.Device]) -> Step:
    """Wraps a step for training, see ``map_step``.

    Args:
      step, devices: see ``map_step``.

    Returns:
      The step; it takes an episode of the shards of ``local_shard(devices)``.
    """
    mapped = map_step(step, devices)
    if len(devices) == 1 or devices[0].platform != "cpu":
        return mapped

    # With more emulated devices than cores, queued collectives would time out.
    def blocking_step(*arguments):
        return jax.block_until_ready(mapped(*arguments))

    return blocking_step


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
    everywhere = NamedSharding(Mesh(np.array(devices), (AXIS,)), PartitionSpec())

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


def topology(name: str, slices: int = 1) -> list[jax.Device]:
    """Describes the chips of TPU slices, on a machine without them.

    Args:
      name: chip and shape of a slice, e.g. "v5e:2x4".
      slices: number of slices, connected by the data centre's network.

    Returns:
      Devices to compile for (``lower_step``); programs cannot run on them.

    Raises:
      UserError: the compiler (libtpu) is not installed or does not know the slice.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise UserError(
            "the TPU compiler is not installed: pip install 'mldg_jax[tpu-plan]' (on a "
            "TPU machine: 'mldg_jax[tpu]')"
        )
    # Without these libtpu looks for a TPU here, and locks other processes out.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-8")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    options: dict[str, Any] = {"num_slices": slices} if slices > 1 else {}
    if name.startswith("v4:"):  # its two cores work as one device on real slices
        options["chip_config_name"] = "megacore"
    try:
        description = topologies.get_topology_desc(name, platform="tpu", **options)
    except jax.errors.JaxRuntimeError as error:
        raise UserError(
            f"topology {name!r}: {str(error).splitlines()[0]}; try {chips.EXAMPLES}"
        ) from None
    return list(description.devices)


def lower_step(
    step: Step, devices: Sequence[jax.Device], *shapes: Any
) -> tuple[Any, jax.stages.Lowered]:
    """Traces and lowers ``map_step(step, devices)`` without running it.

    Args:
      step: see ``map_step``.
      devices: real devices, or those of ``topology``.
      *shapes: ``jax.ShapeDtypeStruct`` trees of the state, the frozen parameters and
        the episode, sharded over all devices.

    Returns:
      The jaxpr, and the lowered step, whose ``compile()`` returns the program.
    """
    mapped = map_step(step, devices)
    if len(devices) == 1:  # pmap is given its devices; jit follows its arguments
        sharding = SingleDeviceSharding(devices[0])
        shapes = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), shapes
        )
    return jax.make_jaxpr(mapped)(*shapes), mapped.lower(*shapes)
