"""Skips the parity tests unless the reference libraries are installed."""

import importlib.util

import pytest


@pytest.fixture(scope="session", autouse=True)
def references():
    """Skips the tests if torch, transformers or peft is not installed."""
    for name in ("torch", "transformers", "peft"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"needs {name}: pip install 'mldg_jax[parity]'")
