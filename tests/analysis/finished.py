"""A run of a few steps on the test corpus."""

from pathlib import Path

from mldg_jax.training import loop
from mldg_jax.training.config_files import read_config_file
from tests import signals

STEPS = 4
CONFIG = str(Path(__file__).parents[2] / "configs" / "debspoof.py")


def make(workdir, *overrides, method="mldg"):
    config = read_config_file(f"{CONFIG}:{method},smoke", overrides)
    loop.train(config, workdir, signals.corpus(), progress=lambda step: None)
    return workdir
