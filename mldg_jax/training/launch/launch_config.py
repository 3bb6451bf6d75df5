"""Checks the config of a launch with the reader that ``mldg train`` uses."""

from mldg_jax.common.errors import UserError
from mldg_jax.training.config_files import read_config_file
from mldg_jax.training.launch.manifests import Launch


def check(launch: Launch) -> None:
    """Checks that the run could start on the machines of a launch.

    Args:
      launch: the run; its config file is read from the current folder.

    Raises:
      UserError: there is no such config, method or ``--set`` name, or the devices
        cannot share an episode evenly.
    """
    config = read_config_file(launch.config, launch.overrides)
    examples, devices = config.episode.examples_per_attack, launch.devices
    # Half of the examples are bona fide, so that the number is even in any case.
    unit = devices if devices % 2 == 0 else 2 * devices
    if examples % devices:
        raise UserError(
            f"{examples} examples per attack cannot be divided among the {devices} "
            f"devices of this launch: give --set episode.examples_per_attack={unit}, "
            "or another multiple of it, or fewer devices"
        )
