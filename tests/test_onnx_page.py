"""The program in docs/onnx.md scores recordings of any length as ``mldg score``."""

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mldg_jax.exporting import onnx_detector
from mldg_jax.exporting.onnx_checks import CheckWindows
from mldg_jax.models.detector import create_detector
from mldg_jax.scoring.scorer import Scorer
from mldg_jax.training.config_files import read_config_file
from tests import signals
from tests.models.onnx_graph import detectors

PAGE = (Path(__file__).parents[1] / "docs" / "onnx.md").read_text()
SAMPLES = 6_000  # more than the shortest recording that mldg score takes
(PROGRAM,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Returns a detector and the folder with its ``out/model.onnx``."""
    config = read_config_file("tests/tiny.py:mldg")
    model = create_detector(config.model)
    variables = detectors.randomize(model, SAMPLES)
    detector = Scorer(model, variables, SAMPLES, config)
    folder = tmp_path_factory.mktemp("page")
    few = CheckWindows(detectors.windows(SAMPLES, 10), "noise", False)
    export = onnx_detector.write(detector, folder / "out" / "model.onnx", windows=few)
    return detector, folder, export


@pytest.mark.parametrize("length", [4_000, 6_000, 6_001, 12_000, 33_333])
def test_the_program_scores_recordings(exported, length, monkeypatch):
    detector, folder, _ = exported
    monkeypatch.chdir(folder)
    speech = signals.speech_like(length)[0]
    soundfile.write("speech.wav", speech, 16_000, subtype="FLOAT")
    names: dict = {}
    exec(compile(PROGRAM, "onnx.md", "exec"), names)
    assert names["scores"].mean() == pytest.approx(
        detector.score(speech, 16_000), abs=1e-5
    )


def test_the_table_has_every_key(exported):
    keys = set(exported[2].metadata)
    described = set(re.findall(r"`(\w+)`", PAGE.split("says about itself")[1]))
    assert keys <= described, keys - described
    assert np.isfinite(exported[2].difference)
