"""What the pictures of analysis share; see `mldg_jax.common.plots`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from mldg_jax.analysis.parameter_names import Blocks
from mldg_jax.common import plots

DIVERGING, RISING = "RdBu", "cividis"  # both safe for the colour-blind
SHORT = {"query": "q", "key": "k", "value": "v", "out": "out"}


def draw(drawers: Mapping[str, Callable[[Any], Figure]], study: Any) -> dict[str, str]:
    """Each drawer's picture of a study, as SVG text."""
    with matplotlib.rc_context(plots.OPTIONS):
        return {name: plots.svg(name, one(study)) for name, one in drawers.items()}


def axes(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    """A figure of one picture, with its title and the labels of its axes."""
    figure = Figure(figsize=(4.8, 3.6), layout="constrained")
    ax = figure.subplots()
    ax.set_title(title, loc="left")
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.grid(color=plots.GRID, lw=0.8)
    ax.set_axisbelow(True)
    return figure, ax


def plain(*axes: Axis) -> None:
    """Plain numbers on logarithmic axes: ``plots.OPTIONS`` reads no formulas.

    To be called when everything is drawn: an axis of less than two decades gets ticks
    at 2 and 5 too.
    """
    for axis in axes:
        low, high = axis.get_view_interval()
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
        axis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "−"))
        axis.set_minor_formatter(lambda value, _: "")


def heat(
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
    """A matrix as coloured cells with their numbers; NaN stays empty.

    Args:
      ax: where.
      values: (rows, columns).
      rows, columns: their names.
      title: of the picture.
      limits: of the colours.
      colours: a colour map that is safe for the colour-blind.
      digits: after the point; matrices of more than 400 cells have no numbers.
    """
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
            text = f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")
            ax.text(
                j, i, text, ha="center", va="center", fontsize=8,
                color="white" if dark else "black",
            )  # fmt: skip
    return image


def projection_names(projections: Sequence[str]) -> list[str]:
    """As axes show them: q, k, v, out."""
    return [SHORT.get(name, name) for name in projections]


def layer_names(layers: Sequence[int]) -> list[str]:
    """As axes show them."""
    return [f"layer {i}" for i in layers]


def heats_by_factor(
    found: Blocks,
    values: np.ndarray,
    label: str,
    *,
    limits: tuple[float, float],
    colours: str = RISING,
    digits: int = 2,
) -> Figure:
    """Layers × projections, a heat map a factor.

    Args:
      found: whose axes they are.
      values: (layers, projections, factors).
      label: of the colour bar.
      limits, colours, digits: see ``heat``.
    """
    size = 6.4, 1.4 + 0.34 * len(found.layers)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(1, len(found.factors), sharey=True, squeeze=False)[0]
    rows = layer_names(found.layers), projection_names(found.projections)
    for i, (ax, factor) in enumerate(zip(axes, found.factors, strict=True)):
        image = heat(
            ax, values[:, :, i], *rows, f"factor {factor}",
            limits=limits, colours=colours, digits=digits,
        )  # fmt: skip
    figure.colorbar(image, ax=axes, label=label)
    return figure


def off_diagonal(cosine: np.ndarray) -> np.ndarray:
    """The mean of (…, n, n) over pairs of different attacks."""
    different = ~np.eye(cosine.shape[-1], dtype=bool)
    return cosine[..., different].mean(axis=-1)
