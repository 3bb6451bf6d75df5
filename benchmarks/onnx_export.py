"""Times exported detectors in onnxruntime against JAX, and measures quantisation.

    python benchmarks/onnx_export.py RUN [--data-dir data] [--split eval] [--repeats 15]
    python benchmarks/onnx_export.py --xlsr [--batches 1 4] [--repeats 5]

The second form has XLS-R 300M + AASIST with random weights and no trials. Both sides
compute float32 on the same cores, in turns; a ratio is onnxruntime's time to JAX's, and
below 1 onnxruntime is faster. Prints JSON: for each quantisation the size, the median
ratio by batch, and on the split of the run's training corpus the change of the scores
and of the EER. (A script named onnx.py would hide the package.)
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mldg_jax import metrics
from mldg_jax.data.corpus import BONAFIDE, Corpus, load_split
from mldg_jax.data.corpus_folder import find_corpus
from mldg_jax.data.episodes import crop
from mldg_jax.exporting import onnx_detector
from mldg_jax.exporting.onnx_checks import CheckWindows
from mldg_jax.exporting.onnx_files import OnnxSession
from mldg_jax.models.detector import create_detector
from mldg_jax.scoring import scorer
from mldg_jax.scoring.scorer import Scorer
from mldg_jax.scoring.windows import starts
from mldg_jax.training.config_files import read_config_file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", nargs="?")
    parser.add_argument("--xlsr", action="store_true")
    parser.add_argument("--data-dir", default="data")
    parser.add_argument("--split", default="eval")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--repeats", type=int, default=15)
    arguments = parser.parse_args()
    if bool(arguments.run) == arguments.xlsr:
        parser.error("name a run, or give --xlsr")
    detector = xlsr() if arguments.xlsr else scorer.load(arguments.run)
    rows = None
    if arguments.run:
        named = detector.config.corpus
        folder = find_corpus(named.name, named.config, arguments.data_dir)
        rows = load_split(folder, arguments.split)
    result: dict[str, Any] = {}
    full = None
    for quantise in (None, "fp16", "int8"):
        with tempfile.TemporaryDirectory() as place:
            path = Path(place) / "model.onnx"
            export = onnx_detector.write(
                detector,
                path,
                quantise=quantise,
                data_dir=arguments.data_dir,
                windows=noise(detector.samples) if arguments.xlsr else None,
            )
            session = OnnxSession(path)
            entry = {
                "MB": round(export.num_bytes / 1e6, 1),
                "max_difference_float32": export.difference,
                "max_change": export.change and export.change[1],
                "ratio_to_jax": {
                    batch: compare(detector, session, batch, arguments.repeats)
                    for batch in arguments.batches
                },
            }
            if rows is not None:
                scores = score(session, rows, detector.samples)
                if full is None:
                    expected = scorer.score_waveforms(detector, waveforms(rows))
                    entry["trials"] = len(scores)
                    full = expected
                entry |= trial_change(scores, full, rows)
        result[quantise or "float32"] = entry
        print(json.dumps({quantise or "float32": entry}, indent=1), flush=True)


def xlsr() -> Scorer:
    """Returns XLS-R 300M + AASIST with random weights."""
    config = read_config_file("configs/xlsr.py:mldg")
    detector = create_detector(config.model)
    waveform = jax.ShapeDtypeStruct((1, config.crop_samples), np.float32)
    shapes = jax.eval_shape(detector.init, jax.random.key(0), waveform)
    rng = np.random.default_rng(0)

    def draw(path: Any, x: Any) -> np.ndarray:
        if x.ndim < 2:  # factors are 1, biases and means 0
            is_factor = path[-1].key in ("scale", "gain", "var")
            return np.full(x.shape, float(is_factor), np.float32)
        deviation = np.prod(x.shape[:-1]) ** -0.5
        return deviation * rng.standard_normal(x.shape, np.float32)

    kept = {name: shapes[name] for name in ("params", "batch_stats")}
    variables = jax.tree_util.tree_map_with_path(draw, kept)
    return Scorer(detector, variables, config.crop_samples, config)


def noise(samples: int) -> CheckWindows:
    """Returns a few windows, as every one takes seconds.

    Args:
      samples: length of a window.
    """
    windows = 0.1 * np.random.default_rng(1).normal(size=(3, samples))
    return CheckWindows(windows.astype(np.float32), "noise", False)


def compare(detector: Scorer, session: OnnxSession, batch: int, repeats: int) -> float:
    """Returns the median ratio of onnxruntime's time to JAX's.

    Args:
      detector: the detector in JAX.
      session: the same in onnxruntime.
      batch: number of windows.
      repeats: pairs of measurements.
    """
    windows = np.random.default_rng(0).normal(size=(batch, detector.samples))
    windows = (0.1 * windows).astype(np.float32)
    apply = jax.jit(detector.detector.apply)
    sides = (
        lambda: session.outputs(windows),
        lambda: jax.block_until_ready(apply(detector.variables, windows)),
    )
    for side in sides:
        side()
    pairs = [[seconds(side) for side in sides] for _ in range(repeats)]
    return round(statistics.median(onnx / jax for onnx, jax in pairs), 3)


def seconds(function: Callable[[], Any]) -> float:
    """Returns the wall-clock time of a call.

    Args:
      function: called once, without arguments.
    """
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def waveforms(rows: Corpus) -> Iterator[np.ndarray]:
    """Yields the recordings of a split.

    Args:
      rows: the split.
    """
    return (rows.waveform(i) for i in range(len(rows.label)))


def score(session: OnnxSession, rows: Corpus, samples: int) -> np.ndarray:
    """Scores recordings, each with its own windows as one batch.

    Args:
      session: the detector.
      rows: the recordings.
      samples: length of a window.
    """
    scores = []
    for waveform in waveforms(rows):
        first = starts(len(waveform), samples)
        windows = [crop(waveform[i : i + samples], samples, 0.0) for i in first]
        scores.append(session.outputs(np.stack(windows))[0].mean())
    return np.array(scores, np.float64)


def trial_change(scores: np.ndarray, full: np.ndarray, rows: Corpus) -> dict[str, Any]:
    """Returns how scores and EER differ from JAX's.

    Args:
      scores, full: of the export, and of JAX.
      rows: the recordings.
    """
    real = rows.label == BONAFIDE

    def eer(values: np.ndarray) -> float:
        return float(metrics.detection_metrics(values[real], values[~real])["eer"])

    moved = np.abs(scores - full)
    slope, offset = np.polyfit(scores, full, 1)
    return {
        "score_sd": round(float(full.std()), 3),
        "mean_change": float(f"{moved.mean():.2g}"),
        "max_change_on_trials": float(f"{moved.max():.2g}"),
        "best_affine_map_back": [round(float(slope), 4), round(float(offset), 4)],
        "eer": round(eer(scores), 4),
        "eer_jax": round(eer(full), 4),
    }


if __name__ == "__main__":
    main()
