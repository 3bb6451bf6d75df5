"""The versions in bug reports and in the provenance of runs."""

import importlib.metadata
import platform
import re

import mldg_jax
from mldg_jax.common import versions


def test_the_versions_are_those_of_the_installed_packages():
    found = versions.installed(("jax", "a-package-that-nobody-has"))
    assert found == {
        "python": platform.python_version(),
        "mldg_jax": mldg_jax.__version__,
        "jax": importlib.metadata.version("jax"),
    }
    lines = versions.describe().splitlines()
    assert lines[0].startswith(f"mldg {mldg_jax.__version__} (")
    assert f"Python {platform.python_version()}" in lines[1]
    assert re.search(rf"\bjax {found['jax']}(,|$)", lines[2])
