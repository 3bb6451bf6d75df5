"""The ``augment`` section of a config: the same for bona fide and spoof.

``host`` has what happens while a crop is cut, ``device`` what happens inside the
training step.
"""

from collections.abc import Mapping
from typing import Any

from mldg_jax.common.errors import UserError
from mldg_jax.data.augment.device import DeviceAugment, device_augmenter
from mldg_jax.data.augment.host import augmenter
from mldg_jax.data.episodes import Augment

_HOST = ("speed", "equaliser", "codec")
_DEVICE = ("rawboost", "noise_snr", "gain")


def from_config(section: Mapping[str, Any]) -> tuple[Augment, DeviceAugment | None]:
    """Builds both augmenters of a config's ``augment`` section.

    Raises:
      UserError: an unknown name or an impossible value.
    """
    unknown = sorted(set(section) - {*_HOST, *_DEVICE})
    if unknown:
        raise UserError(
            f"augment.{unknown[0]} is not known; there are {', '.join(_HOST + _DEVICE)}"
        )
    host = {name: section[name] for name in _HOST if name in section}
    device = {name: section[name] for name in _DEVICE if name in section}
    return augmenter(**host), device_augmenter(**device)


def switched_on(section: Mapping[str, Any]) -> list[str]:
    """The options of a config's ``augment`` section that are not neutral."""
    return [name for name, value in section.items() if value]
