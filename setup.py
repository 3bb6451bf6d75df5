"""What setup.cfg cannot say: the wheel has ``configs/`` as ``mldg_jax/presets``."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["mldg_jax*"]), "mldg_jax.presets"],
    package_dir={"mldg_jax.presets": "configs"},
)
