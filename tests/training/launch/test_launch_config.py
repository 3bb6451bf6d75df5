"""The config of a launch, read where it is printed."""

import pytest

from mldg_jax.common.errors import UserError
from mldg_jax.training.launch import launch_config
from mldg_jax.training.launch.accelerators import parse
from mldg_jax.training.launch.manifests import Launch


def launch(accelerator, *, slices=1, nodes=1, examples=4):
    chip = parse(accelerator, slices=slices)
    overrides = (f"episode.examples_per_attack={examples}",)
    return Launch(chip, "xlsr:mldg", "", "", overrides, nodes, slices)


@pytest.mark.parametrize(
    ("accelerator", "options", "devices"),
    [
        ("v5e:4x4", {"slices": 2}, 32),
        ("v5e:2x4", {"slices": 2}, 16),
        ("h100:8", {"nodes": 3}, 24),
        ("cpu", {"nodes": 5}, 5),
    ],
)
def test_every_device_gets_as_many_examples(accelerator, options, devices):
    message = f"cannot be divided among the {devices} devices"
    launch_config.check(launch(accelerator, examples=2 * devices, **options))
    with pytest.raises(UserError, match=message):
        launch_config.check(launch(accelerator, examples=2 * devices + 2, **options))
