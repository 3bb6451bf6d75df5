"""A config whose runs take seconds: a random one-layer front-end with BatchNorm.

For the command line: ``mldg train --config tests/tiny.py:mldg``.
"""

from mldg_jax.training.config_files import read


def get_config(arg: str = "mldg"):
    """Returns the config of a method.

    Args:
      arg: a method of ``configs/xlsr.py``.
    """
    config = read(f"configs/xlsr.py:{arg},smoke")
    config.crop_samples = 1_600
    config.model.frontend.update(dict(layers=1, channels=(8,) * 7))
    config.model.head = dict(kind="pooling", dim=8)
    config.episode.examples_per_attack = 4
    config.augment.update(dict(rawboost=0, noise_snr=(10.0, 30.0)))
    config.steps = 60
    config.checkpoint_every = 5
    config.log_every = 1
    config.ema_decay = 0.9
    config.optimizer.update(dict(lr=1e-3, head_lr=1e-2))
    config.calibration = dict(utterances=0)
    return config
