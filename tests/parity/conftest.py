"""The live references are an extra of their own: without them there is no parity."""

import importlib.util

import pytest


@pytest.fixture(scope="session", autouse=True)
def references():
    """Skips where torch, transformers or peft is not installed."""
    for name in ("torch", "transformers", "peft"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"needs {name}: pip install 'mldg_jax[parity]'")
