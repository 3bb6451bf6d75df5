"""Error rates of methods by their training budget, as a picture and as CSV."""

import csv
import io
from collections.abc import Sequence

import matplotlib
from matplotlib.figure import Figure

from mldg_jax.common import plots
from mldg_jax.experiments.results import Comparison


def files(budgets: Sequence[int], compared: Sequence[Comparison]) -> dict[str, str]:
    """Returns the content of the files of a comparison at several budgets.

    Args:
      budgets: numbers of ERM's steps, ascending.
      compared: the comparison at each.

    Returns:
      Text by file name: curves.csv and curves.svg.
    """
    return {
        "curves.csv": comma_separated(budgets, compared),
        "curves.svg": picture(compared),
    }


def comma_separated(budgets: Sequence[int], compared: Sequence[Comparison]) -> str:
    """Formats learning curves as CSV.

    Args:
      budgets, compared: as for ``files``.

    Returns:
      One line per budget, method and column; error rates are fractions.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    head = ["budget", "method", "steps", "gradient_evaluations", "column"]
    writer.writerow([*head, "eer", "sd", "low", "high"])
    for budget, comparison in zip(budgets, compared, strict=True):
        for label, row in comparison.rows.items():
            about = [budget, label, row.steps, row.evaluations]
            for column, rate in row.eer.items():
                cells = [rate.eer, rate.sd, rate.low, rate.high]
                writer.writerow([*about, column, *cells])
    return out.getvalue()


def picture(compared: Sequence[Comparison]) -> str:
    """Plots EER against gradient evaluations.

    Args:
      compared: the comparison at each budget, ascending.

    Returns:
      An SVG element: a line for each method, with its intervals.
    """
    last = compared[-1]
    column = "average" if "average" in last.columns else next(iter(last.columns))
    with matplotlib.rc_context(plots.OPTIONS):
        figure = Figure(figsize=(6.4, 3.8), layout="constrained")
        ax = figure.subplots()
        labels = [label for label, row in last.rows.items() if row.evaluations]
        for index, label in enumerate(labels):
            colour, marker = plots.style(index)
            rows = [comparison.rows[label] for comparison in compared]
            # Intervals of methods at the same budget stand side by side.
            shift = 1.02 ** (index - len(labels) / 2)
            x = [(row.evaluations or 0) * shift for row in rows]
            rates = [row.eer[column] for row in rows]
            low, high = (
                [100 * getattr(r, end) for r in rates] for end in ("low", "high")
            )
            ax.vlines(x, low, high, color=colour, lw=1.2)
            y = [100 * rate.eer for rate in rates]
            ax.plot(x, y, color=colour, marker=marker, mec="white", ms=7, label=label)
        ax.set_xscale("log")
        spent = sorted({c.rows[labels[0]].evaluations or 0 for c in compared})
        ax.set_xticks(spent, [f"{number:,}" for number in spent])
        ax.minorticks_off()
        ax.set_ylim(bottom=0)
        ax.set_xlabel("gradient evaluations of single utterances")
        ax.set_ylabel(f"EER, %, {last.columns[column]}, 95 % interval")
        ax.grid(color=plots.GRID, lw=0.8)
        figure.legend(loc="outside right center")
        return plots.svg("curves", figure)
