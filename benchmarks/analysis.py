"""Times the gradients by attack: one vmapped pass against a loop over attacks.

    python benchmarks/analysis.py [--attacks 12] [--examples 4] [--runs 15]

DebSpoof's detector (Whisper tiny's first two layers with random weights, LoRA r 8,
pooling head, crops of 0.64 s). The variants alternate, so that other load on the
machine affects all of them. Prints JSON: medians in ms, and their ratios to the loop's.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--attacks", type=int, default=12)
    parser.add_argument("--examples", type=int, default=4)
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args()

    import jax
    import numpy as np

    from mldg_jax.analysis import gradients, losses
    from mldg_jax.models.detector import create_detector
    from mldg_jax.training.build import build_state
    from mldg_jax.training.config_files import read_config_file

    config = read_config_file(str(ROOT / "configs" / "debspoof.py") + ":mldg")
    detector = create_detector(config.model)
    rng = np.random.default_rng(0)
    shape = options.attacks, 1, options.examples
    batches = {
        "waveform": rng.normal(size=(*shape, config.crop_samples)).astype(np.float32)
        / 10,
        "label": np.broadcast_to(np.arange(options.examples) % 2, shape),
    }
    frontend = jax.jit(detector.frontend.init)(
        jax.random.key(0), batches["waveform"][0, 0]
    )
    state, frozen = build_state(
        config, detector, frontend["params"], batches["waveform"][0, 0]
    )
    loss = losses.evaluation(detector, state.batch_stats, frozen)
    batches = jax.device_put(batches)

    def vmapped(chunk):
        return gradients.stacked(loss, state.trainable, batches, None, chunk=chunk)

    def loop():
        one = lambda i: jax.tree.map(lambda x: x[i : i + 1], batches)  # noqa: E731
        return [
            gradients.stacked(loss, state.trainable, one(i), None)
            for i in range(options.attacks)
        ]

    variants = {
        "loop": loop,
        "vmapped": lambda: vmapped(None),
        "chunks of 4": lambda: vmapped(4),
        "chunks of 1": lambda: vmapped(1),
    }
    times = {name: [] for name in variants}
    for number in range(options.runs + 1):
        for name, variant in variants.items():
            start = time.perf_counter()
            jax.block_until_ready(variant())
            if number:  # the first round compiles
                times[name].append(1e3 * (time.perf_counter() - start))
    medians = {name: statistics.median(t) for name, t in times.items()}
    ratio = {name: t / medians["loop"] for name, t in medians.items()}
    print(json.dumps({**vars(options), "median_ms": medians, "ratio": ratio}, indent=2))


if __name__ == "__main__":
    main()
