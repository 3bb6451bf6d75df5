"""What a front-end costs up to each of its layers."""

import functools
from typing import Any

import jax
import numpy as np

from mldg_jax.data.mixdown import SAMPLE_RATE
from mldg_jax.experiments.probing.layer_means import FrozenFrontEnd
from mldg_jax.training.tpu_plan.flops import count_flops


def multiply_adds(front_end: FrozenFrontEnd) -> list[int]:
    """Counts the multiply-adds of matrix products and convolutions.

    Args:
      front_end: the front-end.

    Returns:
      (layers + 1,) for a second of speech, in windows of the front-end: of what is
      below the first layer, then of everything up to each layer.
    """
    waveform = jax.ShapeDtypeStruct((1, front_end.samples), np.float32)
    return [
        round(_flops(front_end, layers, waveform) / 2 * SAMPLE_RATE / front_end.samples)
        for layers in range(front_end.depth + 1)
    ]


def _flops(front_end: FrozenFrontEnd, layers: int, waveform: Any) -> int:
    module = front_end.detector.frontend.clone(layers=layers, scan=False)

    def last_state(params: Any, x: Any) -> Any:
        outputs: Any = module.apply({"params": params}, x, hidden_states=True)
        return outputs[1][-1]

    jaxpr = jax.make_jaxpr(functools.partial(last_state, front_end.params))(waveform)
    return count_flops(jaxpr, "cpu")
