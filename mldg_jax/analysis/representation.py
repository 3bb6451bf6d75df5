"""Representations: the front-end's frames and the head's embeddings."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.decomposition import PCA

from mldg_jax.models.detector import Detector, last_layer_inputs


def cka(one: np.ndarray, other: np.ndarray) -> float:
    """Computes linear centred kernel alignment (CKA).

    Defined by Kornblith et al. 2019 (arXiv 1905.00414). CKA is 1 for representations
    that are equal up to rotation, shift and scale, and near 0 for unrelated ones if
    there are many more frames than dimensions.

    Args:
      one: (frames, dim).
      other: (frames, other dim), for the same frames.

    Returns:
      CKA in [0, 1]; NaN if either representation is constant.
    """
    x, y = (np.asarray(z, np.float64) for z in (one, other))
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    norms = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    return float(np.linalg.norm(x.T @ y) ** 2 / norms) if norms else float("nan")


def cka_by_layer(
    detector: Detector,
    one: Mapping[str, Any],
    other: Mapping[str, Any],
    waveform: np.ndarray,
    *,
    chunk: int = 16,
) -> np.ndarray:
    """Computes CKA between the frames of two models, layer by layer.

    Args:
      detector: architecture of both models.
      one: variables of the first model, ``{"params": {"frontend": …}}``, with or
        without adapters.
      other: variables of the second model, likewise.
      waveform: (n, samples) at 16 kHz.
      chunk: number of utterances computed at once.

    Returns:
      (layers + 1,) float64: CKA of the transformer's input, then of every layer's
      output.
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
    """Computes the frames of every layer.

    Args:
      detector: the model.
      variables: its variables; only those of the front-end are used.
      waveform: (n, samples) at 16 kHz.
      chunk: number of utterances computed at once.

    Returns:
      The transformer's input and every layer's output: layers + 1 arrays (n · frames,
      dim).
    """
    params = {"params": {"frontend": variables["params"]["frontend"]}}
    states = _in_chunks(
        lambda x: _hidden_states(params, x, detector=detector), waveform, chunk
    )
    return [x.reshape(-1, x.shape[-1]) for x in states]


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
    """Computes the input of the head's last linear layer for every utterance.

    Args:
      detector: the model.
      variables: its variables.
      waveform: (n, samples) at 16 kHz.
      chunk: number of utterances computed at once.

    Returns:
      (n, dim) embeddings; for AASIST the read-out (n, 160).
    """
    return _in_chunks(
        lambda x: _embeddings(variables, x, detector=detector), waveform, chunk
    )


@functools.partial(jax.jit, static_argnames="detector")
def _embeddings(variables, waveform, *, detector):
    with last_layer_inputs() as inputs:
        detector.apply(variables, waveform)
    return inputs[-1]


def pca(embedded: np.ndarray, dims: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Projects embeddings on their principal components.

    Args:
      embedded: (n, dim).
      dims: number of components.

    Returns:
      Coordinates (n, dims), and each component's share of the variance (dims,).
    """
    model = PCA(dims, svd_solver="full")
    return model.fit_transform(embedded), model.explained_variance_ratio_


def _in_chunks(function: Callable, waveform: np.ndarray, chunk: int) -> Any:
    """Applies a function chunk by chunk and concatenates the results.

    The last chunk is padded, so that all share one compiled program.
    """
    results = []
    for start in range(0, len(waveform), chunk):
        part = jnp.asarray(waveform[start : start + chunk])
        padded = jnp.pad(part, ((0, chunk - len(part)), (0, 0)))
        result = jax.tree.map(lambda x: np.asarray(x)[: len(part)], function(padded))  # noqa: B023
        results.append(result)
    return jax.tree.map(lambda *x: np.concatenate(x), *results)
