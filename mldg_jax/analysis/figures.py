"""The pictures of a study, as SVG text; see `mldg_jax.plots`."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mldg_jax import plots
from mldg_jax.analysis.study import Several, Single
from mldg_jax.plots import CHANCE, GRID

DIVERGING, RISING = "RdBu", "cividis"  # both safe for the colour-blind
SHORT = {"query": "q", "key": "k", "value": "v", "out": "out"}


def of_single(study: Single) -> dict[str, str]:
    """Draws one run's study; pictures without numbers are left out."""
    drawers = {
        "attacks": _attacks, "blocks": _blocks, "along": _along, "noise": _noise,
        "taylor": _taylor, "orders": _orders, "density": _density, "plane": _plane,
        "embedding": _embedding,
    }  # fmt: skip
    if study.geometry is not None:
        drawers |= {"spectra": _spectra, "fisher": _fisher, "cka": _cka}
    else:
        del drawers["blocks"], drawers["orders"]
    return _draw(drawers, study)


def of_several(study: Several) -> dict[str, str]:
    """Draws the comparison of runs."""
    return _draw({"angles": _angles, "paths": _paths}, study)


def _draw(drawers: dict[str, Any], study: Any) -> dict[str, str]:
    with matplotlib.rc_context(plots.OPTIONS):
        return {name: plots.svg(name, draw(study)) for name, draw in drawers.items()}


def _axes(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.8, 3.6), layout="constrained")
    ax = figure.subplots()
    ax.set_title(title, loc="left")
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.grid(color=GRID, lw=0.8)
    ax.set_axisbelow(True)
    return figure, ax


def _plain(*axes: Any) -> None:
    """Plain numbers on logarithmic axes: ``plots.OPTIONS`` reads no formulas."""
    for axis in axes:
        axis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "−"))
        axis.set_minor_formatter(lambda value, _: "")


def _heat(
    ax: Axes,
    values: np.ndarray,
    rows: Sequence[Any],
    columns: Sequence[Any],
    title: str,
    *,
    limits: tuple[float, float],
    colours: str = RISING,
    digits: int = 2,
) -> Any:
    """A matrix as coloured cells with their numbers; NaN stays empty."""
    image = ax.imshow(
        values, cmap=colours, vmin=limits[0], vmax=limits[1], aspect="auto"
    )
    ax.set_xticks(range(len(columns)), columns)
    ax.set_yticks(range(len(rows)), rows)
    ax.tick_params(length=0)
    ax.set_title(title, loc="left")
    for (i, j), value in np.ndenumerate(values):
        if np.isfinite(value) and values.size <= 400:
            red, green, blue, _ = image.cmap(image.norm(value))
            dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.5
            text = f"{value:.{digits}f}".replace("-", "−")
            ax.text(
                j, i, text, ha="center", va="center", fontsize=8,
                color="white" if dark else "black",
            )  # fmt: skip
    return image


def _short(projections: Sequence[str]) -> list[str]:
    return [SHORT.get(name, name) for name in projections]


def _layers(layers: Sequence[int]) -> list[str]:
    return [f"layer {i}" for i in layers]


def off_diagonal(cosine: np.ndarray) -> np.ndarray:
    """The mean of (…, n, n) over pairs of different attacks."""
    different = ~np.eye(cosine.shape[-1], dtype=bool)
    return cosine[..., different].mean(axis=-1)


def _attacks(study: Single) -> Figure:
    names = study.attacks
    figure = Figure(figsize=(2.2 + 0.55 * len(names),) * 2, layout="constrained")
    ax = figure.subplots()
    cosine = study.along[-1].similarity.cosine
    title = "Do attacks pull the same way?"
    image = _heat(ax, cosine, names, names, title, limits=(-1, 1), colours=DIVERGING)
    ax.set_xticks(range(len(names)), names, rotation=45, ha="right")
    figure.colorbar(image, label="cosine of the two gradients", shrink=0.7)
    return figure


def _blocks(study: Single) -> Figure:
    found = study.cosine_by_block
    mean = off_diagonal(found.values)
    size = 6.4, 1.4 + 0.34 * len(found.layers)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(1, len(found.factors), sharey=True, squeeze=False)[0]
    for i, (ax, factor) in enumerate(zip(axes, found.factors, strict=True)):
        image = _heat(
            ax, mean[:, :, i], _layers(found.layers), _short(found.projections),
            f"factor {factor}", limits=(-1, 1), colours=DIVERGING,
        )  # fmt: skip
    figure.colorbar(image, ax=axes, label="mean cosine")
    return figure


def _along(study: Single) -> Figure:
    figure, ax = _axes("Agreement along training", "training step", "cosine")
    steps = [x.step for x in study.along]
    different = ~np.eye(len(study.attacks), dtype=bool)
    cosine = np.array([x.similarity.cosine[different] for x in study.along])
    colour = plots.style(3)[0]
    low, high = np.percentile(cosine, [10, 90], axis=1)
    ax.fill_between(steps, low, high, color=colour, alpha=0.2, lw=0)
    ax.plot(steps, cosine.mean(axis=1), color=colour, marker="^", lw=1.8)
    ax.axhline(0, color=CHANCE, lw=1)
    ax.set_ylim(-1.02, 1.02)
    return figure


def _noise(study: Single) -> Figure:
    figure, ax = _axes("Gradient noise scale", "training step", "examples")
    steps = np.array([x.step for x in study.along])
    scale = np.array([float(x.noise.scale) for x in study.along])
    finite = np.isfinite(scale)
    ax.plot(steps[finite], scale[finite], color=plots.style(1)[0], marker="D", lw=1.8)
    ax.set_yscale("log")
    _plain(ax.yaxis)
    ax.set_xlim(0, steps.max() * 1.05)
    return figure


def _taylor(study: Single) -> Figure:
    parts = study.taylor
    figure, ax = _axes("Parts of the MLDG objective", "inner learning rate α", "nats")
    lines = (
        (np.abs(parts.alignment), "|β α F′·G′|", plots.style(3), "-"),
        (np.abs(parts.remainder), "|remainder|", plots.style(5), "-"),
        (np.abs(parts.predicted), "|β α²/2 F′ᵀG″F′|", plots.style(0), ":"),
    )
    for values, label, (colour, marker), dashes in lines:
        ax.plot(
            parts.inner_lr, values, color=colour, marker=marker, ls=dashes, label=label
        )
    ax.axhline(parts.resolution, color=CHANCE, lw=1, ls="--", label="rounding error")
    ax.axvline(study.inner_lr, color=CHANCE, lw=1, label="the run's α")
    ax.set(xscale="log", yscale="log")
    _plain(ax.xaxis, ax.yaxis)
    ax.legend(fontsize=8)
    return figure


def _orders(study: Single) -> Figure:
    found = study.orders.by_block
    size = 6.4, 1.4 + 0.34 * len(found.layers)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(1, len(found.factors), sharey=True, squeeze=False)[0]
    low = min(0.9, float(np.nanmin(found.values[..., 0])))
    for i, (ax, factor) in enumerate(zip(axes, found.factors, strict=True)):
        image = _heat(
            ax, found.values[:, :, i, 0], _layers(found.layers),
            _short(found.projections), f"factor {factor}", limits=(low, 1), digits=3,
        )  # fmt: skip
    figure.colorbar(image, ax=axes, label="cosine, first : second order")
    return figure


def _density(study: Single) -> Figure:
    figure, ax = _axes("Spectrum of the Hessian", "eigenvalue", "density")
    nodes = np.concatenate([x.nodes.ravel() for x in study.density.values()])
    span = np.ptp(nodes)
    grid = np.linspace(nodes.min() - 0.05 * span, nodes.max() + 0.05 * span, 600)
    for place, (name, density) in zip((3, 5), study.density.items(), strict=True):
        colour, marker = plots.style(place)
        half = "meta-train" if name == "F" else "meta-test"
        curve = density.at(grid, 0.01 * span)
        ax.plot(grid, curve, color=colour, lw=1.6, label=f"{name}, {half}")
        top = study.top[name]
        height = np.full(len(top), 1e-5 / span)
        ax.plot(top, height, color=colour, marker=marker, ls="", clip_on=False)
    ax.set_yscale("log")
    _plain(ax.yaxis)
    ax.set_ylim(bottom=1e-5 / span)
    ax.legend()
    return figure


def _spectra(study: Single) -> Figure:
    spectra = study.geometry.spectra
    figure, ax = _axes("Spectra of the updates", "number", "σ / σ₁")
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
    _plain(ax.yaxis)
    ax.legend()
    return figure


def _fisher(study: Single) -> Figure:
    mass = study.geometry.mass
    size = 6.4, 1.4 + 0.34 * len(mass.layers)
    figure = Figure(figsize=size, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    share = 100 * mass.merged / np.nansum(mass.merged)
    rows, columns = _layers(mass.layers), _short(mass.projections)
    top = float(np.nanmax(share))
    _heat(left, share, rows, columns, "share of the mass, %", limits=(0, top), digits=1)
    rank = mass.effective_rank
    limits = float(np.nanmin(rank)), float(np.nanmax(rank))
    _heat(right, rank, rows, columns, "effective rank", limits=limits, digits=1)
    return figure


def _cka(study: Single) -> Figure:
    figure, ax = _axes("Adapted against frozen frames", "after layer", "linear CKA")
    layers = range(len(study.cka))
    ax.plot(layers, study.cka, color=plots.style(3)[0], marker="^", lw=1.8)
    ax.set_xticks(layers, ["input", *map(str, layers[:-1])])
    ax.set_ylim(top=1.0 + 0.05 * (1 - min(0.98, study.cka.min())))
    return figure


def _embedding(study: Single) -> Figure:
    shares = [f"{100 * x:.0f} % of the variance" for x in study.explained]
    title = "What the last layer sees"
    figure = Figure(figsize=(6.2, 4.6), layout="constrained")
    ax = figure.subplots()
    ax.set_title(title, loc="left")
    ax.set_xlabel(f"first principal component ({shares[0]})")
    ax.set_ylabel(f"second ({shares[1]})")
    ax.grid(color=GRID, lw=0.8)
    real = study.embedding[study.label == 1]
    ax.scatter(*real.T, s=22, color="#BBBBBB", marker="o", label="bona fide")
    for place, attack in enumerate(study.attacks):
        points = study.embedding[place][study.label[place] == 0]
        colour = plots.style(place)[0]
        marker = plots.STYLES[(place + place // len(plots.STYLES)) % 7][1]
        ax.scatter(
            *points.T, s=30, color=colour, marker=marker, edgecolors="white",
            linewidths=0.5, label=attack,
        )  # fmt: skip
    figure.legend(loc="outside right upper", fontsize=8)
    return figure


def _plane(study: Single) -> Figure:
    figure, ax = _axes("Loss around the run", "first direction", "second direction")
    plane = study.plane
    filled = ax.contourf(plane.x, plane.y, plane.loss, 14, cmap=RISING)
    ax.contour(plane.x, plane.y, plane.loss, 14, colors="white", linewidths=0.4)
    ax.plot([0], [0], color="white", marker="X", ms=9, mec="black")
    ax.set_aspect("equal")
    figure.colorbar(filled, label="loss, nats")
    return figure


def _angles(study: Several) -> Figure:
    """Mean angle by projection, a row a pair, of both sides of the update."""
    first = next(iter(study.angles.values()))
    rows = [" : ".join(pair) for pair in study.angles]
    size = 6.6, 1.5 + 0.3 * len(rows)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for ax, side in zip(axes, ("reads", "writes"), strict=True):
        mean = np.array(
            [np.nanmean(getattr(x, side), axis=(0, 2)) for x in study.angles.values()]
        )
        image = _heat(
            ax, mean, rows, _short(first.projections), f"what it {side}",
            limits=(0, 90), digits=0,
        )  # fmt: skip
    figure.colorbar(image, ax=axes, label="mean angle, degrees")
    return figure


def _paths(study: Several) -> Figure:
    figure, ax = _axes("Loss between runs", "from the first (0) to the other (1)", "")
    ax.set_ylabel("loss, nats")
    for place, (pair, path) in enumerate(study.paths.items()):
        colour, marker = plots.style(place)
        label = " : ".join(pair)
        ax.plot(path.t, path.loss, color=colour, marker=marker, ms=4, label=label)
    ax.set_ylim(bottom=0)
    figure.legend(loc="outside lower center", fontsize=8, ncols=2)
    return figure
