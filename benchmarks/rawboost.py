"""Times RawBoost on utterances of 4.04 s, ours against numpy and scipy, on a CPU.

    python benchmarks/rawboost.py [--algorithms 1 5] [--batch 16] [--threads 1]

Ours is one jitted call for the batch. The baseline
(tests/data/augment/numpy_rawboost.py) has the same equations at its fastest settings:
float32, overlap-add convolution, and a generator that picks samples without ordering
them; with several threads, the utterances are distributed over them. Each side runs in
its own process, on the same cores, and the sides alternate. Prints JSON: median ms per
utterance in wall-clock and CPU time (which other load on the machine hardly affects),
and the ratios of ours to numpy's.
"""

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
SAMPLES = 64_600


def clips(count: int) -> np.ndarray:
    """Returns speech-like signals, (count, ``SAMPLES``).

    Args:
      count: how many.
    """
    from tests import signals

    seeds = range((count + 1) // 2)
    return np.concatenate([signals.speech_like(SAMPLES, i) for i in seeds])[:count]


def ours(batch: int) -> Callable[[int], None]:
    """Returns a function ``run(algorithm)`` of our RawBoost.

    Args:
      batch: utterances.
    """
    import jax

    from mldg_jax.data.augment.rawboost import rawboost

    waveform, keys = jax.device_put(clips(batch)), [jax.random.key(0)]

    def run(algorithm):
        keys.append(jax.random.fold_in(keys.pop(), 1))  # new draws every time
        rawboost(keys[0], waveform, algorithm=algorithm).block_until_ready()

    return run


def numpy(batch: int, threads: int) -> Callable[[int], None]:
    """Returns a function ``run(algorithm)`` of the numpy baseline.

    Args:
      batch: utterances.
      threads: over which the batch is distributed.
    """
    import scipy.signal

    from tests.data.augment.numpy_rawboost import rawboost

    waveform, pool = clips(batch), ThreadPoolExecutor(threads)
    generators = np.random.default_rng(0).spawn(batch)

    def run(algorithm):
        def augment(rng, clip):
            return rawboost(rng, clip, algorithm, scipy.signal.oaconvolve)

        if threads == 1:
            list(map(augment, generators, waveform))
        else:
            list(pool.map(augment, generators, waveform))

    return run


def worker(connection, side: str, options: argparse.Namespace) -> None:
    """Replies to every algorithm with the wall-clock and CPU time, in ms per utterance.

    Args:
      connection: to the parent; 0 ends the process.
      side: ``"ours"`` or ``"numpy"``.
      options: of the command line.
    """
    os.environ["JAX_PLATFORMS"] = "cpu"
    sys.path.insert(0, str(ROOT))
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    if side == "ours":
        run = ours(options.batch)
    else:
        run = numpy(options.batch, options.threads)
    for algorithm in options.algorithms:
        run(algorithm)
    connection.send("ready")
    while algorithm := connection.recv():
        start = np.array([time.perf_counter(), time.process_time()])
        run(algorithm)
        spent = [time.perf_counter(), time.process_time()] - start
        connection.send(1e3 * spent / options.batch)


def measure(options: argparse.Namespace) -> dict[str, dict[int, list[np.ndarray]]]:
    """Times alternating runs of both sides.

    Args:
      options: of the command line.

    Returns:
      (wall-clock, CPU) times in ms per utterance, by side, algorithm and run.
    """
    context = multiprocessing.get_context("spawn")
    ends, times = {}, {}
    for side in ("ours", "numpy"):
        ends[side], other = context.Pipe()
        context.Process(target=worker, args=(other, side, options), daemon=True).start()
        other.close()
        ends[side].recv()
        times[side] = {algorithm: [] for algorithm in options.algorithms}
    for algorithm in options.algorithms:
        for _ in range(options.runs):
            for side, end in ends.items():
                end.send(algorithm)
                times[side][algorithm].append(end.recv())
    for end in ends.values():
        end.send(0)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--algorithms", type=int, nargs="+", default=list(range(1, 9)))
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    times = measure(options)
    result = {**vars(options), "ms_a_clip": {}}
    for algorithm in options.algorithms:
        our_times, numpy_times = times["ours"][algorithm], times["numpy"][algorithm]
        rows = {
            "ours": np.median(our_times, axis=0),
            "numpy": np.median(numpy_times, axis=0),
            "ratio": np.median(np.divide(our_times, numpy_times), axis=0),
        }
        result["ms_a_clip"][algorithm] = {
            which: {name: round(float(row[i]), 3) for name, row in rows.items()}
            for i, which in enumerate(("clock", "cpu"))
        }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
