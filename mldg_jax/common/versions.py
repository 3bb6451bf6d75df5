"""Versions of this package, Python and the packages that decide what a run computes."""

import importlib.metadata
import platform
from collections.abc import Sequence
from pathlib import Path

import mldg_jax

PACKAGES = ("jax", "flax", "optax", "numpy")
_ACCELERATORS = ("jaxlib", "jax-cuda12-plugin", "jax-cuda13-plugin", "libtpu")


def installed(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Looks up versions without importing the packages.

    Args:
      packages: names of distributions.

    Returns:
      Version by name, for "python", "mldg_jax" and the packages that are installed.
    """
    # Not from the metadata: in an editable install that may be of an older checkout
    versions = {"python": platform.python_version(), "mldg_jax": mldg_jax.__version__}
    for name in packages:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def describe() -> str:
    """Returns what a bug report needs.

    Returns:
      Three lines: version and place of the package; Python and system; packages.
    """
    versions = installed((*PACKAGES, *_ACCELERATORS))
    python, own = versions.pop("python"), versions.pop("mldg_jax")
    packages = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"mldg {own} ({Path(mldg_jax.__file__).parent})\n"
        f"Python {python}, {platform.platform()}\n{packages}"
    )
