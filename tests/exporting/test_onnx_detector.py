"""An exported detector scores as ``mldg score`` does, and says what it is."""

import json
from pathlib import Path

import jax
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from mldg_jax.common.errors import UserError
from mldg_jax.exporting import onnx_detector
from mldg_jax.exporting.formats import export_run
from mldg_jax.exporting.onnx_checks import CheckWindows
from mldg_jax.exporting.onnx_files import OnnxSession
from mldg_jax.models.detector import create_detector
from mldg_jax.scoring import scorer
from mldg_jax.scoring.calibration import CALIBRATION_FILE, Calibration, save_calibration
from mldg_jax.scoring.scorer import Scorer
from mldg_jax.training.config_files import read_config_file
from tests import signals
from tests.models.onnx_graph import detectors

# A scale and offset that no score is unchanged by.
FITTED = Calibration(0.5, -3.0, 0.5, 10, 20, "debspoof/small", "dev", True)


def windows(samples: int, is_speech: bool = False) -> CheckWindows:
    """Returns few windows to compare on, which is faster."""
    return CheckWindows(detectors.windows(samples, 10), "noise", is_speech)


@pytest.fixture(scope="module")
def tiny() -> Scorer:
    """Returns a tiny wav2vec 2.0 with the pooling head and a calibration."""
    config = read_config_file("tests/tiny.py:mldg")
    model = create_detector(config.model)
    variables = detectors.randomize(model, config.crop_samples)
    return Scorer(model, variables, config.crop_samples, config, FITTED)


def test_a_calibrated_run_scores_as_before(own_smoke_run, tmp_path):
    save_calibration(own_smoke_run / CALIBRATION_FILE, FITTED)
    code = export_run(own_smoke_run, tmp_path / "out", "onnx")
    names: dict = {}
    exec(code, names)
    assert names["scores"].shape == (1,)
    detector = scorer.load(own_smoke_run)
    speech = signals.speech_like(detector.samples, seed=3)
    session = OnnxSession(tmp_path / "out" / "model.onnx")
    expected = scorer.score_waveforms(detector, speech)
    np.testing.assert_allclose(session.scores(speech), expected, atol=1e-5)
    raw = scorer.score_waveforms(detector._replace(calibration=None), speech)
    assert abs(expected - raw).min() > 0.1  # or calibration could be missing

    facts = session.metadata()
    assert facts["mldg_format"] == "1" and facts["calibrated"] == "true"
    assert facts["polarity"] == "higher is bona fide"
    assert int(facts["window_samples"]) == detector.samples
    assert int(facts["sample_rate"]) == 16_000
    assert float(facts["calibration_offset"]) == -3.0
    trained_on = json.loads(facts["trained_on"])
    assert trained_on["attacks"] == ["A01", "A03", "A04", "A05", "A06"]  # not A02
    assert facts["weights_licence"] == "mit" and "OpenAI" in facts["weights_notice"]
    assert json.loads(facts["check"])["max_difference_float32"] <= 1e-4
    readme = (tmp_path / "out" / "README.md").read_text()
    assert "InferenceSession('model.onnx')" in readme and str(tmp_path) not in readme
    assert "attacks: A01, A03" in readme
    # again over the first export, and refused where another format's is
    export_run(own_smoke_run, tmp_path / "out", "onnx")
    with pytest.raises(UserError, match=r"which no export with --format merged wrote"):
        export_run(own_smoke_run, tmp_path / "out", "merged")


def test_large_weights_are_in_a_file_of_their_own(tiny, tmp_path):
    path = tmp_path / "sub" / "model.onnx"
    export = onnx_detector.write(tiny, path, windows=windows(1_600), limit=10_000)
    assert export.files == (path, tmp_path / "sub" / "model.onnx.data")
    whole = onnx_detector.write(tiny, tmp_path / "whole.onnx", windows=windows(1_600))
    assert path.stat().st_size < whole.num_bytes < export.num_bytes + 10_000
    assert export.num_bytes == sum(x.stat().st_size for x in path.parent.iterdir())
    moved = path.parent.rename(tmp_path / "moved") / "model.onnx"
    scores, other = (
        OnnxSession(x).scores(windows(1_600).windows)
        for x in (moved, tmp_path / "whole.onnx")
    )
    np.testing.assert_array_equal(scores, other)
    assert OnnxSession(moved).metadata() == whole.metadata
    # An export that fits leaves no old weights behind.
    onnx_detector.write(tiny, moved, windows=windows(1_600))
    assert [x.name for x in moved.parent.iterdir()] == ["model.onnx"]


def test_a_graph_with_other_scores_is_refused(tiny, tmp_path, monkeypatch):
    old = tmp_path / "old.onnx"
    old.write_text("old")
    right = onnx_detector.detector_graph

    def wrong(*arguments, offset, **options):
        return right(*arguments, offset=offset + 2e-4, **options)

    monkeypatch.setattr(onnx_detector, "detector_graph", wrong)
    for path in (old, tmp_path / "new" / "model.onnx"):
        with pytest.raises(UserError, match=r"differ from the detector's by 2\.0e-04"):
            onnx_detector.write(tiny, path, windows=windows(1_600))
    assert [x.name for x in tmp_path.iterdir()] == ["old.onnx"]
    assert old.read_text() == "old"


@pytest.mark.parametrize("limit", [10_000, 10**9])
@pytest.mark.parametrize("quantise", ["fp16", "int8"])
def test_quantisation_is_measured(tiny, tmp_path, quantise, limit):
    path = tmp_path / "model.onnx"
    given = windows(1_600)
    export = onnx_detector.write(
        tiny, path, quantise=quantise, windows=given, limit=limit
    )
    expected = scorer.score_waveforms(tiny, given.windows)
    moved = abs(OnnxSession(path).scores(given.windows, 1) - expected)
    assert export.change == pytest.approx((moved.mean(), moved.max()))
    assert export.difference < 1e-5 < export.change[1] < 0.5
    check = json.loads(OnnxSession(path).metadata()["check"])
    assert (check["mean_change"], check["max_change"]) == export.change
    assert OnnxSession(path).metadata() == export.metadata
    assert {x.name for x in tmp_path.iterdir()} == {x.name for x in export.files}
    halves, bytes_ = dtypes(path)
    assert bool(bytes_) == (quantise == "int8") and halves
    # Two layers of six matrices would be twelve: tiny has one, and the projection.
    assert len(bytes_) in (0, 7)
    assert all(name.startswith("frontend/") for name in bytes_)


def dtypes(path: Path) -> tuple[list[str], list[str]]:
    """Returns the names of float16 weights and of int8 matrices."""
    tensors = onnx.load(path).graph.initializer
    kinds = {x.name: numpy_helper.to_array(x) for x in tensors}
    return (
        [name for name, x in kinds.items() if x.dtype == np.float16],
        [name for name, x in kinds.items() if x.dtype == np.int8 and x.ndim == 2],
    )


def test_int8_is_moved_back_if_there_is_speech(tiny, tmp_path):
    """The mean change on speech is taken out, that on synthetic sounds is not."""
    shift, mean = {}, {}
    for is_speech in (False, True):
        given = windows(1_600, is_speech)
        path = tmp_path / "model.onnx"
        onnx_detector.write(tiny, path, quantise="int8", windows=given)
        expected = scorer.score_waveforms(tiny, given.windows)
        check = json.loads(OnnxSession(path).metadata()["check"])
        shift[is_speech] = check["shift"]
        moved = OnnxSession(path).scores(given.windows, 1) - expected
        mean[is_speech] = moved[8:].mean()  # the first eight are noise
    assert shift[False] == 0 != shift[True]
    assert abs(mean[True]) < 1e-5 < abs(mean[False])
    assert shift[True] == pytest.approx(-mean[False], rel=1e-3)


def test_the_spectrogram_is_never_quantised(smoke_run, tmp_path):
    """Naive int8 quantises it: the EER on DebSpoof goes from 25 % to 46 %."""
    path = tmp_path / "model.onnx"
    full = onnx_detector.write(smoke_run, tmp_path / "full.onnx")
    export = onnx_detector.write(smoke_run, path, quantise="int8")
    assert export.num_bytes < 0.6 * full.num_bytes and export.change[1] < 0.5
    halves, bytes_ = dtypes(path)
    assert halves and bytes_
    assert not [x for x in (*halves, *bytes_) if "log_mel" in x or "constant" in x]


def test_options_are_checked(tiny, smoke_run, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="quantise is 'int4'; it must be one of int8"):
        onnx_detector.write(tiny, tmp_path / "x.onnx", quantise="int4")
    with pytest.raises(UserError, match="--quantise does not apply to --format peft"):
        export_run(smoke_run, tmp_path / "out", "peft", quantise="int8")
    with pytest.raises(UserError, match="is a run folder"):
        export_run(smoke_run, smoke_run, "onnx")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'mldg_jax\[onnx\]'"):
        onnx_detector.write(tiny, tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.full
def test_the_papers_detector(tmp_path):
    """XLS-R 300M with AASIST, random weights: 1.26 GB."""
    config = read_config_file("configs/xlsr.py:mldg")
    model = create_detector(config.model)
    variables = detectors.randomize(model, config.crop_samples)
    detector = Scorer(model, variables, config.crop_samples, config)
    given = CheckWindows(detectors.windows(64_600, 3), "noise", False)
    export = onnx_detector.write(detector, tmp_path / "x.onnx", windows=given)
    assert export.difference < 1e-4
    assert 1.2e9 < export.num_bytes < 1.3e9
    assert jax.tree.leaves(variables)[0].dtype == np.float32
