"""Figures of the analysis of one run, as SVG text."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mldg_jax.analysis import fisher
from mldg_jax.analysis.report import drawing
from mldg_jax.analysis.report.drawing import axes, heat
from mldg_jax.analysis.study import RunAnalysis
from mldg_jax.common import plots
from mldg_jax.common.plots import CHANCE, GRID

HALVES = {"F": "meta-train", "G": "meta-test"}


def run_analysis_figures(study: RunAnalysis) -> dict[str, str]:
    """Draws the figures of one run's analysis.

    Args:
      study: the analysis. Without adapters, figures about them are omitted.

    Returns:
      SVG text by the name of the figure.
    """
    drawers = {
        "attacks": _attacks, "blocks": _blocks, "along": _along, "noise": _noise,
        "reward": _reward, "top": _top, "taylor": _taylor, "orders": _orders,
        "density": _density, "plane": _plane, "embedding": _embedding,
    }  # fmt: skip
    if study.geometry is not None:
        drawers |= {"spectra": _spectra, "fisher": _fisher, "cka": _cka}
    else:
        del drawers["blocks"], drawers["orders"]
    if study.along[-1].own is not None:
        drawers["own"] = _own
    return drawing.draw(drawers, study)


def _attacks(study: RunAnalysis) -> Figure:
    names = study.attacks
    side = 2.2 + 0.55 * len(names)
    figure = Figure(figsize=(side, side), layout="constrained")
    ax = figure.subplots()
    cosine = study.along[-1].similarity.cosine
    title = "Do the attacks' gradients agree?"
    image = heat(
        ax, cosine, names, names, title, limits=(-1, 1), colours=drawing.DIVERGING
    )
    ax.set_xticks(range(len(names)), names, rotation=45, ha="right")
    figure.colorbar(image, label="cosine of the two gradients", shrink=0.7)
    return figure


def _blocks(study: RunAnalysis) -> Figure:
    blocks = study.cosine_by_block
    mean = drawing.off_diagonal(blocks.values)
    return drawing.heats_by_factor(
        blocks, mean, "mean cosine", limits=(-1, 1), colours=drawing.DIVERGING
    )


def _along(study: RunAnalysis) -> Figure:
    figure, ax = axes("Agreement along training", "training step", "cosine")
    steps = [x.step for x in study.along]
    different = ~np.eye(len(study.attacks), dtype=bool)
    cosine = np.array([x.similarity.cosine[different] for x in study.along])
    colour = plots.style(3)[0]
    low, high = np.percentile(cosine, [10, 90], axis=1)
    ax.fill_between(steps, low, high, color=colour, alpha=0.2, lw=0)
    ax.plot(steps, cosine.mean(axis=1), color=colour, marker="^", lw=1.8)
    ax.axhline(0, color=CHANCE, lw=1)
    ax.set_ylim(-1.02, 1.02)
    return _from_start(figure, ax, study)


def _own(study: RunAnalysis) -> Figure:
    title = f"Gradient of {study.objective}"
    figure, ax = axes(title, "training step", "cosine")
    steps = [x.step for x in study.along]
    own = [x.own for x in study.along if x.own is not None]
    lines = (
        ([x.cosine for x in own], "with the mean loss's gradient", 3),
        ([x.by_attack.min() for x in own], "with the least aligned attack's", 5),
    )
    for values, label, style in lines:
        colour, marker = plots.style(style)
        ax.plot(steps, values, color=colour, marker=marker, lw=1.8, label=label)
    ax.axhline(0, color=CHANCE, lw=1)
    ax.set_ylim(-1.02, 1.02)
    plots.legend(figure, ax)
    return _from_start(figure, ax, study)


def _noise(study: RunAnalysis) -> Figure:
    figure, ax = axes("Gradient noise scale", "training step", "examples")
    steps = np.array([x.step for x in study.along])
    scale = np.array([float(x.noise.scale) for x in study.along])
    finite = np.isfinite(scale)
    ax.plot(steps[finite], scale[finite], color=plots.style(1)[0], marker="D", lw=1.8)
    ax.set_yscale("log")
    plots.plain_ticks(ax.yaxis)
    return _from_start(figure, ax, study)


def _reward(study: RunAnalysis) -> Figure:
    """Draws the Taylor terms at the α of ``study.inner``."""
    figure, ax = axes("Effect of the inner step", "training step", "nats")
    steps = [x.step for x in study.along]
    middle = len(study.along[0].taylor.inner_lr) // 2  # 1 × this α
    for name, label, style in (
        ("alignment", "−β α F′·G′", 3), ("remainder", "remainder", 5)
    ):  # fmt: skip
        values = [getattr(x.taylor, name)[middle] for x in study.along]
        colour, marker = plots.style(style)
        ax.plot(steps, values, color=colour, marker=marker, lw=1.8, label=label)
    ax.axhline(0, color=CHANCE, lw=1)
    plots.legend(figure, ax)
    return _from_start(figure, ax, study)


def _top(study: RunAnalysis) -> Figure:
    figure, ax = axes("Largest curvature", "training step", "largest eigenvalue")
    for style, (name, half) in zip((3, 5), HALVES.items(), strict=True):
        # Empty if no eigenvalue converged.
        converged = [x for x in study.along if len(x.top[name])]
        colour, marker = plots.style(style)
        values = [x.top[name][0] for x in converged]
        steps = [x.step for x in converged]
        ax.plot(
            steps, values, color=colour, marker=marker, lw=1.8, label=f"{name}, {half}"
        )
    ax.set_ylim(bottom=0)
    plots.legend(figure, ax)
    return _from_start(figure, ax, study)


def _from_start(figure: Figure, ax: Axes, study: RunAnalysis) -> Figure:
    """Gives every figure along training the same axis of steps, starting at 0."""
    ax.set_xlim(0, 1.03 * study.along[-1].step)
    return figure


def _taylor(study: RunAnalysis) -> Figure:
    terms = study.along[-1].taylor
    figure, ax = axes("Terms of the MLDG objective", "inner learning rate α", "nats")
    lines = (
        (np.abs(terms.alignment), "|β α F′·G′|", plots.style(3), "-"),
        (np.abs(terms.remainder), "|remainder|", plots.style(5), "-"),
        (np.abs(terms.predicted), "|β α²/2 F′ᵀG″F′|", plots.style(0), ":"),
    )
    for values, label, (colour, marker), dashes in lines:
        ax.plot(
            terms.inner_lr, values, color=colour, marker=marker, ls=dashes, label=label
        )
    ax.axhline(terms.resolution, color=CHANCE, lw=1, ls="--", label="rounding error")
    label = "the run's α" if study.inner.own else f"α = {study.inner.inner_lr:g}"
    ax.axvline(study.inner.inner_lr, color=CHANCE, lw=1, label=label)
    ax.set(xscale="log", yscale="log")
    plots.plain_ticks(ax.xaxis, ax.yaxis)
    plots.legend(figure, ax)
    return figure


def _orders(study: RunAnalysis) -> Figure:
    blocks = study.along[-1].orders.by_block
    cosine = blocks.values[..., 0]
    low = min(0.9, float(np.nanmin(cosine)))
    label = "cosine, first : second order"
    return drawing.heats_by_factor(blocks, cosine, label, limits=(low, 1), digits=3)


def _density(study: RunAnalysis) -> Figure:
    figure, ax = axes("Spectrum of the Hessian", "eigenvalue", "density")
    nodes = np.concatenate([x.nodes.ravel() for x in study.density.values()])
    span = np.ptp(nodes)
    grid = np.linspace(nodes.min() - 0.05 * span, nodes.max() + 0.05 * span, 600)
    highest = 0.0
    for style, (name, density) in zip((3, 5), study.density.items(), strict=True):
        colour, marker = plots.style(style)
        curve = density.at(grid, 0.01 * span)
        highest = max(highest, curve.max())
        ax.plot(grid, curve, color=colour, lw=1.6, label=f"{name}, {HALVES[name]}")
        top = study.along[-1].top[name]
        height = np.full(len(top), 1e-5 / span)
        ax.plot(top, height, color=colour, marker=marker, ls="", clip_on=False)
    ax.set_yscale("log")
    ax.set_ylim(1e-5 / span, 3 * highest)
    plots.plain_ticks(ax.yaxis)
    plots.legend(figure, ax)
    return figure


def _spectra(study: RunAnalysis) -> Figure:
    assert study.geometry is not None
    spectra = study.geometry.spectra
    figure, ax = axes(
        "Spectra of the updates", "index of singular value", "relative to largest"
    )
    numbers = np.arange(1, spectra.singular.shape[-1] + 1)
    for j, projection in enumerate(spectra.projections):
        colour, marker = plots.style(j + 1)
        for i in range(len(spectra.layers)):
            values = spectra.singular[i, j]
            label = projection if i == 0 else None
            ax.plot(
                numbers, values / values[0], color=colour, marker=marker, ms=4,
                lw=1, alpha=0.8, label=label,
            )  # fmt: skip
    ax.set_yscale("log")
    plots.plain_ticks(ax.yaxis)
    plots.legend(figure, ax)
    return figure


def _fisher(study: RunAnalysis) -> Figure:
    assert study.geometry is not None
    mass = study.geometry.mass
    size = 6.4, 1.4 + 0.34 * len(mass.layers)
    figure = Figure(figsize=size, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    share = 100 * fisher.shares(mass.merged)
    rows, columns = (
        drawing.layer_names(mass.layers),
        drawing.projection_names(mass.projections),
    )
    top = float(np.nanmax(share))
    heat(left, share, rows, columns, "share of the mass, %", limits=(0, top), digits=1)
    rank = mass.merged_rank
    limits = float(np.nanmin(rank)), float(np.nanmax(rank))
    heat(right, rank, rows, columns, "effective rank", limits=limits, digits=1)
    return figure


def _cka(study: RunAnalysis) -> Figure:
    assert study.cka is not None
    figure, ax = axes("Adapted against frozen frames", "after layer", "linear CKA")
    layers = range(len(study.cka))
    ax.plot(layers, study.cka, color=plots.style(3)[0], marker="^", lw=1.8)
    ax.set_xticks(layers, ["input", *map(str, layers[:-1])])
    ax.set_ylim(top=1.0 + 0.05 * (1 - min(0.98, study.cka.min())))
    return figure


def _embedding(study: RunAnalysis) -> Figure:
    shares = [f"{100 * x:.0f} % of the variance" for x in study.explained]
    title = "Input of the last layer"
    figure = Figure(figsize=(6.2, 4.6), layout="constrained")
    ax = figure.subplots()
    ax.set_title(title, loc="left")
    ax.set_xlabel(f"first principal component ({shares[0]})")
    ax.set_ylabel(f"second ({shares[1]})")
    ax.grid(color=GRID, lw=0.8)
    bonafide = study.embedding[study.label == 1]
    ax.scatter(*bonafide.T, s=22, color="#BBBBBB", marker="o", label="bona fide")
    for i, attack in enumerate(study.attacks):
        points = study.embedding[i][study.label[i] == 0]
        colour = plots.style(i)[0]
        # Shifted by one in every round, so that attacks of one colour differ in it.
        marker = plots.STYLES[(i + i // len(plots.STYLES)) % 7][1]
        ax.scatter(
            *points.T, s=30, color=colour, marker=marker, edgecolors="white",
            linewidths=0.5, label=attack,
        )  # fmt: skip
    figure.legend(loc="outside right upper", fontsize=8)
    return figure


def _plane(study: RunAnalysis) -> Figure:
    figure, ax = axes("Loss around the run", "first direction", "second direction")
    plane = study.plane
    filled = ax.contourf(plane.x, plane.y, plane.loss, 14, cmap=drawing.RISING)
    ax.contour(plane.x, plane.y, plane.loss, 14, colors="white", linewidths=0.4)
    ax.plot([0], [0], color="white", marker="X", ms=9, mec="black")
    ax.set_aspect("equal")
    figure.colorbar(filled, label="loss, nats")
    return figure
