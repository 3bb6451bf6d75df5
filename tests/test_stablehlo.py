"""The recipe of docs/stablehlo.md: its code runs, here and without the package."""

import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from jax import export

import mldg_jax
from mldg_jax.common.config import Config
from mldg_jax.scoring import scorer
from mldg_jax.scoring.calibration import Calibration
from mldg_jax.scoring.scorer import Scorer
from tests.models.onnx_graph import detectors

ROOT = Path(__file__).parents[1]
SAVE, USE = re.findall(
    r"```python\n(.*?)```", (ROOT / "docs" / "stablehlo.md").read_text(), re.S
)
WITHOUT_THE_PACKAGE = """
assert not [name for name in sys.modules if name.startswith(("mldg_jax", "flax"))]
scores = np.asarray(jax.jit(program.call)(weights, np.load("windows.npy")))
np.save("scores.npy", scores)
"""


@pytest.fixture(autouse=True)
def config():
    """Restores the setting that the recipe changes."""
    name = "jax_traceback_in_locations_limit"
    before = jax.config.values[name]
    yield
    jax.config.update(name, before)


@pytest.mark.parametrize("kind", ["whisper-pooling", "xlsr-aasist"])
def test_the_program_runs_without_the_package(kind, tmp_path, monkeypatch):
    module = detectors.DETECTORS[kind]
    calibration = Calibration(0.5, -3.0, 0.5, 10, 20)
    variables = detectors.randomize(module)
    detector = Scorer(module, variables, detectors.SAMPLES, Config(), calibration)
    monkeypatch.setattr(mldg_jax, "load", lambda run: detector)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(SAVE, "stablehlo.md", "exec"), names)

    windows = detectors.windows(count=4)
    np.save("windows.npy", windows)
    code = f"import sys\n{USE}\nassert scores.shape == (3,)\n{WITHOUT_THE_PACKAGE}"
    subprocess.run([sys.executable, "-c", code], check=True)
    expected = scorer.score_waveforms(detector, windows)
    np.testing.assert_allclose(np.load("scores.npy"), expected, atol=1e-5)
    assert np.ptp(expected) > 1e-3

    saved = Path("score.stablehlo").read_bytes()
    program = export.deserialize(bytearray(saved))
    assert program.platforms == ("cpu", "cuda", "tpu")
    weights = sum(x.nbytes for x in names["weights"])
    assert Path("weights.safetensors").stat().st_size >= weights
    for path in (str(ROOT), sys.prefix, str(Path.home())):
        assert path.encode() not in saved
