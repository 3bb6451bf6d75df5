"""Style and SVG shared by the pictures of every report, and rows of error rates.

Text stays text (it can be searched and read aloud) and nothing depends on the time or
on the process: the same results give the same bytes. Matplotlib is used through its
objects, so nothing here touches pyplot's global state.
"""

import io
import re
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mldg_jax.common.error_rates import ErrorRate

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
    "pdf.fonttype": 42,  # text that publishers can embed
    "text.parse_math": False,  # names may hold dollar signs
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "legend.frameon": False,
}


def style(place: int) -> tuple[str, str]:
    """Colour and marker of the system at a place."""
    return STYLES[place % len(STYLES)]


def legend_line(title: str, colour: str, marker: str) -> Line2D:
    """A system's entry of a legend."""
    return Line2D([], [], color=colour, marker=marker, lw=1.6, label=title)


def svg(name: str, figure: Figure) -> str:
    """A figure as an SVG element whose ids are unique in a page of several."""
    text = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(text, format="svg", metadata=nothing)
    drawn = text.getvalue()
    drawn = drawn[drawn.index("<svg") :].strip()
    drawn = re.sub(r'\bid="', f'id="{name}-', drawn)
    drawn = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{name}-", drawn)
    # Matplotlib names the fonts of its own machine; a reader has others.
    return re.sub(r"'DejaVu Sans'[^;\"]*sans-serif", FONTS, drawn)


def error_rate(ax: Axes, error: ErrorRate, y: float, colour: str, marker: str) -> float:
    """Draws one error rate; returns the largest percentage drawn."""
    if error.low is not None and error.high is not None:
        ends = [100 * error.low, 100 * error.high]
        ax.plot(ends, [y, y], color=colour, lw=1.6, solid_capstyle="butt")
    x = 100 * error.eer
    ax.plot([x], [y], color=colour, marker=marker, ms=6, mec="white", mew=0.6)
    return max(x, 100 * (error.high or 0.0))


def rate_rows(ax: Axes, title: str, labels: Sequence[str]) -> None:
    """Axes with an error rate a row, the first of all trials, and a line at chance."""
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
