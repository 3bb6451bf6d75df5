"""A picture of the differences between methods: every interval on one axis."""

import matplotlib
from matplotlib.figure import Figure

from mldg_jax.common import plots
from mldg_jax.experiments.results import Comparison


def picture(comparison: Comparison) -> str:
    """Plots the differences of the main column with their intervals.

    Args:
      comparison: the results; at least one difference.

    Returns:
      An SVG element: one row for each pair of methods, in the order of the table; a
      filled marker where the interval excludes zero.
    """
    names = list(comparison.columns)
    column = "average" if "average" in names else names[0]
    pairs = [(pair, found[column]) for pair, found in comparison.differences.items()]
    with matplotlib.rc_context(plots.OPTIONS):
        figure = Figure(figsize=(6.8, 1.0 + 0.26 * len(pairs)), layout="constrained")
        ax = figure.subplots()
        colour, marker = plots.style(3)
        for y, (_, gap) in enumerate(pairs):
            ends = [100 * gap.low, 100 * gap.high]
            ax.plot(ends, [y, y], color=colour, lw=1.6, solid_capstyle="butt")
            face = colour if gap.excludes_zero else "white"
            x = [100 * gap.difference]
            ax.plot(x, [y], color=colour, marker=marker, ms=6, mfc=face)
        ax.axvline(0, color=plots.CHANCE, ls="--", lw=1.2, zorder=1)
        ax.set_yticks(range(len(pairs)), [f"{a} − {b}" for (a, b), _ in pairs])
        ax.set_ylim(len(pairs) - 0.5, -0.5)
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="x", color=plots.GRID, lw=0.8)
        ax.set_axisbelow(True)
        title = comparison.columns[column]
        ax.set_xlabel(
            f"difference in EER, percentage points\n({title}; left of 0 is better)"
        )
        return plots.svg("differences", figure)
