"""One small training step with known results: does this machine compute it right?

All parts of a real step are in it (log-mel, convolutions, attention with adapters, the
second-order meta-gradient, Adam), and no random number, so that its results depend on
nothing but the arithmetic.
"""

import math
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from mldg_jax.common.config_values import complete
from mldg_jax.models.detector import create_detector
from mldg_jax.training.build import build_state, build_step

SAMPLES = 3_200
SETTINGS = {
    "crop_samples": SAMPLES,
    "model": {
        "frontend": {
            "kind": "whisper",
            "layers": 2,
            "dim": 32,
            "heads": 2,
            "hidden": 64,
            "positions": 100,
        },
        "head": {"kind": "pooling"},
        "lora": {"rank": 4, "alpha": 4.0},
    },
    "objective": {"name": "mldg", "inner_lr": 0.1, "order": "second"},
    "optimizer": {"lr": 1e-2, "warmup": 0},
}
# Computed in float64 (tests/training/machine/test_reference_step.py does it again).
EXPECTED = {
    "loss": 9.973230652378758,
    "gradient_norm": 135.3866440013765,
    "inner_gradient_norm": 29.02613856205678,
}
# Relative. Accelerators round float32 products to TF32 or bfloat16 by default.
_TOLERANCE = {"cpu": 1e-4, "gpu": 1e-2, "tpu": 5e-2}


class Result(NamedTuple):
    """What the step computed.

    Attributes:
      values: its metrics ``loss``, ``gradient_norm`` and ``inner_gradient_norm``.
      gradient: the meta-gradient, flattened.
    """

    values: dict[str, float]
    gradient: np.ndarray


def run(device: jax.Device, dtype: Any = np.float32) -> Result:
    """Computes the step.

    Args:
      device: where to compute.
      dtype: of the parameters and the waveforms; float64 needs JAX's x64 mode.

    Returns:
      The result.
    """
    config = complete(SETTINGS)
    detector = create_detector(config.model)
    episode = _episode(dtype)
    waveform = episode["meta_train"]["waveform"][0]
    with jax.default_device(device):
        frontend = jax.eval_shape(detector.frontend.init, jax.random.key(0), waveform)[
            "params"
        ]
        draw = np.random.RandomState(0)  # its numbers never change between releases
        state, frozen = build_state(
            config, detector, _filled(frontend, draw, dtype), waveform
        )
        state = state._replace(
            trainable=_filled(state.trainable, draw, dtype),
            batch_stats=jax.tree.map(lambda x: x.astype(dtype), state.batch_stats),
        )
        step = jax.jit(build_step(config, detector))
        state, metrics = step(state, frozen, episode)
    # After one step, Adam's first moment is a tenth of the gradient.
    moments = optax.tree.get_all_with_path(state.opt_state, "mu")
    leaves = [np.ravel(x) for _, tree in moments for x in jax.tree.leaves(tree)]
    names = ("loss", "gradient_norm", "inner_gradient_norm")
    return Result(
        {name: float(metrics[name]) for name in names}, 10 * np.concatenate(leaves)
    )


def tolerance(platform: str) -> float:
    """Returns the largest ``deviation`` that rounding explains.

    Args:
      platform: "cpu", "gpu" or "tpu".

    Returns:
      A relative deviation.
    """
    return _TOLERANCE.get(platform, max(_TOLERANCE.values()))


def difference(result: Result, other: Result) -> float:
    """Returns the norm of the difference of two gradients, relative to the second."""
    gap = np.linalg.norm(result.gradient - other.gradient)
    return float(gap / np.linalg.norm(other.gradient))


def deviation(result: Result) -> float:
    """Returns the largest relative deviation from the values computed in float64."""
    return max(abs(result.values[k] / x - 1) for k, x in EXPECTED.items())


def _filled(tree: Any, draw: np.random.RandomState, dtype: Any) -> Any:
    """Replaces leaves by numbers that let every layer matter."""

    def fill(path, leaf):
        numbers = draw.normal(size=leaf.shape)
        name = jax.tree_util.keystr(path[-1:])
        if "scale" in name:
            return (1 + 0.1 * numbers).astype(dtype)
        fan_in = math.prod(leaf.shape[:-1]) if len(leaf.shape) > 1 else 100
        return (numbers / math.sqrt(fan_in)).astype(dtype)

    return jax.tree_util.tree_map_with_path(fill, tree)


def _episode(dtype: Any) -> dict[str, dict[str, np.ndarray]]:
    """Returns harmonics of a gliding pitch; "spoof" has no glide."""
    time = np.arange(SAMPLES) / 16_000

    def half(first):
        label = np.tile(np.array([0, 0, 1, 1], np.int32), (2, 1))  # (domains, examples)
        pitch = 100 + 15 * (first + np.arange(8)).reshape(2, 4, 1)
        phase = 2 * np.pi * pitch * (time + 0.1 * label[..., None] * time**2)
        waveform = sum(np.sin(k * phase) / (10 * k) for k in range(1, 12))
        return {
            "waveform": np.asarray(waveform, dtype),  # (domains, examples, samples)
            "label": label,
            "seed": np.zeros(label.shape, np.uint32),
        }

    return {"meta_train": half(0), "meta_test": half(8)}
