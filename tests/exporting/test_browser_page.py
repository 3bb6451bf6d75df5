"""The exported page: its files, its facts, what it refuses to replace."""

import gzip
import json

import pytest

from mldg_jax.common import run_folder
from mldg_jax.common.errors import UserError
from mldg_jax.exporting import browser_page
from mldg_jax.exporting.browser_runtime import LOADER, WASM
from mldg_jax.exporting.formats import export_run
from mldg_jax.exporting.onnx_files import OnnxSession
from mldg_jax.scoring.calibration import Calibration, save_calibration
from tests.exporting.fake_runtime import CONTENTS, PACKAGE, TARBALL


@pytest.fixture
def options(tmp_path):
    """Options that take a small runtime from disk."""
    (tmp_path / "runtime.tgz").write_bytes(TARBALL)
    return {"runtime": tmp_path / "runtime.tgz", "package": PACKAGE}


def test_a_folder_is_whole(own_smoke_run, tmp_path, options):
    save_calibration(
        own_smoke_run / "calibration.json", Calibration(2.0, -1.0, 0.5, 30, 40)
    )
    out = tmp_path / "out"
    code = browser_page.export_run(own_smoke_run, out, "web", **options)
    assert f"mldg serve {out}\n" in code and str(own_smoke_run) not in code
    runtime = out / "onnxruntime-web"
    assert (runtime / LOADER).read_bytes() == CONTENTS[LOADER]
    assert gzip.decompress((runtime / f"{WASM}.gz").read_bytes()) == CONTENTS[WASM]
    notice = (runtime / "LICENSE.txt").read_text()
    assert (
        "onnxruntime-web 9.9.9" in notice and "Permission is hereby granted" in notice
    )
    assert "CONTENT-SECURITY-POLICY" not in (out / "index.html").read_text()
    facts = json.loads((out / "detector.json").read_text())
    assert facts["calibration"] == {"n_bonafide": 30, "n_spoof": 40}
    assert all((out / name).is_file() for name in facts["files"].values())
    crop = run_folder.read_config(own_smoke_run).crop_samples
    metadata = OnnxSession(out / "model.onnx").metadata()
    assert str(facts["window_samples"]) == metadata["window_samples"] == str(crop)
    assert metadata["calibrated"] == "true"
    browser_page.export_run(own_smoke_run, out, "web", **options)  # replaces itself


def test_one_file_has_everything(smoke_run, tmp_path, options):
    path = tmp_path / "page.html"
    browser_page.export_run(smoke_run, path, "web", single_file=True, **options)
    page = path.read_text()
    names = ("detector.json", "model.onnx", f"onnxruntime-web/{WASM}.gz", "worker.js")
    assert all(f'id="asset:{name}"' in page for name in names)
    assert "Permission is hereby granted" in page
    assert {x.name for x in tmp_path.iterdir()} == {"page.html", "runtime.tgz"}


@pytest.mark.parametrize(
    ("name", "single", "message"),
    [
        ("page", True, r"a name that ends in \.html, e\.g\. .*page\.html"),
        ("other.html", True, "is not an HTML page, so it is not replaced"),
        ("full", False, "has note.txt, which no export with --format web wrote"),
    ],
)
def test_nothing_else_is_replaced(smoke_run, tmp_path, options, name, single, message):
    (tmp_path / "other.html").write_text("a note")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note.txt").write_text("a note")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=message):
        browser_page.export_run(
            smoke_run, tmp_path / name, "web", single_file=single, **options
        )
    assert sorted(tmp_path.rglob("*")) == before


def test_a_wrong_runtime_leaves_nothing(smoke_run, tmp_path):
    (tmp_path / "a.tgz").write_bytes(TARBALL)
    with pytest.raises(UserError, match=r"is not onnxruntime-web 1\."):
        export_run(smoke_run, tmp_path / "out", "web", runtime=tmp_path / "a.tgz")
    assert not (tmp_path / "out").exists()


def test_a_model_too_large_for_a_browser_is_refused(
    smoke_run, tmp_path, options, monkeypatch
):
    monkeypatch.setattr(browser_page, "LARGEST_FILE", 0.1)
    with pytest.raises(UserError, match=r"at most 0\.1 MB in one file: try --quantise"):
        browser_page.export_run(
            smoke_run, tmp_path / "a.html", "web", single_file=True, **options
        )


def test_a_quantised_page_says_what_that_does(smoke_run, tmp_path, options):
    code = browser_page.export_run(
        smoke_run, tmp_path / "out", "web", quantise="fp16", **options
    )
    assert code.startswith("# fp16 changes a score by ")
    facts = json.loads((tmp_path / "out" / "detector.json").read_text())
    assert facts["quantisation"] == "fp16"


def test_options_of_other_formats_are_refused(smoke_run, tmp_path):
    with pytest.raises(UserError, match="--single-file does not apply to --format pe"):
        export_run(smoke_run, tmp_path / "out", "peft", single_file=True)
    with pytest.raises(UserError, match="formats that take it: web"):
        export_run(smoke_run, tmp_path / "out", "onnx", runtime="a.tgz")
