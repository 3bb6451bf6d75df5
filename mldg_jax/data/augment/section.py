"""The ``augment`` section of a config; it applies to bona fide and spoof alike.

``host`` augments during cropping, ``device`` inside the training step.
"""

import dataclasses

from mldg_jax.common.config import AugmentSection
from mldg_jax.data.augment.device import DeviceAugment, device_augmenter
from mldg_jax.data.augment.host import augmenter
from mldg_jax.data.episodes import Augment


def from_config(section: AugmentSection) -> tuple[Augment, DeviceAugment | None]:
    """Builds the augmenters that a config asks for.

    Args:
      section: the ``augment`` section of the config.

    Returns:
      The augmenter for the host, and the one for the device, None if it has nothing
      to do.

    Raises:
      UserError: an option has an invalid value, or a codec is not available.
    """
    return (
        augmenter(
            speed=section.speed, equaliser=section.equaliser, codec=section.codec
        ),
        device_augmenter(
            rawboost=section.rawboost, noise_snr=section.noise_snr, gain=section.gain
        ),
    )


def switched_on(section: AugmentSection) -> list[str]:
    """Returns the names of the options that are switched on.

    Args:
      section: the ``augment`` section of a config.

    Returns:
      Names of the options whose values are neither 0 nor empty, in their order.
    """
    return [name for name, value in dataclasses.asdict(section).items() if value]
