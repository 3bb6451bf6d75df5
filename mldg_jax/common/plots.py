"""Style and SVG output shared by the figures of all reports, and rows of error rates.

Text in figures stays text, so that it can be searched and read aloud. Nothing depends
on the time or the process: equal results give equal bytes. Figures are made with
Matplotlib's objects, without pyplot and its global state.
"""

import io
import re
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator

from mldg_jax.common.error_rates import ErrorRate
from mldg_jax.common.text_files import visible

# Okabe and Ito's colours, safe for the colour-blind; markers differ too, for print.
STYLES = (
    ("#000000", "s"), ("#009E73", "D"), ("#E69F00", "o"), ("#0072B2", "^"),
    ("#CC79A7", "v"), ("#D55E00", "P"), ("#56B4E9", "X"),
)  # fmt: skip
GRID, CHANCE = "#DDDDDD", "#555555"
FONTS = "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
OPTIONS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "mldg_jax",
    "pdf.fonttype": 42,  # TrueType, which publishers ask for
    "text.parse_math": False,  # names may contain dollar signs
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "legend.frameon": False,
}


def style(place: int) -> tuple[str, str]:
    """Returns the line style of a system.

    Args:
      place: position of the system in its report, from 0; styles repeat after 7.

    Returns:
      Colour (hexadecimal) and Matplotlib marker.
    """
    return STYLES[place % len(STYLES)]


def legend_line(title: str, colour: str, marker: str) -> Line2D:
    """Creates the legend entry of a system.

    Args:
      title: name of the system.
      colour, marker: see ``style``.

    Returns:
      A line without data, for ``legend(handles=…)``.
    """
    return Line2D([], [], color=colour, marker=marker, lw=1.6, label=title)


def legend(figure: Figure, ax: Axes, handles: Sequence[Line2D] | None = None) -> None:
    """Puts the legend of a figure's axes below them, where it covers no curve.

    Args:
      figure: the figure, with constrained layout.
      ax: its axes.
      handles: entries of the legend; None for the labelled lines of the axes.
    """
    drawn = ax.get_legend_handles_labels()[0] if handles is None else list(handles)
    figure.legend(
        handles=drawn,
        loc="outside lower center",
        ncols=2 if len(drawn) in (2, 4) else 3,
        fontsize=9,
        columnspacing=1.2,
    )


def plain_ticks(*axes: Axis) -> None:
    """Formats the ticks of logarithmic axes as plain numbers.

    Matplotlib's default labels are formulas, which ``OPTIONS`` does not render.
    Call this after drawing, when the limits are known: axes of less than two decades
    also get ticks at 2 and 5.

    Args:
      *axes: the axes to format.
    """
    for axis in axes:
        low, high = axis.get_view_interval()
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
        axis.set_major_formatter(lambda value, _: f"{value:,.6g}".replace("-", "−"))
        axis.set_minor_formatter(lambda value, _: "")


def svg(name: str, figure: Figure) -> str:
    """Renders a figure as an SVG element to embed in a page.

    Args:
      name: prefix that makes the element's ids unique within the page.
      figure: the figure.

    Returns:
      SVG text that begins with "<svg".
    """
    buffer = io.StringIO()
    no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=no_metadata)
    text = visible(buffer.getvalue())  # XML cannot hold control characters
    text = text[text.index("<svg") :].strip()
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{name}-", text)
    # Matplotlib names its own fonts, which readers may not have.
    return re.sub(r"'DejaVu Sans'[^;\"]*sans-serif", FONTS, text)


def error_rate(ax: Axes, error: ErrorRate, y: float, colour: str, marker: str) -> float:
    """Draws an error rate as a marker, with its interval as a line.

    Args:
      ax: axes in per cent, see ``rate_rows``.
      error: the error rate.
      y: vertical position.
      colour, marker: see ``style``.

    Returns:
      The largest x drawn, in per cent.
    """
    if error.low is not None and error.high is not None:
        ends = [100 * error.low, 100 * error.high]
        ax.plot(ends, [y, y], color=colour, lw=1.6, solid_capstyle="butt")
    x = 100 * error.eer
    ax.plot([x], [y], color=colour, marker=marker, ms=6, mec="white", mew=0.6)
    return max(x, 100 * (error.high or 0.0))


def rate_rows(ax: Axes, title: str, labels: Sequence[str]) -> None:
    """Prepares axes for one error rate per row, with a line at chance (50 %).

    Args:
      ax: the axes.
      title: title of the axes.
      labels: labels of the rows from the top; the first row is for all trials.
    """
    ax.set_title(title, loc="left")
    ax.set_yticks(range(len(labels)), labels)
    ax.get_yticklabels()[0].set_fontweight("bold")
    ax.set_ylim(len(labels) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color=GRID, lw=0.8)
    ax.axvline(50, color=CHANCE, ls="--", lw=1.2, zorder=1)
    ax.set_axisbelow(True)
    for y in range(1, len(labels)):
        ax.axhline(y - 0.5, color="#888888" if y == 1 else GRID, lw=0.8, zorder=0)
