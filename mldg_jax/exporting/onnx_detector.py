"""Exports the whole detector as an ONNX model: a window of speech in, its score out.

The graph is written by ``models.onnx_graph`` and compared with JAX before anything is
put in its place.
"""

import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mldg_jax.common.errors import UserError
from mldg_jax.common.files import check_output, write_text, writing
from mldg_jax.exporting import onnx_files, onnx_metadata, onnx_readme, output_folder
from mldg_jax.exporting.onnx_checks import (
    NUM_NOISE,
    CheckWindows,
    check_windows,
    require_equal,
)
from mldg_jax.exporting.onnx_files import OnnxExport, OnnxSession
from mldg_jax.models.onnx_graph.detector_nodes import OFFSET, OUTPUTS, detector_graph
from mldg_jax.models.onnx_graph.graph_builder import GraphBuilder, Storage
from mldg_jax.scoring import scorer
from mldg_jax.scoring.scorer import Scorer

MODEL = "model.onnx"
QUANTISATIONS = ("int8", "fp16")
AFFINE = ("scale", "offset")  # of a calibration


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
    check: dict[str, Any] = {
        "windows": len(windows.windows),
        "source": windows.source,
        "max_difference_float32": difference,
    }
    change = None
    if quantise is not None:
        files = _save(graph, detector.samples, path, quantise, limit)
        offset = float(graph.constants[OFFSET])
        shift = _correct_shift(path, quantise, windows, expected, offset)
        moved = np.abs(OnnxSession(path).scores(windows.windows, 1) - expected)
        if not np.isfinite(moved).all():
            raise UserError(
                f"with quantisation {quantise}, scores are not finite; nothing was "
                "written. Export without it"
            )
        change = float(moved.mean()), float(moved.max())
        check |= {"mean_change": change[0], "max_change": change[1], "shift": shift}
    facts = facts | {"quantisation": quantise or "none", "check": json.dumps(check)}
    onnx_files.edit(path, facts)
    num_bytes = sum(file.stat().st_size for file in files)
    counted = len(windows.windows), windows.source
    return OnnxExport(tuple(files), num_bytes, difference, *counted, change, facts)


def _correct_shift(
    path: Path,
    quantise: str,
    windows: CheckWindows,
    expected: np.ndarray,
    offset: float,
) -> float:
    """Moves the scores of an int8 model back to where they were, on average.

    On DebSpoof, int8 moves all scores of a detector by nearly the same amount, so that
    its calibration would no longer hold. Speech is needed to measure it.

    Returns:
      What was added to every score; 0 if nothing was.
    """
    if quantise != "int8" or not windows.is_speech:
        return 0.0
    moved = (expected - OnnxSession(path).scores(windows.windows, 1))[NUM_NOISE:]
    shift = float(moved.mean())
    if np.isfinite(shift):
        onnx_files.edit(
            path, constants={OFFSET: np.asarray(offset + shift, np.float32)}
        )
    return shift


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
    output_folder.check(folder, onnx_readme.TITLE, files, form)
    path = Path(folder) / MODEL
    with _prepared(run, path, quantise, data_dir) as export:
        code = onnx_readme.code(path, export)
        inside = onnx_readme.code(Path(MODEL), export)  # the folder may move
        # The README first: it marks the folder as an export.
        write_text(
            path.with_name(output_folder.README), onnx_readme.readme(inside, export)
        )
        _place(export, path)
    return code
