"""Exports the whole detector as an ONNX model: a window of speech in, its score out.

The graph is written by ``models.onnx_graph`` and compared with JAX before anything is
put in its place.
"""

import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mldg_jax.common.errors import UserError
from mldg_jax.common.files import check_output, write_text, writing
from mldg_jax.exporting import onnx_files, onnx_metadata, output_folder
from mldg_jax.exporting.onnx_checks import CheckWindows, check_windows, require_equal
from mldg_jax.exporting.onnx_files import OnnxSession
from mldg_jax.models.onnx_graph.detector_nodes import OUTPUTS, detector_graph
from mldg_jax.models.onnx_graph.graph_builder import GraphBuilder, Storage
from mldg_jax.scoring import scorer
from mldg_jax.scoring.scorer import Scorer

MODEL = "model.onnx"
QUANTISATIONS = ("int8", "fp16")
AFFINE = ("scale", "offset")  # of a calibration
TITLE = "# A speech deepfake detector for ONNX"


class OnnxExport(NamedTuple):
    """What was written, and how it compares with the detector.

    Attributes:
      files: the model's file, then the one with its weights, if there is one.
      num_bytes: of all files.
      difference: largest difference of a score from JAX, before quantisation.
      num_windows: number of windows that were compared.
      source: where they are from.
      change: mean and largest change of a score by the quantisation; None without.
      metadata: the model's ``metadata_props``.
    """

    files: tuple[Path, ...]
    num_bytes: int
    difference: float
    num_windows: int
    source: str
    change: tuple[float, float] | None
    metadata: dict[str, str]


def write(
    source: Scorer | str | Path,
    path: str | Path,
    *,
    quantise: str | None = None,
    data_dir: str | Path | None = None,
    windows: CheckWindows | None = None,
    limit: int = onnx_files.LARGEST,
) -> OnnxExport:
    """Writes a detector as an ONNX model, once its scores are found to be JAX's.

    Args:
      source: a finished run or, without the facts of its training, a scorer.
      path: the file to write or replace. A model with more weights than ``limit`` has a
        second file, ``path`` with ``.data`` appended, which must stay in its folder.
      quantise: None; "int8": the front-end's matrix products in 8 bits; "fp16": weights
        stored in 16 bits.
      data_dir: folder of the prepared corpora, for real windows to compare on.
      windows: to compare on instead.
      limit: most bytes of weights in the model's own file.

    Returns:
      What was written.

    Raises:
      UserError: the run cannot be loaded, a package is missing, ``quantise`` is
        unknown, the path cannot be written to, or the scores differ by more than 1e-4.
    """
    with _prepared(source, path, quantise, data_dir, windows, limit) as export:
        return _place(export, Path(path))


@contextlib.contextmanager
def _prepared(
    source: Scorer | str | Path,
    path: str | Path,
    quantise: str | None,
    data_dir: str | Path | None,
    windows: CheckWindows | None = None,
    limit: int = onnx_files.LARGEST,
) -> Iterator[OnnxExport]:
    """Yields what ``write`` puts in its place, in a temporary folder beside it."""
    onnx_files.require()
    if quantise not in (None, *QUANTISATIONS):
        raise UserError(
            f"quantise is {quantise!r}; it must be one of {', '.join(QUANTISATIONS)}"
        )
    path = Path(path)
    check_output(path)
    is_scorer = isinstance(source, Scorer)
    detector = source if is_scorer else scorer.load(source)
    facts = onnx_metadata.describe(detector, None if is_scorer else source)
    if windows is None:
        corpus = detector.config.corpus
        windows = check_windows(detector.samples, corpus, data_dir)
    with writing(path.parent), _temporary_folder(path.parent) as folder:
        yield _write(detector, facts, folder / path.name, quantise, windows, limit)


@contextlib.contextmanager
def _temporary_folder(parent: Path) -> Iterator[Path]:
    """Yields a folder in another, which is created, and removed if it stays empty."""
    existed = parent.exists()
    parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=".mldg-", dir=parent) as folder:
            yield Path(folder)
    finally:
        if not existed and not any(parent.iterdir()):
            parent.rmdir()


def _place(export: OnnxExport, path: Path) -> OnnxExport:
    """Moves prepared files to where they belong, and removes an old file of weights."""
    for file in reversed(export.files):  # the weights first
        file.replace(path.with_name(file.name))
    files = tuple(path.with_name(file.name) for file in export.files)
    weights = path.with_name(path.name + onnx_files.DATA)
    if weights not in files:
        weights.unlink(missing_ok=True)
    return export._replace(files=files)


def _write(
    detector: Scorer,
    facts: dict[str, str],
    path: Path,
    quantise: str | None,
    windows: CheckWindows,
    limit: int,
) -> OnnxExport:
    """Writes the files into a temporary folder."""
    affine = {}
    if detector.calibration is not None:
        affine = {name: getattr(detector.calibration, name) for name in AFFINE}
    graph = detector_graph(
        detector.detector, detector.variables, detector.samples, **affine
    )
    expected = scorer.score_waveforms(detector, windows.windows)
    files = _save(graph, detector.samples, path, None, limit)
    difference = require_equal(OnnxSession(path).scores(windows.windows), expected)
    change = None
    if quantise is not None:
        files = _save(graph, detector.samples, path, quantise, limit)
        moved = np.abs(OnnxSession(path).scores(windows.windows) - expected)
        change = float(moved.mean()), float(moved.max())
        if not np.isfinite(moved).all():
            raise UserError(f"with quantisation {quantise}, scores are not finite")
    check: dict[str, Any] = {
        "windows": len(windows.windows),
        "source": windows.source,
        "max_difference_float32": difference,
    }
    if change is not None:
        check |= {"mean_change": change[0], "max_change": change[1]}
    facts = facts | {"quantisation": quantise or "none", "check": json.dumps(check)}
    onnx_files.add_metadata(path, facts)
    num_bytes = sum(file.stat().st_size for file in files)
    counted = len(windows.windows), windows.source
    return OnnxExport(tuple(files), num_bytes, difference, *counted, change, facts)


def _save(
    graph: GraphBuilder, samples: int, path: Path, quantise: str | None, limit: int
) -> list[Path]:
    """Writes a graph with its weights as float32 (exactly), fp16 or int8."""
    if quantise != "int8":
        storage = "exact" if quantise is None else "half"
        return onnx_files.save(graph.model(samples, OUTPUTS, {}, storage), path, limit)
    # The head stays in full precision: it is small, and errors there are not averaged.
    products = graph.matrices("frontend/")
    full = path.with_name(f"full-{path.name}")
    model = graph.model(samples, OUTPUTS, {}, _all_but(graph, products))
    parts = onnx_files.save(model, full, limit)
    files = onnx_files.quantise(full, path, products, limit)
    for part in parts:
        part.unlink()
    return files


def _all_but(graph: GraphBuilder, products: list[str]) -> dict[str, Storage]:
    """Returns the storage of all weights but those of matrix products: half."""
    chosen = {n["inputs"][1] for n in graph.nodes if n["name"] in products}
    return {name: "half" for name in graph.weights if name not in chosen}


def export_run(
    run: str | Path,
    folder: str | Path,
    form: str,
    quantise: str | None = None,
    data_dir: str | Path | None = None,
) -> str:
    """Writes a finished run as ``model.onnx`` and ``README.md``.

    Args:
      run: a finished run.
      folder: created if it does not exist; an earlier export of the same form in it is
        replaced.
      form: "onnx".
      quantise, data_dir: see ``write``.

    Returns:
      The lines of Python that score a window, under comments that say what was
      measured.

    Raises:
      UserError: as ``write``, or the folder is a run folder or has a file that an
        export of this form did not write.
    """
    files = (MODEL, MODEL + onnx_files.DATA)
    output_folder.check(folder, TITLE, files, form)
    path = Path(folder) / MODEL
    with _prepared(run, path, quantise, data_dir) as export:
        code = _code(path, export)
        # The README first: it marks the folder as an export.
        write_text(path.with_name(output_folder.README), _readme(code, export))
        _place(export, path)
    return code


def _code(path: Path, export: OnnxExport) -> str:
    samples = export.metadata["window_samples"]
    comments = [f"# {line}" for line in _measured(export)]
    lines = [
        "import numpy as np, onnxruntime",
        f"session = onnxruntime.InferenceSession({str(path)!r})",
        f"windows = np.zeros((1, {samples}), np.float32)  # 16 kHz, within [-1, 1]",
        'scores = session.run(["score"], {"waveform": windows})[0]',
    ]
    return "\n".join([*comments, *lines])


def _measured(export: OnnxExport) -> list[str]:
    """Returns what was measured, in lines."""
    size = f"{export.num_bytes / 1e6:.1f} MB"
    compared = f"{export.num_windows} windows (noise and {export.source})"
    lines = [
        f"{size}; scores as mldg score on {compared}: difference at most "
        f"{export.difference:.0e}"
    ]
    if export.change is not None:
        mean, most = export.change
        lines[0] += " before quantisation"
        lines.append(
            f"{export.metadata['quantisation']} changes a score by {mean:.2g} on "
            f"average, by {most:.2g} at most"
        )
    return lines


def _readme(code: str, export: OnnxExport) -> str:
    """Returns the exported folder's README."""
    facts = export.metadata
    samples, rate = int(facts["window_samples"]), int(facts["sample_rate"])
    trained_on = json.loads(facts["trained_on"])
    corpus = "/".join(filter(None, (trained_on["corpus"], trained_on["config"])))
    attacks = ", ".join(trained_on.get("attacks", ())) or "not recorded"
    return f"""{TITLE}

Trained with mldg_jax {facts["mldg_jax"]} (method {facts["method"]}).

```python
{code}
```

- Input `waveform`: (batch, {samples}) float32, windows of {samples / rate:.2f} s at
  {rate:,} Hz, mono, within [-1, 1]. Resample other rates first.
- Output `score`: (batch,) float32, {facts["score"]}; {facts["polarity"]}. Output
  `logits`: (batch, 2), column 0 spoof, column 1 bona fide.
- A recording's score is the mean over the fewest evenly spread windows that cover it;
  a recording shorter than a window is repeated.
- Trained on {corpus}; attacks: {attacks}. Others may go undetected.
- Weights of the front-end: {facts["weights"]} ({facts["weights_licence"]}).
  {facts.get("weights_notice", "")}

All of this is in the model's `metadata_props`, too.
"""
