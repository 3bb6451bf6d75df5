"""Times an MLDG step from waveforms against one from cached features.

    python benchmarks/feature_cache.py [--layers 8] [--rounds 7]

Measures a model of XLS-R's width with some of its layers, and Whisper tiny with the
layers of configs/debspoof.py; pooling head, float32, first order. First checks that
both steps have the same loss. The steps alternate; prints medians as JSON.
"""

import argparse
import json
import statistics
import time

import jax
import numpy as np

from mldg_jax import mldg
from mldg_jax.models.detector import Detector, frontend_prefix
from mldg_jax.models.loss import cross_entropy
from mldg_jax.models.pooling import PoolingHead
from mldg_jax.models.split import init_parameters
from mldg_jax.models.wav2vec2 import Wav2Vec2
from mldg_jax.models.whisper import WhisperEncoder


def main() -> None:
    """Measures both models and prints the results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--layers", type=int, default=8, help="of XLS-R's 24")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    print(
        json.dumps(
            {
                "benchmark": "prefixes",
                f"XLS-R, {options.layers} layers, 4 × 4.04 s": measure(
                    Wav2Vec2(layers=options.layers), 64_600, 2, options.rounds
                ),
                "Whisper tiny, 2 layers, 16 × 0.64 s": measure(
                    WhisperEncoder(layers=2), 10_240, 8, options.rounds
                ),
            },
            indent=1,
        )
    )


def measure(frontend, samples: int, attacks: int, rounds: int) -> dict:
    """Times both steps of a model.

    Args:
      frontend: the encoder.
      samples: length of a crop, at 16 kHz.
      attacks: domains of an episode, half of them meta-test; two utterances each.
      rounds: alternating runs.

    Returns:
      Median milliseconds of both steps, the median ratio of cached features to
      waveforms, and the difference of the losses.
    """
    detector = Detector(frontend, PoolingHead())
    rng = np.random.default_rng(0)
    shape = (attacks // 2, 2, samples)
    halves = {
        name: {
            "waveform": (0.1 * rng.normal(size=shape)).astype(np.float32),
            "label": np.tile([0, 1], (attacks // 2, 1)),
        }
        for name in ("meta_train", "meta_test")
    }
    examples = halves["meta_train"]["waveform"][0]
    params = jax.jit(frontend.init)(jax.random.key(0), examples[:1])["params"]
    trainable, batch_stats, frozen = init_parameters(
        jax.random.key(1), detector, params, examples, rank=16
    )
    prefix = jax.jit(lambda p, x: frontend_prefix(detector, p, x))
    cached = {
        name: {
            "label": half["label"],
            "prefix": np.stack([prefix(params, x) for x in half["waveform"]]),
        }
        for name, half in halves.items()
    }

    @jax.jit
    def step(trainable, batch_stats, frozen, episode, key):
        loss_fn = cross_entropy(detector, batch_stats, frozen)
        objective = mldg.mldg(loss_fn, inner_lr=0.01)
        return jax.value_and_grad(objective, has_aux=True)(trainable, episode, key)

    def run(episode):
        key = jax.random.key(2)
        result = step(trainable, batch_stats, frozen, episode, key)
        (loss, _), _ = jax.block_until_ready(result)
        return float(loss)

    losses = [run(halves), run(cached)]
    assert abs(losses[0] - losses[1]) < 1e-6 * abs(losses[0]), losses
    seconds: dict[str, list[float]] = {"waveforms": [], "prefixes": []}
    for _ in range(rounds):
        for name, episode in (("waveforms", halves), ("prefixes", cached)):
            start = time.perf_counter()
            run(episode)
            seconds[name].append(time.perf_counter() - start)
    pairs = zip(seconds["prefixes"], seconds["waveforms"], strict=True)
    return {
        "milliseconds": {
            name: round(1e3 * statistics.median(x), 1) for name, x in seconds.items()
        },
        "prefixes / waveforms": round(statistics.median(a / b for a, b in pairs), 3),
        "losses differ by": abs(losses[0] - losses[1]),
    }


if __name__ == "__main__":
    main()
