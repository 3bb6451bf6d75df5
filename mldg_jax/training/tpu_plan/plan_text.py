"""The plan for a TPU slice as text."""

from mldg_jax.models.wav2vec2 import SAMPLE_RATE
from mldg_jax.training.tpu_plan.chips import GIB
from mldg_jax.training.tpu_plan.compiled_step import StepPlan


def text(plan: StepPlan) -> str:
    """Formats a plan for a terminal, as ``mldg plan`` prints it.

    Args:
      plan: the plan.

    Returns:
      Lines of text.
    """
    lines = [
        f"{_slices(plan)}: {plan.chips} chips, {plan.batch} utterances of "
        f"{plan.samples / SAMPLE_RATE:.2f} s per chip and step ({plan.attacks} attacks "
        f"× {plan.examples})",
        _settings(plan),
        "",
        *_memory_lines(plan),
        "",
        *_work_lines(plan),
    ]
    for kind, entry in plan.program.collectives.items():
        lines.append(f"{entry.count} × {kind}, {entry.bytes / 1e6:.1f} MB in total")
    if plan.largest_batch:
        lines.append(
            f"largest batch that fits: {plan.largest_batch} utterances per chip"
        )
    elif plan.largest_batch == 0:
        lines.append("even the smallest batch does not fit")
    return "\n".join(lines)


def _slices(plan: StepPlan) -> str:
    return f"{plan.slices} × {plan.topology}" if plan.slices > 1 else plan.topology


def _settings(plan: StepPlan) -> str:
    objective, compute = plan.objective, plan.compute
    parts = [objective["name"]]
    if "order" in objective:
        parts.append(f"{objective['order']} order")
    parts.append(compute["dtype"])
    if compute["scan"]:
        parts.append("scan over layers")
    if compute["remat"]:
        parts.append("layers recomputed (remat)")
    if compute["micro_batches"] > 1:
        parts.append(f"{compute['micro_batches']} micro-batches")
    return ", ".join(parts)


def _memory_lines(plan: StepPlan) -> list[str]:
    if plan.program.memory is None:
        return [f"does not fit: {plan.program.refused}"]
    lines = ["memory per chip         GiB"]
    sizes = plan.program.memory.to_json().items()
    lines += [f"  {name:18}{size / GIB:7.2f}" for name, size in sizes]
    lines[-1] += f" of {plan.hbm / GIB:.2f}: fits"
    return lines


def _work_lines(plan: StepPlan) -> list[str]:
    bound, flops = plan.bound_seconds, plan.program.flops
    bottleneck = max(bound, key=lambda name: bound[name])
    rate = plan.batch * plan.chips / bound[bottleneck]
    logged = ""
    if plan.program.flops_logged > flops:
        logged = f" ({plan.program.flops_logged / 1e12:.2f} in logged steps)"
    return [
        f"{flops / 1e12:.2f} TFLOP per chip and step{logged}: matrix products and "
        "convolutions, including recomputation; elementwise work is not counted",
        f"a step takes at least {1e3 * bound[bottleneck]:.0f} ms, at most {rate:,.0f} "
        f"utterances/s on all chips: a roofline bound ({bottleneck}), not a prediction",
    ]
