"""Runs five training steps on emulated devices and writes the results, as a process.

    python -m tests.devices OUT.npz --devices 1 4 --orders first --dtypes float64
    python -m tests.devices OUT.npz --devices 4 --emulate 2 --coordinator HOST:PORT \
        --processes 2 --process 0

Under the prefix "order/dtype/devices/" (with ``--mappings shard_map``
"order/dtype/devices shard_map/"), OUT holds the meta-gradient of the first step
and, after five steps, the change of the parameters, the batch statistics and the last
metrics.
"""

import argparse
import itertools
import os

import numpy as np


def arguments():
    """Parses the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("--devices", type=int, nargs="+")
    parser.add_argument("--orders", nargs="+", default=["first", "second"])
    parser.add_argument("--dtypes", nargs="+", default=["float64"])
    parser.add_argument("--mappings", nargs="+", default=["pmap"])
    parser.add_argument("--emulate", type=int, default=8)
    parser.add_argument("--coordinator")
    parser.add_argument("--processes", type=int)
    parser.add_argument("--process", type=int)
    return parser.parse_args()


def run(devices, order, cast, mapping="pmap"):
    """Takes five training steps.

    Args:
      devices: of JAX.
      order: of MLDG, ``"first"`` or ``"second"``, or the name of another objective.
      cast: a function of a tree, for its dtype.
      mapping: of the step to several devices.

    Returns:
      Arrays by path.
    """
    import jax

    from mldg_jax.common.config_values import with_values
    from mldg_jax.data import loader
    from mldg_jax.training import parallel
    from mldg_jax.training.build import build_step
    from tests import small

    if order in ("first", "second"):
        config = small.config(f"objective.order={order}")
    else:
        config = with_values(small.config(), {"objective": {"name": order}})
        if order in ("vrex", "irm", "fishr"):
            config = with_values(config, {"objective.anneal_steps": 0})
    axis_name = parallel.axis_name(devices)
    detector = small.detector(axis_name)
    corpus, domains = small.domains()
    count = len(domains.attacks)
    state, frozen = cast(small.init(config, detector, num_domains=count))
    start = jax.tree.map(np.array, state.trainable)
    step = parallel.compile_step(
        build_step(config, detector, axis_name=axis_name, num_domains=count),
        devices,
        mapping,
    )
    state, frozen = (parallel.replicate(x, devices) for x in (state, frozen))
    for number in range(5):
        drawn = small.sample_episode(domains, number)
        drawn = loader.shard_episode(drawn, *parallel.local_shard(devices))
        state, metrics = step(
            state, frozen, cast(small.load_episode(drawn, corpus, with_domain=True))
        )
        if number == 0:
            # after one step, Adam's first moment is a tenth of the gradient
            gradient = jax.tree.map(np.asarray, first_moments(state.opt_state))
    results = {
        "gradient": jax.tree.map(lambda x: 10 * x, gradient),
        "moved": jax.tree.map(lambda x, y: np.asarray(x) - y, state.trainable, start),
        "batch_stats": state.batch_stats,
        "metrics": metrics,
    }
    flat, _ = jax.tree_util.tree_flatten_with_path(results)
    return {jax.tree_util.keystr(path): np.asarray(x) for path, x in flat}


def first_moments(opt_state):
    """Returns Adam's first moments, one tree for each parameter group.

    Args:
      opt_state: of optax.
    """
    import jax

    def has(x):
        return hasattr(x, "mu")

    return [x.mu for x in jax.tree.leaves(opt_state, is_leaf=has) if has(x)]


def main():
    """Runs every combination of the options and writes the results."""
    options = arguments()
    os.environ["XLA_FLAGS"] = (
        os.environ.get("XLA_FLAGS", "")
        + f" --xla_force_host_platform_device_count={options.emulate}"
    )
    import jax

    from mldg_jax.training import parallel
    from tests import small

    if options.coordinator:
        parallel.connect(options.coordinator, options.processes, options.process)
    results = {}
    for dtype in options.dtypes:
        double = dtype == "float64"
        jax.config.update("jax_enable_x64", double)
        for order in options.orders:
            for count, mapping in itertools.product(options.devices, options.mappings):
                if count == 1 and mapping != options.mappings[0]:
                    continue  # one device needs no mapping
                cast = small.double if double else lambda tree: tree
                result = run(parallel.devices(count), order, cast, mapping)
                on = (
                    f"{count}"
                    if mapping == "pmap" or count == 1
                    else f"{count} {mapping}"
                )
                name = f"{order}/{dtype}/{on}/"
                results |= {name + key: value for key, value in result.items()}
    np.savez(options.out, **results)


if __name__ == "__main__":
    main()
