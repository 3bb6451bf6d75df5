"""Step time of every objective, as a ratio to ERM's, beside its gradient evaluations.

    python benchmarks/objectives.py [--rounds 15]

The step is that of configs/debspoof.py (two layers of Whisper tiny.en, LoRA, pooling,
eight attacks of two 0.64 s examples). Methods take turns in every round, so that other
work on the machine meets all alike; the median of each method's ratios is printed.
"""

import argparse
import time

import jax
import numpy as np

from mldg_jax.models import pretrained
from mldg_jax.models.detector import create_detector
from mldg_jax.training.build import build_state, build_step
from mldg_jax.training.config_files import PLAIN, read_config_file
from mldg_jax.training.objective_section import gradient_evaluations

ATTACKS = 8


def episode(config) -> dict:
    """Returns an episode of noise with the shapes of the config."""
    rng = np.random.default_rng(0)
    half, examples = config.episode.num_meta_test, config.episode.examples_per_attack

    def part(numbers):
        shape = len(numbers), examples
        label = np.repeat([[0, 1]], examples // 2, axis=1)
        return {
            "waveform": rng.normal(0, 0.1, (*shape, config.crop_samples)).astype("f4"),
            "label": np.repeat(label, len(numbers), axis=0).astype("i4"),
            "seed": rng.integers(2**32, size=shape).astype("u4"),
            "domain": np.asarray(numbers, "i4"),
        }

    numbers = list(range(ATTACKS))
    return {"meta_train": part(numbers[half:]), "meta_test": part(numbers[:half])}


def prepared(method: str):
    """Returns a compiled step, its state and how many gradients it counts."""
    config = read_config_file(f"configs/debspoof.py:{method}")
    detector = create_detector(config.model)
    frontend = pretrained.load_frontend(config.model)
    examples = np.zeros((1, config.crop_samples), np.float32)
    state, frozen = build_state(
        config, detector, frontend, examples, num_domains=ATTACKS
    )
    step = jax.jit(build_step(config, detector, num_domains=ATTACKS))
    arguments = state, frozen, episode(config)
    jax.block_until_ready(step(*arguments))
    return step, arguments, gradient_evaluations(config, ATTACKS)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    methods = ["erm", "mldg", "mldg2", *PLAIN]
    steps = {method: prepared(method) for method in methods}
    times: dict[str, list[float]] = {method: [] for method in methods}
    for _ in range(rounds):
        for method, (step, arguments, _) in steps.items():
            started = time.perf_counter()
            jax.block_until_ready(step(*arguments))
            times[method].append(time.perf_counter() - started)
    erm, base = np.array(times["erm"]), steps["erm"][2]
    print("method     gradients  time  (both relative to ERM)")
    for method in methods:
        ratio = np.median(np.array(times[method]) / erm)
        print(f"{method:<10} {steps[method][2] / base:>9.2f} {ratio:>5.2f}")


if __name__ == "__main__":
    main()
