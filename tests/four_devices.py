"""One device against four emulated ones, float64; prints "equal". Run as a process."""

import os

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"

import jax

jax.config.update("jax_enable_x64", True)

import numpy as np

from mldg_jax import configs, parallel, training
from mldg_jax.data import episodes
from mldg_jax.models.detector import Detector
from mldg_jax.models.pooling import PoolingHead
from mldg_jax.models.whisper import WhisperEncoder
from tests import signals

SMALL = {"layers": 1, "dim": 32, "heads": 2, "hidden": 64, "positions": 100}


def run(devices, order, corpus):
    """Two steps; the trained parameters and the last metrics."""
    config = configs.read(
        "configs/debspoof.py:mldg,smoke",
        [f"objective.order={order}", "objective.inner_lr=0.1", "optimizer.lr=1e-2"],
    )
    encoder = WhisperEncoder(**SMALL)
    detector = Detector(encoder, PoolingHead(dim=16))
    frontend = encoder.init(jax.random.key(1), np.zeros((1, 1_600)))["params"]
    state, frozen = training.init_state(config, detector, frontend, np.ones((1, 1_600)))
    state, frozen = jax.tree.map(
        lambda x: x.astype("float64") if x.dtype == "float32" else x, (state, frozen)
    )
    step = training.make_step(config, detector, axis_name=parallel.axis_name(devices))
    step = parallel.compile_step(step, devices)
    state, frozen = (parallel.replicate(x, devices) for x in (state, frozen))
    domains = episodes.group(corpus)
    for number in range(2):
        drawn = episodes.draw(domains, seed=0, step=number, meta_test=2, examples=8)
        episode = episodes.cut(drawn, corpus, samples=1_600)
        episode = jax.tree.map(
            lambda x: x.astype("float64") if x.dtype == "float32" else x, episode
        )
        state, metrics = step(state, frozen, parallel.shard(episode, devices))
        jax.block_until_ready(state)
    return state["trainable"], metrics


def main():
    corpus = signals.corpus()
    results = {}
    for order in ("first", "second"):
        one, metrics_1 = run(jax.devices()[:1], order, corpus)
        four, metrics_4 = run(jax.devices(), order, corpus)
        jax.tree.map(
            lambda x, y: np.testing.assert_allclose(x, y, rtol=0, atol=1e-10), one, four
        )
        for name, value in metrics_1.items():
            np.testing.assert_allclose(metrics_4[name], value, rtol=1e-9, err_msg=name)
        results[order] = np.asarray(one["head"]["logits"]["kernel"])
    assert np.abs(results["first"] - results["second"]).max() > 1e-6
    print("equal")


if __name__ == "__main__":
    main()
