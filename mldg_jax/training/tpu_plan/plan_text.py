"""The plan for a TPU slice in words."""

from typing import Any

from mldg_jax.models.wav2vec2 import SAMPLE_RATE
from mldg_jax.training.tpu_plan.chips import GIB


def text(result: dict[str, Any]) -> str:
    """What ``mldg plan`` prints of the result of ``compiled_step.plan``."""
    lines = [
        f"{result['topology']}: {result['chips']} chips, {result['batch']} utterances "
        f"of {result['samples'] / SAMPLE_RATE:.2f} s a chip and step "
        f"({result['attacks']} attacks × {result['examples']})",
        _settings(result),
        "",
        *_memory_lines(result),
        "",
        *_work_lines(result),
    ]
    for kind, entry in result["collectives"].items():
        megabytes = entry["bytes"] / 1e6
        lines.append(f"{entry['count']} {kind} of {megabytes:.1f} MB together")
    if best := result.get("largest_batch"):
        lines.append(f"largest batch that fits: {best} utterances a chip")
    elif best == 0:
        lines.append("no batch fits, not even the smallest")
    return "\n".join(lines)


def _settings(result: dict[str, Any]) -> str:
    objective, compute = result["objective"], result["compute"]
    parts = [objective["name"]]
    if "order" in objective:
        parts.append(f"{objective['order']} order")
    parts.append(compute["dtype"])
    if compute["scan"]:
        parts.append("one layer for all (scan)")
    if compute["remat"]:
        parts.append("layers recomputed")
    if compute["micro_batches"] > 1:
        parts.append(f"{compute['micro_batches']} micro-batches")
    return ", ".join(parts)


def _memory_lines(result: dict[str, Any]) -> list[str]:
    if result["memory"] is None:
        return [f"it does not fit: {result['refused']}"]
    lines = ["memory a chip           GiB"]
    lines += [f"  {k:18}{v / GIB:7.2f}" for k, v in result["memory"].items()]
    lines[-1] += f" of {result['hbm'] / GIB:.2f}: it fits"
    return lines


def _work_lines(result: dict[str, Any]) -> list[str]:
    bound = result["bound_seconds"]
    what = max(bound, key=bound.get)
    rate = result["batch"] * result["chips"] / bound[what]
    logged = ""
    if result["flops_logged"] > result["flops"]:
        logged = f" ({result['flops_logged'] / 1e12:.2f} where it is logged)"
    return [
        f"{result['flops'] / 1e12:.2f} TFLOP a chip and step{logged}: matrix products "
        "and convolutions, recomputation included; elementwise work is not counted",
        f"a step takes at least {1e3 * bound[what]:.0f} ms, at most {rate:,.0f} "
        f"utterances/s on the slice: roofline bound by {what}, no prediction",
    ]
