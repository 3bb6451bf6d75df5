"""Figures of the comparison of several runs, as SVG text."""

import numpy as np
from matplotlib.figure import Figure

from mldg_jax.analysis.report import drawing
from mldg_jax.analysis.run_comparison import RunComparison
from mldg_jax.common import plots


def run_comparison_figures(study: RunComparison) -> dict[str, str]:
    """Draws the figures of a comparison of runs.

    Args:
      study: the comparison.

    Returns:
      SVG text of "angles" and "paths".
    """
    return drawing.draw({"angles": _angles, "paths": _paths}, study)


def _angles(study: RunComparison) -> Figure:
    """Draws the mean angle on either side by projection and kind of pair."""
    kinds = study.kinds
    first = next(iter(study.angles.values()))
    columns = drawing.projection_names(first.projections)
    size = 6.6, 1.5 + 0.34 * len(kinds)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for ax, side in zip(axes, ("reads", "writes"), strict=True):
        mean = np.array(
            [
                np.mean(
                    [
                        np.nanmean(getattr(study.angles[p], side), axis=(0, 2))
                        for p in pairs
                    ],
                    axis=0,
                )
                for pairs in kinds.values()
            ]
        )
        title, limits = f"directions it {side}", (0, 90)
        image = drawing.heat(
            ax, mean, list(kinds), columns, title, limits=limits, digits=0
        )
    figure.colorbar(image, ax=axes, label="mean angle, degrees")
    return figure


def _paths(study: RunComparison) -> Figure:
    title = "Loss between runs"
    figure, ax = drawing.axes(
        title, "from the first run (0) to the second (1)", "loss, nats"
    )
    for number, (kind, pairs) in enumerate(study.kinds.items(), start=1):
        colour, marker = plots.style(number)
        for pair in pairs:
            path = study.paths[pair]
            label = kind if pair == pairs[0] else None
            ax.plot(path.t, path.loss, color=colour, marker=marker, ms=4, label=label)
    figure.legend(loc="outside lower center", fontsize=8, ncols=2)
    return figure
