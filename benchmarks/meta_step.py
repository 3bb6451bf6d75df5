"""One MLDG step of the whole detector, ours against torch, first and second order.

    python benchmarks/meta_step.py [--head aasist] [--channels 32] [--rounds 15] …

A step is the meta-gradient of an episode with respect to the LoRA factors and the head:
extractor, transformer and head on both halves, in float32. Torch runs ``transformers``
and ``peft`` with ``functional_call`` (tests/parity/torch_detector.py, which is also
what the parity test takes), on the same parameters and clips; with the pooling head,
which has no dropout, the gradients are compared first. "frozen part" is the forward
pass of what precedes the first adapter, "product" a 2048³ matrix product.

MKL, which torch multiplies with, leaves AVX-512 unused on AMD's CPUs, at half the rate.
There a third side is torch with MKL made to take the CPU for an Intel one, by a
function that a C compiler makes for LD_PRELOAD: about what torch does on Intel's.

Every side is a process of its own, pinned to the same cores; they take turns, program
by program. On one thread the time is that of the CPU, which other work on the machine
disturbs least, otherwise the clock's. Prints JSON: medians in ms, and the median and
quartiles of ratios. Memory: what a step adds to the resident memory at its peak, and
for ours what the compiler says (temporaries, arguments and outputs), in MB.
"""

import argparse
import contextlib
import ctypes
import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
ORDERS = ("first", "second")
PROGRAMS = (*ORDERS, "frozen part", "product")
OPTIONS = {"inner_lr": 0.01, "beta": 1.0}
SIZE = 2048  # of the product
Programs = dict[str, Callable[[], Any]]


def episode(options: argparse.Namespace) -> dict[str, dict[str, np.ndarray]]:
    """Noise of the level of speech; half of every domain is bona fide."""
    rng, made = np.random.default_rng(0), {}
    for half, domains in zip(("meta_train", "meta_test"), options.domains, strict=True):
        shape = (domains, options.examples)
        noise = 0.1 * rng.normal(size=(*shape, options.samples))
        label = np.broadcast_to(np.arange(options.examples) % 2, shape).copy()
        made[half] = {"waveform": noise.astype(np.float32), "label": label}
    return made


def ours(options: argparse.Namespace) -> tuple[Any, tuple[dict, dict, dict]]:
    """The detector and its parameters, B not zero."""
    import jax

    from mldg_jax.models import aasist, detector, pooling, wav2vec2

    front = wav2vec2.Wav2Vec2(
        layers=options.layers,
        dim=options.dim,
        heads=options.heads,
        hidden=options.hidden,
        channels=(options.channels,) * 7,
    )
    heads = {"pooling": pooling.PoolingHead, "aasist": aasist.AASISTHead}
    made = detector.Detector(front, heads[options.head]())
    audio = episode(options)["meta_train"]["waveform"][0]
    frontend = jax.jit(front.init)(jax.random.key(0), audio[:1])["params"]
    trainable, *rest = detector.init(
        jax.random.key(1), made, frontend, audio, rank=options.rank
    )
    trainable = jax.tree.map(lambda x: x if x.any() else x + 0.003, trainable)
    return made, (trainable, *rest)


def our_programs(options: argparse.Namespace) -> tuple[Programs, Callable, dict]:
    """Programs, the named meta-gradient of an order, and the compiler's MB."""
    import jax

    from mldg_jax import mldg
    from mldg_jax.models import detector

    made, (trainable, batch_stats, frozen) = ours(options)
    key, data = jax.random.key(2), jax.tree.map(jax.numpy.asarray, episode(options))
    arguments = (trainable, batch_stats, frozen, data, key)

    def step(order):
        def gradient(trainable, batch_stats, frozen, data, key):
            loss_fn = detector.loss(made, batch_stats, frozen)
            objective = mldg.mldg(loss_fn, order=order, **OPTIONS)
            found, aux = jax.grad(objective, has_aux=True)(trainable, data, key)
            return found, aux["loss"]

        return jax.jit(gradient).lower(*arguments).compile()

    def frozen_part(frozen, data):
        front, params = made.frontend.clone(layers=0), {"params": frozen["frontend"]}
        halves = [half["waveform"].reshape(-1, options.samples) for half in data]
        return [front.apply(params, waveform) for waveform in halves]

    steps, before = {order: step(order) for order in ORDERS}, jax.jit(frozen_part)
    matrix, product = jax.numpy.ones((SIZE, SIZE)), jax.jit(lambda a: a @ a)
    programs = {o: lambda run=s: run(*arguments) for o, s in steps.items()} | {
        "frozen part": lambda: before(frozen, list(data.values())),
        "product": lambda: product(matrix),
    }
    memory = {}
    for order, compiled in steps.items():
        m = compiled.memory_analysis()
        total = m.temp_size_in_bytes + m.argument_size_in_bytes
        memory[order] = (total + m.output_size_in_bytes) / 1e6

    def gradient(order):
        from tests.parity import torch_detector

        return torch_detector.names(steps[order](*arguments)[0], torch_detector.POOLING)

    waiting = {
        k: lambda run=v: jax.block_until_ready(run()) for k, v in programs.items()
    }
    return waiting, gradient, memory


def torch_programs(options: argparse.Namespace) -> tuple[Programs, Callable, dict]:
    """The same in torch; its memory is not known beforehand."""
    import jax
    import torch

    from tests.parity import torch_detector

    torch.set_num_threads(options.threads)
    detector, parameters = ours(options)
    made = torch_detector.detector(detector, *parameters, dropout=True)
    del parameters
    data = jax.tree.map(torch.tensor, episode(options))

    def step(order):
        return torch_detector.meta_gradient(made, data, order=order, **OPTIONS)

    def frozen_part():
        with torch.inference_mode(), made.without_layers():
            for half in data.values():
                made.frontend(half["waveform"].flatten(0, 1))

    matrix = torch.ones(SIZE, SIZE)
    programs = {o: lambda o=o: step(o) for o in ORDERS} | {
        "frozen part": frozen_part,
        "product": lambda: matrix @ matrix,
    }

    def gradient(order):
        return {name: value.numpy() for name, value in step(order).items()}

    return programs, gradient, {}


def added_memory(program: Callable[[], Any]) -> float:
    """Peak of the resident memory over a run, above what is there before, in MB."""

    def status(name):
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(x.split()[1]) for x in lines if x.startswith(name)) / 1024

    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts here
    before = status("VmRSS")
    program()
    return status("VmHWM") - before


def worker(connection, side: str, options: argparse.Namespace) -> None:
    """Answers ("time" | "memory" | "gradient", program)."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    sys.path.insert(0, str(ROOT))
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    make = our_programs if side == "ours" else torch_programs
    programs, gradient, memory = make(options)
    clock = time.process_time if options.threads == 1 else time.perf_counter
    for program in programs.values():
        program()
    connection.send(memory)
    while request := connection.recv():
        what, name = request
        if what == "time":
            start = clock()
            programs[name]()
            connection.send(1e3 * (clock() - start))
        elif what == "memory":
            connection.send(added_memory(programs[name]))
        else:
            connection.send(gradient(name))


@contextlib.contextmanager
def intel_mkl(folder: str):
    """Processes started inside it have an MKL that uses AVX-512 on any CPU."""
    library = Path(folder) / "intel.so"
    source = "int mkl_serv_intel_cpu_true(void) { return 1; }"
    command = ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(library)]
    subprocess.run(command, input=source, text=True, check=True)
    os.environ["LD_PRELOAD"] = str(library)
    try:
        yield
    finally:
        del os.environ["LD_PRELOAD"]


def start(options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, dict]]:
    """Connections by side, and what the sides say of their memory."""
    context, ends, memory = multiprocessing.get_context("spawn"), {}, {}

    def run(side):
        ends[side], other = context.Pipe()
        context.Process(target=worker, args=(other, side, options), daemon=True).start()
        other.close()
        memory[side] = {"compiler": ends[side].recv()} if side == "ours" else {}
        if side != "ours":
            ends[side].recv()

    run("ours")
    run("torch")
    cpu = Path("/proc/cpuinfo").read_text()
    if "AuthenticAMD" in cpu and "avx512f" in cpu and shutil.which("cc"):
        with tempfile.TemporaryDirectory() as folder, intel_mkl(folder):
            run("torch, MKL as on Intel")
    return ends, memory


def spread(values: list[float], digits: int) -> dict[str, Any]:
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return {
        "median": round(middle, digits),
        "quartiles": [round(low, digits), round(high, digits)],
    }


def report(times: dict[str, dict[str, list[float]]]) -> dict[str, Any]:
    """Medians and ratios from the times of every side's programs, round by round."""

    def per(over, under):
        return spread([a / b for a, b in zip(over, under, strict=True)], 3)

    def trained(side, order):
        rounds = zip(times[side][order], times[side]["frozen part"], strict=True)
        return [whole - frozen for whole, frozen in rounds]

    result: dict[str, Any] = {"milliseconds": {}, "second / first": {}}
    for side, own in times.items():
        medians = {k: round(statistics.median(v), 1) for k, v in own.items()}
        result["milliseconds"][side] = medians
        result["second / first"][side] = per(own["second"], own["first"])
        if side != "ours":
            ratios = {k: per(times["ours"][k], v) for k, v in own.items()}
            for order in ORDERS:
                name = f"{order}, without the frozen part"
                ratios[name] = per(trained("ours", order), trained(side, order))
            result[f"ours / {side}"] = ratios
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--hidden", type=int, default=2048)
    parser.add_argument("--channels", type=int, default=512, help="of the extractor")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--head", choices=("pooling", "aasist"), default="pooling")
    parser.add_argument("--samples", type=int, default=16_000)
    parser.add_argument("--domains", type=int, nargs=2, default=[4, 2])
    parser.add_argument("--examples", type=int, default=4, help="of a domain")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    ends, memory = start(options)

    def ask(side, what, name):
        ends[side].send((what, name))
        return ends[side].recv()

    differences = {}
    for order in ORDERS if options.head == "pooling" else ():
        mine, theirs = (ask(side, "gradient", order) for side in ("ours", "torch"))
        squares = [
            (((mine[k] - v) ** 2).sum(), (v**2).sum()) for k, v in theirs.items()
        ]
        difference, size = np.sum(squares, axis=0)
        differences[order] = float((difference / size) ** 0.5)
        if differences[order] > 1e-3:
            sys.exit(f"the {order}-order gradients differ by {differences[order]:.1e}")
    times = {side: {name: [] for name in PROGRAMS} for side in ends}
    for _ in range(options.rounds):
        for name in PROGRAMS:
            for side in ends:
                times[side][name].append(ask(side, "time", name))
    for side in ends:
        memory[side]["resident"] = {o: ask(side, "memory", o) for o in ORDERS}
        ends[side].send(None)
    clock = "CPU" if options.threads == 1 else "wall"
    result = {**vars(options), "clock": clock, "gradients differ by": differences}
    rounded = jax_free_round(memory)
    print(json.dumps(result | report(times) | {"memory": rounded}, indent=1))


def jax_free_round(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {k: jax_free_round(v) for k, v in tree.items()}
    return round(tree)


if __name__ == "__main__":
    main()
