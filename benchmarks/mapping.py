"""Compares the step under pmap with the step under jit and shard_map.

    python benchmarks/mapping.py [--devices 2] [--rounds 7]

Emulated CPU devices, the MLDG step of a small detector, both orders, episodes from the
host as in training. The measurements alternate; prints the medians and their ratio as
JSON. On emulated devices this shows the cost of dispatch, not of communication.
"""

import argparse
import json
import os
import statistics
import time


def main() -> None:
    """Measures both mappings and prints the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    flag = f"--xla_force_host_platform_device_count={options.devices}"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}"

    for order in ("first", "second"):
        runs = {name: Runner(order, name, options) for name in ("pmap", "shard_map")}
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        for round_number in range(options.rounds + 1):
            for name, run in runs.items():
                started = time.perf_counter()
                run()
                if round_number:  # the first round warms up
                    seconds[name].append(time.perf_counter() - started)
        medians = {k: statistics.median(v) / options.steps for k, v in seconds.items()}
        result = {
            "benchmark": "mapping",
            "order": order,
            "devices": options.devices,
            "step_ms": {name: round(1e3 * x, 2) for name, x in medians.items()},
            "shard_map_to_pmap": round(medians["shard_map"] / medians["pmap"], 3),
            "compile_seconds": {
                k: round(v.compile_seconds, 1) for k, v in runs.items()
            },
        }
        print(json.dumps(result))


class Runner:
    """Steps on one episode under one mapping.

    Attributes:
      compile_seconds: of the first step.
    """

    def __init__(self, order, mapping, options):
        import jax

        from mldg_jax.data import loader
        from mldg_jax.training import parallel
        from mldg_jax.training.build import build_step
        from tests import small

        devices = jax.devices()[: options.devices]
        config = small.config(f"objective.order={order}")
        axis_name = parallel.axis_name(devices)
        detector = small.detector(axis_name)
        corpus, domains = small.domains()
        state, frozen = small.init(config, detector)
        step = build_step(config, detector, axis_name=axis_name)
        self.step = parallel.compile_step(step, devices, mapping)
        drawn = small.sample_episode(domains, 0)
        drawn = loader.shard_episode(drawn, *parallel.local_shard(devices))
        self.episode = small.load_episode(drawn, corpus)
        self.state = parallel.replicate(state, devices)
        self.frozen = parallel.replicate(frozen, devices)
        self.steps = 1
        started = time.perf_counter()
        self()
        self.compile_seconds = time.perf_counter() - started
        self.steps = options.steps

    def __call__(self):
        import jax

        for _ in range(self.steps):
            self.state, metrics = self.step(self.state, self.frozen, self.episode)
        jax.block_until_ready(metrics)


if __name__ == "__main__":
    main()
