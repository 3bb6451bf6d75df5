"""Measures the episodes per second of the loader and of a LoRA step of Whisper tiny.

    python benchmarks/loader.py [--corpus debspoof/small] [--data-dir data]

The step is that of configs/debspoof.py:mldg. The loader is measured alone, on the
prepared corpus: decoding every recording (as for a corpus too large for memory) and
with the recordings in memory (as for up to ten hours), with and without the config's
augmentation. The measurements alternate; prints medians over a few rounds as JSON.
"""

import argparse
import json
import statistics
import time

import jax
import numpy as np

from mldg_jax.data import episodes, loader
from mldg_jax.data.augment.section import from_config
from mldg_jax.data.corpus import find_corpus, load_split
from mldg_jax.models import pretrained
from mldg_jax.models.detector import create_detector
from mldg_jax.training import parallel
from mldg_jax.training.build import build_state, build_step
from mldg_jax.training.config_files import read_config_file


def main() -> None:
    """Measures the loader and the step and prints the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", default="debspoof/small")
    parser.add_argument("--data-dir", default="data")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--episodes", type=int, default=20)
    options = parser.parse_args()
    name, _, size = options.corpus.partition("/")
    folder = find_corpus(name, size, options.data_dir)
    corpus, decoded = (load_split(folder, "train", kept_seconds=s) for s in (np.inf, 0))
    config = read_config_file("configs/debspoof.py:mldg")
    domains = episodes.group(corpus)

    def load(corpus, augment):
        sampling = {k: getattr(config.episode, k) for k in loader.SAMPLED}
        make = loader.sampler(
            domains,
            corpus,
            seed=0,
            options=sampling,
            samples=config.crop_samples,
            augment=augment,
        )

        def run(start):
            steps = range(start, start + options.episodes)
            for _ in loader.prefetch(
                make,
                steps,
                threads=config.loader.threads,
                workers=config.loader.workers,
            ):
                pass

        return run

    host, _ = from_config(config.augment)
    for row in range(len(corpus.label)):
        corpus.waveform(row)  # decodes it into memory
    runs = {
        "decoding": load(decoded, None),
        "decoding, augmented": load(decoded, host),
        "in memory": load(corpus, None),
        "in memory, augmented": load(corpus, host),
        "step": step_runner(config, domains, corpus, options.episodes),
    }
    seconds = {name: [] for name in runs}
    for number in range(options.rounds + 1):
        for name, run in runs.items():
            started = time.perf_counter()
            run(number * options.episodes)
            if number:  # the first round warms up
                seconds[name].append(time.perf_counter() - started)
    rate = {
        name: options.episodes / statistics.median(times)
        for name, times in seconds.items()
    }
    print(
        json.dumps(
            {
                "benchmark": "loader",
                "episodes_per_second": {k: round(v, 2) for k, v in rate.items()},
                "times_the_step": {
                    k: round(v / rate["step"], 1)
                    for k, v in rate.items()
                    if k != "step"
                },
                "clips_per_episode": len(domains.attacks)
                * config.episode.examples_per_attack,
                "samples": config.crop_samples,
                "corpus": options.corpus,
            }
        )
    )


def step_runner(config, domains, corpus, count):
    """Returns a function that runs training steps on one preloaded episode.

    Args:
      config: of the run.
      domains: of ``episodes.group``.
      corpus: of the episode.
      count: steps of a call.
    """
    detector = create_detector(config.model, None, config.compute)
    frontend = pretrained.load_frontend(config.model)
    make = loader.sampler(
        domains,
        corpus,
        seed=0,
        options={k: getattr(config.episode, k) for k in loader.SAMPLED},
        samples=config.crop_samples,
    )
    _, episode = make(0)
    examples = episode["meta_train"]["waveform"].reshape(-1, config.crop_samples)
    state, frozen = build_state(config, detector, frontend, examples)
    step = parallel.compile_step(build_step(config, detector), jax.devices()[:1])
    holder = [state]

    def run(start):
        del start
        for _ in range(count):
            holder[0], metrics = step(holder[0], frozen, episode)
        jax.block_until_ready(metrics)

    return run


if __name__ == "__main__":
    main()
