"""TPU slices to compile for on a machine without them."""

import importlib.util
import os
from typing import Any

import jax
from jax.experimental import topologies

from mldg_jax.common.errors import UserError
from mldg_jax.training.tpu_plan import chips


def topology(name: str, slices: int = 1) -> list[jax.Device]:
    """Describes the chips of TPU slices, on a machine without them.

    Args:
      name: chip and shape of a slice, e.g. "v5e:2x4".
      slices: number of slices, connected by the data centre's network.

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
