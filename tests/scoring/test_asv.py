"""Error rates of a verifier by hand, and a-DCF against its authors' package."""

import json
from pathlib import Path

import numpy as np
import pytest

from mldg_jax import metrics
from mldg_jax.scoring import asv

# By its authors' code.
A_DCF = np.load(Path(__file__).parents[1] / "golden" / "a_dcf.npz")
A_DCF_REFERENCE = json.loads(str(A_DCF["reference"]))


@pytest.mark.parametrize("case", A_DCF_REFERENCE)
def test_a_dcf_equals_its_authors_package(case):
    classes = [A_DCF[f"{case}/{name}"] for name in ("target", "nontarget", "spoof")]
    expected = A_DCF_REFERENCE[case]
    assert asv.a_dcf(*classes) == pytest.approx(expected["default"], abs=1e-9)
    model = json.loads(str(A_DCF["models"]))["a_dcf2"]
    other = asv.a_dcf(
        *classes,
        priors=(model["Ptrg"], model["Pnontrg"], model["Pspf"]),
        costs=(model["Cmiss"], model["Cfa_asv"], model["Cfa_cm"]),
    )
    assert other == pytest.approx(expected["a_dcf2"], abs=1e-9)


def test_asv_rates_by_hand():
    # The verifier's errors are equal at 1.5; a trial at the threshold is accepted.
    rates = asv.asv_rates([1, 3, 4, 5], [-1, 0, 1.5, 2], [0, 2, 2.5, 9, 9])
    assert rates == {"asv_pfa": 0.5, "asv_pmiss": 0.25, "asv_pmiss_spoof": 0.2}
    # A verifier that rejects every spoof: the countermeasure can only do harm.
    perfect = {"asv_pfa": 0.0, "asv_pmiss": 0.25, "asv_pmiss_spoof": 1.0}
    assert metrics.min_tdcf([1, 2], [0, 3], **perfect) == pytest.approx(1)
