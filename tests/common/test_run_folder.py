"""The frozen weights' fingerprint."""

import json

import numpy as np
import pytest

from mldg_jax.common import provenance, run_folder
from mldg_jax.common.errors import UserError


def test_other_frozen_weights_are_refused_with_both_hashes(tmp_path):
    params = {"conv": {"kernel": np.ones((3, 4), np.float32)}}
    run_folder.check_frozen(tmp_path, "tiny", params, write=True)
    kept = json.loads((tmp_path / run_folder.FROZEN).read_text())
    assert kept["weights"] == "tiny" and kept["parameters"] == 12
    run_folder.check_frozen(tmp_path, "tiny", params, write=True)
    params["conv"]["kernel"][2, 3] = np.nextafter(np.float32(1), np.float32(2))
    with pytest.raises(UserError, match="put the old weights back") as caught:
        run_folder.check_frozen(tmp_path, "tiny", params, write=True)
    assert kept["sha256"] in str(caught.value)
    assert provenance.fingerprint(params) in str(caught.value)
