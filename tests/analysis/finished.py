"""A run of a few steps on the test corpus."""

from pathlib import Path

from mldg_jax import configs, training
from tests import signals

STEPS = 4
CONFIG = str(Path(__file__).parents[2] / "configs" / "debspoof.py")


def make(workdir, *overrides, arm="mldg"):
    config = configs.read(f"{CONFIG}:{arm},smoke", overrides)
    training.train(config, workdir, signals.corpus(), progress=lambda step: None)
    return workdir
