"""The compiled programs that score windows and embed them.

Their products are in full float32: accelerators would round to TF32 or bfloat16, and
scores would depend on the device.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from mldg_jax.models.detector import Detector, score_logits
from mldg_jax.models.frame_head import on_grid


@functools.partial(jax.jit, static_argnames="detector")
def scores(variables: Any, waveform: jax.Array, *, detector: Detector) -> jax.Array:
    """Scores windows, without calibration.

    Args:
      variables: of the detector.
      waveform: (batch, samples) float32, 16 kHz.
      detector: the model.

    Returns:
      (batch,) float32, higher for bona fide.
    """
    with jax.default_matmul_precision("highest"):
        logits: Any = detector.apply(variables, waveform)
        return score_logits(logits)


@functools.partial(jax.jit, static_argnames="detector")
def frame_scores(
    variables: Any, waveform: jax.Array, *, detector: Detector
) -> jax.Array:
    """Scores windows and their frames, without calibration.

    Args:
      variables, waveform, detector: see ``scores``; the detector's head locates spoof.

    Returns:
      (batch, 1 + frames) float32: the window's score, then that of every 20 ms.
    """

    def located(module, x):
        return module.locate(module.features(x))

    with jax.default_matmul_precision("highest"):
        logits: Any = detector.apply(variables, waveform, method=located)
        whole = score_logits(logits.utterance)[:, None]
        frames = on_grid(score_logits(logits.frames), waveform.shape[1])
        return jnp.concatenate([whole, frames], axis=1)


@functools.partial(jax.jit, static_argnames="detector")
def layer_states(
    variables: Any, waveform: jax.Array, *, detector: Detector
) -> jax.Array:
    """Computes the states of every layer of the front-end.

    Args:
      variables, waveform, detector: see ``scores``.

    Returns:
      (layers, batch, frames, dim), see ``Detector.layers``.
    """

    def states(module, x):
        return jnp.stack(module.layers(x))

    with jax.default_matmul_precision("highest"):
        result: Any = detector.apply(variables, waveform, method=states)
        return result
