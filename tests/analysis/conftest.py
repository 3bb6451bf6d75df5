"""A detector with LoRA, attention and BatchNorm, small enough for dense Hessians."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mldg_jax.analysis import losses, subjects
from mldg_jax.training.build import build_state
from tests import signals, small


class Problem(NamedTuple):
    detector: Any
    trainable: Any
    batch_stats: Any
    frozen: Any
    loss: Any
    examples: subjects.Examples

    @property
    def batch(self):
        return self.examples.batch


@pytest.fixture(scope="session")
def problem():
    """Builds the detector, its loss and some utterances, in double precision."""
    with jax.enable_x64(True):
        detector = small.detector(lora_scale=0.5)
        config = small.config("model.lora.rank=2")
        waveform = np.ones((1, small.SAMPLES), np.float32)
        frontend = jax.jit(detector.frontend.init)(jax.random.key(1), waveform)
        state, frozen = small.double(
            build_state(config, detector, frontend["params"], waveform)
        )
        examples = subjects.choose(signals.corpus(), examples=4, samples=small.SAMPLES)
        examples = examples._replace(batch=small.double(examples.batch))
        loss = losses.evaluation(detector, state.batch_stats, frozen)
        # Away from the initial parameters, where B and the updates would be zero.
        trainable = jax.tree.map(
            lambda x: jnp.asarray(3 * np.asarray(x)), small.fill(state.trainable)
        )
        return Problem(detector, trainable, state.batch_stats, frozen, loss, examples)
