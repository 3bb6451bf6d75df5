"""The ``augment`` section of a config: the same for bona fide and spoof.

``host`` has what happens while a crop is cut, ``device`` what happens inside the
training step.
"""

import dataclasses

from mldg_jax.common.config import AugmentSection
from mldg_jax.data.augment.device import DeviceAugment, device_augmenter
from mldg_jax.data.augment.host import augmenter
from mldg_jax.data.episodes import Augment


def from_config(section: AugmentSection) -> tuple[Augment, DeviceAugment | None]:
    """Builds both augmenters of a config's ``augment`` section.

    Raises:
      UserError: an impossible value.
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
    """Returns the options of a config's ``augment`` section that are not neutral."""
    return [name for name, value in dataclasses.asdict(section).items() if value]
