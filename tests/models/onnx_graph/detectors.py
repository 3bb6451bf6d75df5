"""Small detectors of every kind, with every parameter random, and their outputs."""

from typing import Any

import jax
import numpy as np

from mldg_jax.models.aasist import AASISTHead
from mldg_jax.models.detector import Detector
from mldg_jax.models.linear import LinearHead
from mldg_jax.models.mhfa import MHFAHead
from mldg_jax.models.onnx_graph.detector_nodes import OUTPUTS, detector_graph
from mldg_jax.models.pooling import PoolingHead
from mldg_jax.models.sls import SLSHead
from mldg_jax.models.wav2vec2 import Wav2Vec2
from mldg_jax.models.wavlm import WavLM
from mldg_jax.models.whisper import WhisperEncoder

SAMPLES = 9_000


def whisper(**options: Any) -> WhisperEncoder:
    """Returns a small encoder.

    Args:
      **options: replace attributes.
    """
    shape = {"layers": 2, "dim": 24, "heads": 3, "hidden": 40, "positions": 60}
    return WhisperEncoder(**shape | options)


def wav2vec2(kind: type[Wav2Vec2] = Wav2Vec2, **options: Any) -> Wav2Vec2:
    """Returns a small encoder.

    Args:
      kind: its class.
      **options: replace attributes.
    """
    shape = {"layers": 2, "dim": 32, "heads": 4, "hidden": 48, "channels": (12,) * 7}
    positional = {"positional_width": 16, "positional_groups": 4}
    return kind(**shape | positional | options)


BASE = {"extractor_norm": "group", "conv_bias": False, "pre_norm": False}
DETECTORS = {
    "whisper-pooling": Detector(whisper(), PoolingHead(10)),
    "whisper-aasist": Detector(whisper(), AASISTHead(24, (3, 4))),
    "chosen layers": Detector(whisper(), PoolingHead(10), (0, 2)),
    "whisper-linear": Detector(whisper(), LinearHead(), (-1,)),
    "whisper-mhfa": Detector(whisper(), MHFAHead(10, 3)),
    "whisper-sls": Detector(whisper(), SLSHead(10)),
    "xlsr-linear": Detector(wav2vec2(), LinearHead(), (0, 2)),
    "xlsr-mhfa": Detector(wav2vec2(), MHFAHead(10, 3)),
    "xlsr-sls": Detector(wav2vec2(), SLSHead(10)),
    "xlsr-aasist": Detector(wav2vec2(), AASISTHead(24, (3, 4))),
    "xlsr-pooling": Detector(wav2vec2(scan=True), PoolingHead(10)),
    "normalize": Detector(wav2vec2(normalize=True), AASISTHead(21, (4, 4, 5))),
    "base": Detector(wav2vec2(**BASE), PoolingHead(10)),
    "wavlm-aasist": Detector(wav2vec2(WavLM), AASISTHead(24, (3, 4))),
    "base-aasist": Detector(wav2vec2(**BASE), AASISTHead(24, (3, 4))),
}


def randomize(module: Any, samples: int = SAMPLES, seed: int = 0) -> Any:
    """Returns variables without zeros and ones, as after training.

    Args:
      module: of a model, waveform → anything.
      samples: length of a window.
      seed: of the values.
    """
    waveform = jax.ShapeDtypeStruct((1, samples), np.float32)
    return draw(jax.eval_shape(module.init, jax.random.key(0), waveform), seed)


def draw(shapes: Any, seed: int = 0) -> Any:
    """Returns random variables.

    Args:
      shapes: of a module's variables, from ``jax.eval_shape``.
      seed: of the values.
    """
    rng = np.random.default_rng(seed)

    def values(path: Any, x: Any) -> np.ndarray:
        noise = rng.normal(size=x.shape)
        name = path[-1].key
        if name in ("var", "scale", "gain"):
            return np.exp(0.3 * noise).astype(np.float32)
        if x.ndim < 2 or name in ("shift", "mean"):
            return (0.2 * noise).astype(np.float32)
        return (noise / np.sqrt(np.prod(x.shape[:-1]))).astype(np.float32)

    wanted = {k: v for k, v in shapes.items() if k != "intermediates"}
    return jax.tree_util.tree_map_with_path(values, wanted)


def windows(samples: int = SAMPLES, count: int = 5) -> np.ndarray:
    """Returns windows of noise of different colour and level.

    Args:
      samples: length of a window.
      count: of the windows.
    """
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(count, samples))
    for i in range(1, count):
        noise[i] = np.convolve(noise[i], np.hanning(3 * i), "same")
    level = np.geomspace(0.3, 0.01, count)[:, None]
    return (level * noise / noise.std(1, keepdims=True)).clip(-1, 1).astype(np.float32)


def session(module: Any, variables: Any, samples: int = SAMPLES, **options: Any) -> Any:
    """Returns an onnxruntime session of a detector's graph.

    Args:
      module: the detector.
      variables: its parameters and statistics.
      samples: length of a window.
      **options: of ``detector_graph``.
    """
    import onnx
    import onnxruntime

    graph = detector_graph(module, variables, samples, **options)
    model = graph.model(samples, OUTPUTS, {})
    onnx.checker.check_model(model, full_check=True)
    return onnxruntime.InferenceSession(model.SerializeToString())
