"""Times an MLDG step of the whole detector, ours against torch, in both orders.

    python benchmarks/meta_step.py [--head aasist] [--channels 32] [--rounds 15] …

A step is the meta-gradient of an episode with respect to the LoRA factors and the head:
extractor, transformer and head on both halves, in float32. Torch runs ``transformers``
and ``peft`` with ``functional_call`` (tests/parity/torch_detector.py, also used by the
parity test), on the same parameters and audio. With the pooling head, which has no
dropout, the gradients are compared first. "frozen part" is the forward pass up to the
first adapter, "product" a 2048³ matrix product.

On AMD CPUs MKL, torch's matrix library, does not use AVX-512 and runs at half the rate.
There, a third side is torch with MKL forced to treat the CPU as an Intel one, by a
preloaded function (needs a C compiler). It approximates torch on an Intel CPU.

Every side runs in its own process, pinned to the same cores; the sides alternate,
program by program. With one thread the times are CPU times, which other load on the
machine affects least, otherwise wall-clock times. Prints JSON: medians in ms, and the
median and quartiles of ratios. Memory is what a step adds to the resident memory at its
peak and, for ours, the compiler's figure (temporaries, arguments and outputs), in MB.
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
from sides.meta_step import ORDERS, PROGRAMS, our_programs, torch_programs

ROOT = Path(__file__).parents[1]


def added_memory(program: Callable[[], Any]) -> float:
    """Returns how far resident memory peaks above its level before a run, in MB.

    Args:
      program: run once, without arguments.
    """

    def status(name):
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(x.split()[1]) for x in lines if x.startswith(name)) / 1024

    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = status("VmRSS")
    program()
    return status("VmHWM") - before


def worker(connection, side: str, options: argparse.Namespace) -> None:
    """Replies to requests ``("time" | "memory" | "gradient", program)``.

    Args:
      connection: to the parent; a false request ends the process.
      side: ``"ours"``, or anything else for torch.
      options: of the command line.
    """
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
    """Lets MKL use AVX-512 on any CPU, in processes started inside the context.

    Args:
      folder: where the preloaded library is written.
    """
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
    """Starts the processes of all sides.

    Args:
      options: of the command line.

    Returns:
      Connections by side, and for each side a dictionary for its memory, with the
      compiler's figure for ours.
    """
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
    """Returns the median and quartiles of values, rounded.

    Args:
      values: at least two.
      digits: decimals.
    """
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return {
        "median": round(middle, digits),
        "quartiles": [round(low, digits), round(high, digits)],
    }


def report(times: dict[str, dict[str, list[float]]]) -> dict[str, Any]:
    """Computes medians and ratios.

    Args:
      times: in ms, by side, program and round.
    """

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
    result |= report(times) | {"memory": rounded(memory)}
    print(json.dumps(result, indent=1))


def rounded(tree: Any) -> Any:
    """Rounds the numbers in nested dictionaries to integers.

    Args:
      tree: a number, or a dictionary of such trees.
    """
    if isinstance(tree, dict):
        return {k: rounded(v) for k, v in tree.items()}
    return round(tree)


if __name__ == "__main__":
    main()
