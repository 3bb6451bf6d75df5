"""Episodes a second from the loader, against what a Whisper-tiny LoRA step consumes.

    python benchmarks/loader.py [--corpus debspoof/small] [--data-dir data]

The step is configs/debspoof.py:mldg. The loader is measured alone, reading the prepared
corpus: first decoding every recording (as a corpus too large for memory does), then
with the recordings in memory (as up to ten hours are), with and without the config's
augmentation. By turns with the step, medians of a few rounds; prints JSON.
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
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", default="debspoof/small")
    parser.add_argument("--data-dir", default="data")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--episodes", type=int, default=20)
    options = parser.parse_args()
    name, _, size = options.corpus.partition("/")
    folder = find_corpus(name, size, options.data_dir)
    corpus, read = (load_split(folder, "train", kept_seconds=s) for s in (np.inf, 0))
    config = read_config_file("configs/debspoof.py:mldg")
    domains = episodes.group(corpus)

    def serve(corpus, augment):
        draw = {k: getattr(config.episode, k) for k in loader.DRAWN}
        make = loader.sampler(
            domains,
            corpus,
            seed=0,
            options=draw,
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
        corpus.waveform(row)
    runs = {
        "decoding": serve(read, None),
        "decoding, augmented": serve(read, host),
        "in memory": serve(corpus, None),
        "in memory, augmented": serve(corpus, host),
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
        name: options.episodes / statistics.median(found)
        for name, found in seconds.items()
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
    """Runs training steps on one episode that is there already."""
    detector = create_detector(config.model, None, config.compute)
    frontend = pretrained.load_frontend(config.model)
    make = loader.sampler(
        domains,
        corpus,
        seed=0,
        options={k: getattr(config.episode, k) for k in loader.DRAWN},
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
