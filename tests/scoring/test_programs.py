"""Scores do not depend on the device's default precision."""

import re

import jax
import jax.export
import numpy as np

from mldg_jax.scoring import programs, scorer


def test_scores_are_computed_in_full_float32_on_every_platform(smoke_run):
    """Accelerators would round products to TF32 or bfloat16."""
    ready = scorer.load(smoke_run)
    batch = np.zeros((scorer.BATCH, ready.samples), np.float32)
    program = jax.jit(lambda v, x: programs.scores(v, x, detector=ready.detector))
    for platform in ("cuda", "tpu"):
        lowered = jax.export.export(program, platforms=[platform])
        text = lowered(ready.variables, batch).mlir_module()
        products = re.findall(r"stablehlo\.(?:dot_general|convolution).*", text)
        assert len(products) > 10
        assert not [x for x in products if "HIGHEST" not in x]
