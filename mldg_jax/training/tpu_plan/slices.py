"""TPU slices to compile for on a machine without them."""

import importlib.util
import os

import jax
from jax.experimental import topologies

from mldg_jax.common.errors import UserError
from mldg_jax.training.tpu_plan import chips


def topology(name: str) -> list[jax.Device]:
    """Describes the chips of a TPU slice, on a machine without one.

    Args:
      name: chip and shape of the slice, e.g. "v5e:2x4".

    Returns:
      Devices to compile for (``lowered_step.lower_step``); programs cannot run on them.

    Raises:
      UserError: the compiler (libtpu) is not installed or does not know the slice.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise UserError(
            "the TPU compiler is not installed: pip install 'mldg_jax[tpu-plan]' (on a "
            "TPU machine: 'mldg_jax[tpu]')"
        )
    # Without these libtpu looks for a TPU here, and locks other processes out.
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
        description = topologies.get_topology_desc(name, platform="tpu", **options)
    except jax.errors.JaxRuntimeError as error:
        raise UserError(
            f"topology {name!r}: {str(error).splitlines()[0]}; try {chips.EXAMPLES}"
        ) from None
    return list(description.devices)
