"""Exports a detector as a page that scores recordings in the browser.

The page is a folder of static files for any web server, or one HTML file that opens
from disk. The recording stays in the browser, and so does everything else: the page
requests nothing but its own files.
"""

import gzip
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mldg_jax
from mldg_jax.common import run_folder
from mldg_jax.common.errors import UserError
from mldg_jax.common.files import check_folder, replacing, write_text
from mldg_jax.common.html import check_page
from mldg_jax.common.text_files import visible
from mldg_jax.exporting import onnx_detector, output_folder
from mldg_jax.exporting.browser_runtime import (
    LOADER,
    ONNXRUNTIME_WEB,
    WASM,
    RuntimePackage,
    read_runtime,
)
from mldg_jax.exporting.page_bundle import (
    PAGE,
    folder_policy,
    page_files,
    single_page,
    with_policy,
)
from mldg_jax.scoring import model_card
from mldg_jax.scoring.calibration import calibration_of

MODEL, FACTS = "model.onnx", "detector.json"
RUNTIME = "onnxruntime-web"  # folder in the page's
RUNTIME_FILES = {
    "runtime": f"{RUNTIME}/{LOADER}",
    # packed: 3.7 MB of 14.2, also where a server does not compress what it sends
    "wasm": f"{RUNTIME}/{WASM}.gz",
}
LARGEST_FOLDER = 1_000  # MB of a model: WebAssembly has 4 GB, and holds it twice
LARGEST_FILE = 350  # MB in one HTML file, as base64: browsers limit a text to 512 MB
TITLE = "# A speech deepfake detector that runs in the browser"
LICENCE = "LICENSE.txt"


def export_run(
    run: str | Path,
    folder: str | Path,
    form: str,
    *,
    single_file: bool | None = None,
    runtime: str | Path | None = None,
    quantise: str | None = None,
    data_dir: str | Path | None = None,
    package: RuntimePackage = ONNXRUNTIME_WEB,
) -> str:
    """Writes a finished run as a web page.

    Args:
      run: a finished run.
      folder: where to write; created if it does not exist, an earlier export of the
        same form in it is replaced. With ``single_file``, the HTML file.
      form: "web".
      single_file: everything in one HTML file.
      runtime: see ``browser_runtime.read_runtime``.
      quantise, data_dir: see ``onnx_detector.write``.
      package: the version of onnxruntime-web.

    Returns:
      The lines of a shell that show the page.

    Raises:
      UserError: as ``onnx_detector.write`` and ``browser_runtime.read_runtime``, or the
        model is too large for a browser, or what is at ``folder`` is not replaced.
    """
    run_folder.read_config(run)  # before anything is fetched
    path = Path(folder)
    _check_target(path, single_file)
    files = {
        RUNTIME_FILES["runtime" if name == LOADER else "wasm"]: (
            content if name == LOADER else gzip.compress(content, 9, mtime=0)
        )
        for name, content in read_runtime(runtime, package).items()
    }
    model, metadata = _write_model(run, single_file, quantise, data_dir)
    facts = detector_facts(run, metadata, package)
    files |= {MODEL: model, FACTS: json.dumps(facts, indent=1).encode()}
    if single_file:
        # what is in a page is read at once: packing saves an eighth of the weights
        files[MODEL] = gzip.compress(model, 6, mtime=0)
        loader = files.pop(RUNTIME_FILES["runtime"]).decode()
        write_text(path, single_page(files, loader, licence(package)))
        return f"{_change(metadata)}xdg-open {path}    # or open it from the browser"
    _write_folder(path, files, metadata, package)
    return (
        f"{_change(metadata)}mldg serve {folder}\n# or, as on any web server:\n"
        f"python -m http.server --bind 127.0.0.1 --directory {folder}"
    )


def detector_facts(
    run: str | Path,
    metadata: Mapping[str, str],
    package: RuntimePackage = ONNXRUNTIME_WEB,
) -> dict[str, Any]:
    """Collects what the page says of the detector: ``detector.json``.

    Args:
      run: a finished run.
      metadata: the ``metadata_props`` of its ONNX model.
      package: the version of onnxruntime-web.

    Returns:
      A JSON object.

    Raises:
      UserError: the run has damaged files.
    """
    run = Path(run)
    config = run_folder.read_config(run)
    fitted = calibration_of(run)
    trained_on = run_folder.read_provenance(run).get("trained_on") or None
    evaluations = [
        {
            "name": entry["name"],
            "eer": entry["metrics"]["eer"],
            "eer_interval": entry["intervals"].get("eer"),
            "n_bonafide": entry["n_bonafide"],
            "n_spoof": entry["n_spoof"],
            "trained_on": entry["trained_on"],
        }
        for entry in model_card.read_evaluations(run)
    ]
    weights = config.model.weights
    description = (
        f"{weights} with a {config.model.head['kind']} back-end, trained with the "
        f"objective {config.objective.name}"
    )
    terms = metadata.get("weights_notice") or metadata["weights_licence"]
    return {
        "name": visible(run.resolve().name),
        "description": visible(description),
        "weights_licence": terms,
        "quantisation": metadata["quantisation"],
        "window_samples": int(metadata["window_samples"]),
        "sample_rate": int(metadata["sample_rate"]),
        "calibration": fitted
        and {
            "n_bonafide": fitted.n_bonafide,
            "n_spoof": fitted.n_spoof,
        },
        "training": trained_on,
        "evaluations": evaluations,
        "files": {"model": MODEL, **RUNTIME_FILES},
        "made_by": {
            "mldg_jax": mldg_jax.__version__,
            package.name: package.version,
        },
    }


def _check_target(path: Path, single_file: bool | None) -> None:
    """Refuses, before work starts, to replace what is not an earlier page."""
    if not single_file:
        output_folder.check(path, TITLE, _names(), "web")
        return
    if path.suffix.lower() not in (".html", ".htm"):
        raise UserError(
            f"{path}: --single-file writes an HTML file; give it a name that ends in "
            f".html, e.g. {path / 'detector.html' if path.is_dir() else f'{path}.html'}"
        )
    check_folder(path.parent)
    check_page(path)


def _names() -> list[str]:
    return [*page_files(), MODEL, FACTS, RUNTIME]


def _write_model(
    run: str | Path,
    single_file: bool | None,
    quantise: str | None,
    data_dir: str | Path | None,
) -> tuple[bytes, dict[str, str]]:
    """Returns the ONNX model and its metadata."""
    most = LARGEST_FILE if single_file else LARGEST_FOLDER
    with tempfile.TemporaryDirectory(prefix="mldg-page-") as folder:
        export = onnx_detector.write(
            run, Path(folder) / MODEL, quantise=quantise, data_dir=data_dir
        )
        megabytes = export.num_bytes / 1e6
        if megabytes > most:
            ways = ["--quantise int8"] if quantise != "int8" else []
            ways += ["no --single-file"] if single_file else []
            ways += ["a run with fewer layers (model.frontend.layers)"]
            raise UserError(
                f"{run}: its model has {megabytes:,.0f} MB; a browser takes at most "
                f"{most:,} MB{' in one file' if single_file else ''}: try "
                f"{' or '.join(ways)}"
            )
        return export.files[0].read_bytes(), export.metadata


def _change(metadata: Mapping[str, str]) -> str:
    """Returns a line on what quantisation did to the scores; empty without any."""
    check = json.loads(metadata["check"])
    if "mean_change" not in check:
        return ""
    mean, most = check["mean_change"], check["max_change"]
    return (
        f"# {metadata['quantisation']} changes a score by {mean:.2g} on average, by "
        f"{most:.2g} at most\n"
    )


def _write_folder(
    folder: Path,
    files: Mapping[str, bytes],
    metadata: Mapping[str, str],
    package: RuntimePackage,
) -> None:
    output_folder.claim(folder, _readme(metadata, package), _names(), "web")
    texts = page_files()
    texts[PAGE] = with_policy(texts[PAGE], folder_policy())
    texts[f"{RUNTIME}/{LICENCE}"] = licence(package)
    for name, text in texts.items():
        write_text(folder / name, text)
    for name, content in files.items():
        with replacing(folder / name) as part:
            part.write_bytes(content)


def _readme(metadata: Mapping[str, str], package: RuntimePackage) -> str:
    """Returns the folder's README: what it is, how to publish it, licences."""
    return f"""{TITLE}

Copy this folder to any web server, or look at it with

    python -m http.server --bind 127.0.0.1 --directory .

and open the address that it prints; a browser does not open it from disk
(`mldg export … --single-file` makes a page for that). Recordings are scored in the
browser and never uploaded; the page requests only the files of this folder.

With the headers `Cross-Origin-Opener-Policy: same-origin` and
`Cross-Origin-Embedder-Policy: require-corp` it uses several threads; without them one.

Licences: the page is part of mldg_jax (Apache-2.0). {RUNTIME}/ has {package.title},
MIT, see {RUNTIME}/{LICENCE}. {MODEL} has the weights of {metadata["weights"]}
({metadata["weights_licence"]}), adapted. {metadata.get("weights_notice", "")}
"""


def licence(package: RuntimePackage = ONNXRUNTIME_WEB) -> str:
    """Returns the licence of onnxruntime-web, whose tarball has none.

    Args:
      package: the version.
    """
    text = (Path(__file__).parent / "web_page" / "onnxruntime-license.txt").read_text(
        encoding="utf-8"
    )
    return text.replace("VERSION", package.version)
