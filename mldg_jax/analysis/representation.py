"""What the front-end's frames and the head's embeddings look like."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from sklearn.decomposition import PCA

from mldg_jax.models.detector import Detector


def cka(one: np.ndarray, other: np.ndarray) -> float:
    """Linear centred kernel alignment (Kornblith et al. 2019, arXiv 1905.00414).

    1 for representations that a rotation, a shift and a common factor make equal; near
    0 for unrelated ones when there are many more frames than dimensions.

    Args:
      one: (frames, dim).
      other: (frames, other dim), the same frames.

    Returns:
      In [0, 1]; NaN where one of the two is constant.
    """
    x, y = (np.asarray(z, np.float64) for z in (one, other))
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    both = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    return float(np.linalg.norm(x.T @ y) ** 2 / both) if both else float("nan")


def cka_by_layer(
    detector: Detector,
    one: Mapping[str, Any],
    other: Mapping[str, Any],
    waveform: np.ndarray,
    *,
    chunk: int = 16,
) -> np.ndarray:
    """CKA between two models' frames, layer by layer.

    Args:
      detector: both models' architecture.
      one, other: ``{"params": {"frontend": …}}``, with or without adapters.
      waveform: (n, samples) at 16 kHz.
      chunk: utterances at once.

    Returns:
      (layers + 1,) float64: the transformer's input, then every layer's output.
    """
    pairs = zip(
        hidden_states(detector, one, waveform, chunk=chunk),
        hidden_states(detector, other, waveform, chunk=chunk),
        strict=True,
    )
    return np.array([cka(x, y) for x, y in pairs])


def hidden_states(
    detector: Detector,
    variables: Mapping[str, Any],
    waveform: np.ndarray,
    *,
    chunk: int = 16,
) -> list[np.ndarray]:
    """The frames of every layer, layers + 1 arrays (n · frames, dim) float32."""
    params = {"params": {"frontend": variables["params"]["frontend"]}}
    found = _in_chunks(
        lambda x: _hidden_states(params, x, detector=detector), waveform, chunk
    )
    return [x.reshape(-1, x.shape[-1]) for x in found]


@functools.partial(jax.jit, static_argnames="detector")
def _hidden_states(variables, waveform, *, detector):
    def states(module, x):
        return module.frontend(x, hidden_states=True)[1]

    return detector.apply(variables, waveform, method=states)


def embeddings(
    detector: Detector,
    variables: Mapping[str, Any],
    waveform: np.ndarray,
    *,
    chunk: int = 16,
) -> np.ndarray:
    """What the head's last linear layer sees of each utterance.

    Args:
      detector, variables: a model.
      waveform: (n, samples) at 16 kHz.
      chunk: utterances at once.

    Returns:
      (n, dim) float32; for AASIST the read-out (n, 160).
    """
    return _in_chunks(
        lambda x: _embeddings(variables, x, detector=detector), waveform, chunk
    )


@functools.partial(jax.jit, static_argnames="detector")
def _embeddings(variables, waveform, *, detector):
    seen = []

    def watch(call, arguments, options, context):
        if isinstance(context.module, nn.Dense) and context.module.features == 2:
            seen.append(arguments[0])
        return call(*arguments, **options)

    with nn.intercept_methods(watch):
        detector.apply(variables, waveform)
    return seen[-1]


def pca(embedded: np.ndarray, dims: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """The principal components of embeddings (n, dim).

    Returns:
      Coordinates (n, dims) and the share of the variance in each (dims,).
    """
    found = PCA(dims, svd_solver="full")
    return found.fit_transform(embedded), found.explained_variance_ratio_


def _in_chunks(function: Callable, waveform: np.ndarray, chunk: int) -> Any:
    """``function`` of parts of equal length, the last one padded; results joined."""
    parts = []
    for start in range(0, len(waveform), chunk):
        part = jnp.asarray(waveform[start : start + chunk])
        padded = jnp.pad(part, ((0, chunk - len(part)), (0, 0)))
        found = jax.tree.map(lambda x: np.asarray(x)[: len(part)], function(padded))  # noqa: B023
        parts.append(found)
    return jax.tree.map(lambda *x: np.concatenate(x), *parts)
