"""Drawing helpers shared by the figures of the analysis; see ``common.plots``."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mldg_jax.analysis.parameter_names import Blocks
from mldg_jax.common import plots

DIVERGING, RISING = "RdBu", "cividis"  # both safe for the colour-blind
SHORT = {"query": "q", "key": "k", "value": "v", "out": "out"}


def draw(drawers: Mapping[str, Callable[[Any], Figure]], study: Any) -> dict[str, str]:
    """Draws the figures of a study in the style of the reports.

    Args:
      drawers: functions that draw one figure of the study each, by name.
      study: the argument of every drawer.

    Returns:
      The figures as SVG text, by name.
    """
    with matplotlib.rc_context(plots.OPTIONS):
        return {
            name: plots.svg(name, drawer(study)) for name, drawer in drawers.items()
        }


def axes(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    """Creates a figure with one pair of axes and a grid.

    Args:
      title: title of the axes.
      x: label of the x axis.
      y: label of the y axis.

    Returns:
      The figure and its axes.
    """
    figure = Figure(figsize=(4.8, 3.6), layout="constrained")
    ax = figure.subplots()
    ax.set_title(title, loc="left")
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.grid(color=plots.GRID, lw=0.8)
    ax.set_axisbelow(True)
    return figure, ax


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
    """Draws a matrix as coloured cells with their values; NaN stays empty.

    Args:
      ax: the axes to draw on.
      values: (rows, columns).
      rows: names of the rows.
      columns: names of the columns.
      title: title of the axes.
      limits: values at the two ends of the colour map.
      colours: name of a colour map that is safe for the colour-blind.
      digits: decimal places; matrices of more than 400 cells show no values.

    Returns:
      The image, for a colour bar.
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
    """Abbreviates the names of projections for tick labels: q, k, v, out.

    Args:
      projections: names; those without an abbreviation are kept.

    Returns:
      The labels.
    """
    return [SHORT.get(name, name) for name in projections]


def layer_names(layers: Sequence[int]) -> list[str]:
    """Returns tick labels for layers: "layer 0", "layer 1", ….

    Args:
      layers: layer indices.

    Returns:
      The labels.
    """
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
    """Draws a heat map of layers × projections for every factor.

    Args:
      found: blocks whose layers, projections and factors name the axes.
      values: (layers, projections, factors).
      label: label of the colour bar.
      limits: see ``heat``.
      colours: see ``heat``.
      digits: see ``heat``.

    Returns:
      The figure.
    """
    size = 6.4, 1.4 + 0.34 * len(found.layers)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(1, len(found.factors), sharey=True, squeeze=False)[0]
    names = layer_names(found.layers), projection_names(found.projections)
    for i, (ax, factor) in enumerate(zip(axes, found.factors, strict=True)):
        image = heat(
            ax, values[:, :, i], *names, f"factor {factor}",
            limits=limits, colours=colours, digits=digits,
        )  # fmt: skip
    figure.colorbar(image, ax=axes, label=label)
    return figure


def off_diagonal(cosine: np.ndarray) -> np.ndarray:
    """Averages cosines over pairs of different attacks.

    Args:
      cosine: (…, attacks, attacks).

    Returns:
      (…) means of the off-diagonal entries.
    """
    different = ~np.eye(cosine.shape[-1], dtype=bool)
    return cosine[..., different].mean(axis=-1)
