"""Times a training step of the AASIST back-end, ours against torch, on this CPU.

    python benchmarks/aasist.py [--model raw] [--batch 16] [--runs 15] [--threads 2]

A step is the loss and its gradient with respect to every parameter and the input, in
training mode with dropout. Each side runs in its own process, on the same cores. The
sides alternate, so that other load on the machine affects both. Prints JSON: median and
minimum times in ms, and the ratio of ours to torch's.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[1]
SHAPES = {"head": (201, 1024), "raw": (64_600,)}


def ours(kind: str, batch: int) -> Callable[[], None]:
    """Returns our step, compiled.

    Args:
      kind: ``"head"`` or ``"raw"``, see ``SHAPES``.
      batch: examples.
    """
    import jax
    import jax.numpy as jnp

    from mldg_jax.models.aasist import AASIST, AASISTHead

    model = {"head": AASISTHead, "raw": AASIST}[kind]()
    x = jax.random.normal(jax.random.key(0), (batch, *SHAPES[kind]))
    variables = jax.jit(model.init)(jax.random.key(1), x[:1])
    label = jnp.arange(batch) % 2

    def loss(params, x, batch_stats, key):
        parts = {"params": params, "batch_stats": batch_stats}
        rngs = {"dropout": key}
        logits, state = model.apply(parts, x, True, rngs=rngs, mutable="batch_stats")
        picked = jnp.take_along_axis(jax.nn.log_softmax(logits), label[:, None], 1)
        return -picked.mean(), state

    gradient = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))
    arguments = (variables["params"], x, variables["batch_stats"], jax.random.key(2))
    return lambda: jax.block_until_ready(gradient(*arguments))


def theirs(kind: str, batch: int, threads: int) -> Callable[[], None]:
    """Returns the step of torch.

    Args:
      kind: ``"head"`` or ``"raw"``, see ``SHAPES``.
      batch: examples.
      threads: of torch.
    """
    import torch

    from tests.parity import torch_aasist

    torch.set_num_threads(threads)
    models = {"head": torch_aasist.Head, "raw": torch_aasist.Raw}
    model = models[kind](dropout=True).train()
    x = torch.randn(batch, *SHAPES[kind], requires_grad=True)
    label = torch.arange(batch) % 2

    def step():
        loss = torch.nn.functional.cross_entropy(model(x), label)
        loss.backward()
        model.zero_grad()
        x.grad = None

    return step


def worker(connection, side: str, options: argparse.Namespace) -> None:
    """Replies to every message with the time of one step, in ms.

    Args:
      connection: to the parent; a false message ends the process.
      side: ``"ours"`` or ``"torch"``.
      options: of the command line.
    """
    os.environ["JAX_PLATFORMS"] = "cpu"
    sys.path.insert(0, str(ROOT))
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    if side == "torch":
        step = theirs(options.model, options.batch, options.threads)
    else:
        step = ours(options.model, options.batch)
    for _ in range(2):
        step()
    connection.send("ready")
    while connection.recv():
        start = time.perf_counter()
        step()
        connection.send(1e3 * (time.perf_counter() - start))


def measure(options: argparse.Namespace, sides: list[str]) -> dict[str, list[float]]:
    """Times alternating runs of both sides.

    Args:
      options: of the command line.
      sides: ``"ours"``, ``"torch"``.

    Returns:
      Times in ms, by side.
    """
    context = multiprocessing.get_context("spawn")
    ends = {}
    for side in sides:
        ends[side], other = context.Pipe()
        context.Process(target=worker, args=(other, side, options), daemon=True).start()
        other.close()
        ends[side].recv()
    times = {side: [] for side in sides}
    for _ in range(options.runs):
        for side, end in ends.items():
            end.send(True)
            times[side].append(end.recv())
    for end in ends.values():
        end.send(False)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", choices=SHAPES, default="head")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    sides = ["ours"]
    if find_spec("torch"):
        sides.append("torch")
    else:
        print("no ratio: torch is not installed (make test-parity installs it)")
    times = measure(options, sides)
    medians = {side: statistics.median(t) for side, t in times.items()}
    result = {**vars(options), "median_ms": medians}
    result["least_ms"] = {side: min(t) for side, t in times.items()}
    if "torch" in medians:
        result["ratio"] = medians["ours"] / medians["torch"]
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
