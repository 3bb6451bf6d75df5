"""Memory of the compiled passes for the paper's 300M model, from shapes alone."""

import jax
import jax.numpy as jnp
import pytest

from mldg_jax import lora
from mldg_jax.analysis import gradients, losses
from mldg_jax.common.config import ComputeSection
from mldg_jax.models.detector import create_detector
from mldg_jax.training.build import build_state
from mldg_jax.training.config_files import read_config_file

ATTACKS, EXAMPLES = 6, 2


@pytest.mark.full
def test_gradients_by_attack_take_the_memory_of_a_chunk(capsys):
    config = read_config_file("configs/xlsr.py:mldg")
    compute = ComputeSection(scan=True)
    detector = create_detector(config.model, None, compute)
    clip = jax.ShapeDtypeStruct((1, config.crop_samples), jnp.float32)
    frontend = jax.eval_shape(detector.frontend.init, jax.random.key(0), clip)
    state, frozen = jax.eval_shape(
        lambda f, x: build_state(config, detector, f, x), frontend["params"], clip
    )
    frozen = jax.tree.map(lambda x: x.update(dtype=jnp.float32), frozen)
    assert lora.count(state.trainable) == 3_592_970
    loss = losses.evaluation(detector, state.batch_stats, frozen)
    shape = ATTACKS, 1, EXAMPLES
    batches = {
        "waveform": jax.ShapeDtypeStruct((*shape, config.crop_samples), jnp.float32),
        "label": jax.ShapeDtypeStruct(shape, jnp.int32),
    }
    found = {}
    for chunk in (None, 1):
        lowered = gradients.stacked.lower(
            loss, state.trainable, batches, None, chunk=chunk
        )
        memory = lowered.compile().memory_analysis()
        found[chunk] = memory.temp_size_in_bytes / 2**30
        with capsys.disabled():
            print(f"\nchunk {chunk}: {found[chunk]:.2f} GiB of temporaries")
    assert found[1] < found[None] / 3
