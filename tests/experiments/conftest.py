"""A small DebSpoof for the tests that run on a prepared corpus."""

import pytest

from tests.data import small_debspoof


@pytest.fixture(scope="session")
def debspoof(tmp_path_factory):
    """A data directory with DebSpoof small in miniature."""
    folder = tmp_path_factory.mktemp("debspoof") / "data"
    small_debspoof.make(folder, "small")
    return folder
