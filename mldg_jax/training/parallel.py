"""The only file that knows devices and processes.

The same step function runs under ``jit`` on one device and under ``pmap`` on several,
in one process or in many. Under pmap every device holds a slice of *every* domain's
examples: all devices work on meta-train, then all on meta-test, and gradients are
averaged over the axis ``AXIS``. State and frozen parameters are replicated and have no
device axis. Every process draws the same episode and cuts only the utterances of its
own devices out of the corpus.
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
HEARTBEAT_TIMEOUT = 60  # seconds until the others of a run give a dead process up

Step = Callable[[Any, Any, Any], tuple[Any, Any]]


def axis_name(devices: Sequence[jax.Device]) -> str | None:
    """The axis to average over: None on one device."""
    return AXIS if len(devices) > 1 else None


def map_step(step: Step, devices: Sequence[jax.Device]) -> Any:
    """The step under ``jit`` or ``pmap``, to be called or lowered.

    Args:
      step: a pure function ``(state, frozen, episode) -> (state, metrics)`` that
        averages over ``axis_name(devices)`` itself. The old state's buffers are
        donated.
      devices: one device, or several for pmap; of all processes, in the same order in
        each.
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
    """``map_step`` for training; its episode is laid out as ``local_shard`` says."""
    mapped = map_step(step, devices)
    if len(devices) == 1 or devices[0].platform != "cpu":
        return mapped

    # More emulated devices than cores: collectives that queue up time out.
    def one_at_a_time(*arguments):
        return jax.block_until_ready(mapped(*arguments))

    return one_at_a_time


def replicate(tree: Any, devices: Sequence[jax.Device]) -> Any:
    """Puts a tree on every device once, without a device axis.

    In several processes each passes the same values.
    """
    if len(devices) == 1:
        return jax.device_put(tree, devices[0])
    everywhere = NamedSharding(Mesh(np.array(devices), (AXIS,)), PartitionSpec())

    def put(x):
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(put(jax.random.key_data(x)))
        x = np.asarray(x)
        return jax.make_array_from_callback(x.shape, everywhere, lambda index: x[index])

    return jax.tree.map(put, tree)


def local_shard(devices: Sequence[jax.Device]) -> tuple[int, list[int]]:
    """How many devices there are, and the numbers of this process's own.

    What ``data.loader.shard_episode`` needs to lay an episode out for ``compile_step``.
    """
    process = jax.process_index()
    own = [i for i, device in enumerate(devices) if device.process_index == process]
    return len(devices), own


def connect(coordinator: str, processes: int | None, process: int | None) -> None:
    """Joins this process to the others of a run; call it before anything else of JAX.

    Args:
      coordinator: ``HOST:PORT`` of process 0, or "auto" on TPU slices, SLURM and the
        other clusters that JAX recognises.
      processes: how many there are; None with "auto".
      process: this one's number; None with "auto".

    Raises:
      UserError: they cannot find each other, or the arguments do not fit together.
    """
    if coordinator == "auto":
        arguments = {}
    elif processes is None or process is None or not 0 <= process < processes:
        raise UserError(
            f"process {process} of {processes} at {coordinator}: with --coordinator "
            "HOST:PORT give --processes N and --process 0 … N − 1"
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
            f"cannot join the processes at {coordinator}: {reason}"
        ) from None


def local(tree: Any) -> Any:
    """This process's first copy of what ``replicate`` put everywhere; no new one."""
    return jax.tree.map(lambda x: x.addressable_data(0), tree)


def is_multiprocess() -> bool:
    """Whether this run has other processes."""
    return jax.process_count() > 1


def broadcast_from_primary(values: np.ndarray) -> np.ndarray:
    """What process 0 found, in every process: rounding must not part their ways."""
    if not is_multiprocess():
        return values
    # as bytes, or float64 would lose half of its digits
    found = multihost_utils.broadcast_one_to_all(values.view(np.uint8))
    return np.asarray(found).view(values.dtype)


def should_stop(step: int, asked: bool) -> bool:
    """Whether all processes stop after this step; to be asked after every step.

    Args:
      step: its number.
      asked: whether this process was asked to. In several it does not matter: JAX
        notices a SIGTERM in any of them and agrees on a step that none has passed.
    """
    if is_multiprocess():
        return multihost_utils.reached_preemption_sync_point(step)
    return asked


def is_primary() -> bool:
    """Whether this process is the one that writes files."""
    return jax.process_index() == 0


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


def only_cpu() -> bool:
    """Whether JAX sees no accelerator."""
    return jax.default_backend() == "cpu"


def devices(count: int | None = None) -> list[jax.Device]:
    """The first devices of the default platform, of all processes; all if None.

    Raises:
      UserError: there are fewer.
    """
    found = jax.devices()
    count = len(found) if count is None else count
    if not 1 <= count <= len(found):
        raise UserError(
            f"{count} devices asked for; this machine shows {len(found)} "
            f"({found[0].platform}). On CPU, emulate more with "
            "XLA_FLAGS=--xla_force_host_platform_device_count=N"
        )
    return found[:count]


def topology(name: str) -> list[jax.Device]:
    """The chips of a TPU slice that is not there.

    Programs compile for them (``lower_step``); nothing runs on them.

    Args:
      name: the chip and the shape of the slice, such as "v5e:2x4".

    Raises:
      UserError: the compiler (libtpu) is not installed or does not know the slice.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise UserError(
            "the TPU's compiler is not installed: pip install 'mldg_jax[tpu-plan]' (on "
            "a TPU machine 'mldg_jax[tpu]', which brings the machine's own)"
        )
    # libtpu reads these when it is loaded. Without them it looks for the TPU that it is
    # on, and keeps another process from loading it.
    for variable, value in {
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_ACCELERATOR_TYPE": "v5litepod-8",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    }.items():
        os.environ.setdefault(variable, value)
    # The two cores of a v4 chip work as one device, as they do on a real slice.
    options = {"chip_config_name": "megacore"} if name.startswith("v4:") else {}
    try:
        found = topologies.get_topology_desc(name, platform="tpu", **options)
    except jax.errors.JaxRuntimeError as error:
        raise UserError(
            f"topology {name!r}: {str(error).splitlines()[0]}; these are known: "
            f"{chips.EXAMPLES}"
        ) from None
    return list(found.devices)


def lower_step(
    step: Step, devices: Sequence[jax.Device], *shapes: Any
) -> tuple[Any, jax.stages.Lowered]:
    """Traces ``map_step(step, devices)`` without running it.

    Args:
      step: see ``map_step``.
      devices: also those of a ``topology``.
      *shapes: ``jax.ShapeDtypeStruct`` of the state, the frozen parameters and the
        episode, laid out for all devices.

    Returns:
      Its jaxpr, and what ``compile()`` of makes the program.
    """
    mapped = map_step(step, devices)
    if len(devices) == 1:  # pmap knows its devices, jit goes where its arguments are
        place = SingleDeviceSharding(devices[0])
        shapes = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), shapes
        )
    return jax.make_jaxpr(mapped)(*shapes), mapped.lower(*shapes)
