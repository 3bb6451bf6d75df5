"""Figures of an evaluation, for the report (SVG) and for papers (SVG, PDF)."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from scipy.special import ndtri

from mldg_jax import metrics
from mldg_jax.common import plots
from mldg_jax.common.files import replacing
from mldg_jax.common.plots import CHANCE, GRID, legend_line
from mldg_jax.data.corpus import BONAFIDE
from mldg_jax.scoring.calibration import reliability
from mldg_jax.scoring.outcome import Evaluation

TICKS = (0.01, 0.1, 0.5, 1, 2, 5, 10, 20, 40, 60, 80)  # of DET axes, in per cent


class Curve(NamedTuple):
    """A system as figures show it.

    Attributes:
      title: its name.
      style: colour and marker, of ``plots.style``.
      bonafide, spoof: (n,) and (m,) scores.
    """

    title: str
    style: tuple[str, str]
    bonafide: np.ndarray
    spoof: np.ndarray


def det(
    curves: Sequence[Curve], title: str, low: float = 0.005, high: float = 0.9
) -> Figure:
    """Draws DET curves on probit axes, with a marker at each EER.

    Args:
      curves: the systems.
      title: title of the figure.
      low, high: ends of both axes, error rates in (0, 1).

    Returns:
      The figure.
    """
    figure = Figure(figsize=(4.8, 5.2), layout="constrained")
    ax = figure.subplots()
    for _, (colour, marker), bonafide, spoof in curves:
        miss, false_alarm, _ = metrics.det_curve(bonafide, spoof)
        inside = (low / 10, 1 - low / 10)  # rates of 0 and 1 lie at infinity
        x, y = (ndtri(np.clip(rate, *inside)) for rate in (false_alarm, miss))
        ax.plot(x, y, color=colour, lw=1.6)
        error = np.clip(metrics.eer(bonafide, spoof)[0], low, high)
        point = [ndtri(error)]
        ax.plot(point, point, color=colour, marker=marker, ms=7, mec="white", zorder=3)
    ends = ndtri([low, high])
    ax.plot(ends, ends, color=CHANCE, ls=":", lw=1)
    ticks = np.array([t for t in TICKS if low <= t / 100 <= high])
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_ticks(ndtri(ticks / 100), [f"{t:g}" for t in ticks])
    ax.set(xlim=ends, ylim=ends, aspect="equal")
    ax.set_xlabel("spoof accepted, %")
    ax.set_ylabel("bona fide rejected, %")
    ax.set_title(title, loc="left")
    ax.grid(color=GRID, lw=0.8)
    plots.legend(figure, ax, [legend_line(x.title, *x.style) for x in curves])
    return figure


COLOURS = ("#0072B2", "#D55E00")  # bona fide, spoof
ROWS = 30  # most values of a condition in a figure
BINS = 80  # of the histograms of scores


def draw(evaluation: Evaluation, *, rows: int = ROWS) -> dict[str, tuple[str, bytes]]:
    """Draws every figure of an evaluation.

    Args:
      evaluation: of one or more systems.
      rows: largest number of values of a condition in a figure; the hardest are drawn.

    Returns:
      SVG text and PDF bytes by name: ``det``, ``scores``, ``reliability`` and, for each
      condition of the evaluation, ``by_attack``, ….
    """
    curves = _curves(evaluation)
    drawn = {}
    with matplotlib.rc_context(plots.OPTIONS):
        drawn["det"] = _both("det", _det(curves))
        drawn["scores"] = _both("scores", _scores(curves))
        drawn["reliability"] = _both("reliability", _reliability(curves))
        for name in evaluation.conditions:
            figure = _conditions(evaluation, name, curves, rows)
            drawn[f"by_{name}"] = _both(f"by_{name}", figure)
    return drawn


def write(folder: str | Path, drawn: dict[str, tuple[str, bytes]]) -> list[Path]:
    """Writes each figure as SVG and as PDF.

    Args:
      folder: where to write.
      drawn: from ``draw``.

    Returns:
      The files.
    """
    files = []
    for name, (svg, pdf) in drawn.items():
        for suffix, content in (("svg", svg.encode()), ("pdf", pdf)):
            files.append(Path(folder) / f"{name}.{suffix}")
            with replacing(files[-1]) as part:
                part.write_bytes(content)
    return files


def _both(name: str, figure: Figure) -> tuple[str, bytes]:
    """Returns a figure as SVG text and PDF bytes."""
    file = io.BytesIO()
    # Without a date the same numbers give the same bytes.
    figure.savefig(file, format="pdf", metadata={"CreationDate": None})
    return plots.svg(name, figure), file.getvalue()


def _curves(evaluation: Evaluation) -> list[Curve]:
    """Returns the systems of an evaluation as curves."""
    real = evaluation.keys.label == BONAFIDE
    return [
        Curve(name, plots.style(i), scores[real], scores[~real])
        for i, (name, scores) in enumerate(evaluation.scores.items())
    ]


def _det(curves: list[Curve]) -> Figure:
    """Draws DET curves on axes that suit their error rates."""
    rates = [metrics.eer(curve.bonafide, curve.spoof)[0] for curve in curves]
    low = next((x for x in (0.005, 0.0005) if min(rates) > 4 * x), 0.00005)
    high = 0.5 if max(rates) < 0.2 else 0.9
    return det(curves, "Detection errors at every threshold", low, high)


def _scores(curves: list[Curve]) -> Figure:
    """Draws the densities of both classes and the thresholds, one panel per system."""
    figure = Figure(figsize=(6.2, 0.9 + 1.9 * len(curves)), layout="constrained")
    axes = figure.subplots(len(curves), 1, squeeze=False)[:, 0]
    for ax, curve in zip(axes, curves, strict=True):
        both = curve.bonafide, curve.spoof
        inner = [np.quantile(scores, [0.001, 0.999]) for scores in both]
        ends = np.min(inner), np.max(inner)  # a single outlier would squeeze the panel
        margin = 1e-6 * max(1.0, *np.abs(ends))  # constant scores have no width
        edges = np.linspace(ends[0] - margin, ends[1] + margin, BINS + 1)
        for scores, colour, label in zip(
            both, COLOURS, ("bona fide", "spoof"), strict=True
        ):
            density = np.histogram(scores, edges, density=True)[0]
            ax.stairs(density, edges, color=colour, lw=1.4, label=label)
            ax.stairs(density, edges, color=colour, fill=True, alpha=0.25)
        threshold = metrics.eer(*both)[1]
        ax.axvline(threshold, color="black", ls="--", lw=1.1, label="EER threshold")
        if edges[0] < metrics.BAYES_THRESHOLD < edges[-1]:
            label = f"Bayes threshold, {metrics.BAYES_THRESHOLD:.2f}".replace("-", "−")
            ax.axvline(
                metrics.BAYES_THRESHOLD, color=CHANCE, ls=":", lw=1.6, label=label
            )
        ax.set_title(curve.title, loc="left")
        ax.set_ylabel("density")
        ax.set_ylim(bottom=0)
    axes[-1].set_xlabel("score (higher: bona fide)")
    handles, labels = axes[-1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, fontsize=9)
    return figure


def _reliability(curves: list[Curve]) -> Figure:
    """Draws the claimed against the observed probability of bona fide."""
    figure = Figure(figsize=(4.8, 5.2), layout="constrained")
    ax = figure.subplots()
    ax.plot([0, 1], [0, 1], color=CHANCE, ls=":", lw=1, label="calibrated")
    for curve in curves:
        claimed, observed = reliability(curve.bonafide, curve.spoof)
        every = max(1, len(claimed) // 12)
        colour, marker = curve.style
        ax.plot(
            claimed, observed, color=colour, marker=marker, markevery=every,
            lw=1.6, ms=5, mec="white", mew=0.5, label=curve.title,
        )  # fmt: skip
    ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    ax.set_xlabel("probability of bona fide that the score claims")
    ax.set_ylabel("fraction of bona fide among these trials")
    ax.set_title("Reliability at equal priors", loc="left")
    ax.grid(color=GRID, lw=0.8)
    figure.legend(loc="outside upper center", ncols=3, fontsize=9, columnspacing=1.2)
    return figure


def _conditions(
    evaluation: Evaluation, name: str, curves: list[Curve], rows: int
) -> Figure:
    """Draws every system's EER by the values of a condition, hardest first."""
    systems = list(evaluation.systems.values())
    parts = [system.parts[name] for system in systems]
    hardest = sorted(parts[0], key=lambda v: (-np.mean([p[v].eer for p in parts]), v))
    shown = hardest[:rows]
    labels = ["all"] + [f"{value} ({parts[0][value].n:,})" for value in shown]
    row = 0.22 + 0.09 * len(systems)
    figure = Figure(figsize=(6.2, 1.3 + row * len(labels)), layout="constrained")
    ax, highest = figure.subplots(), 0.0
    left = f", the {rows} hardest of {len(hardest)}" if len(hardest) > rows else ""
    plots.rate_rows(ax, f"EER by {name}{left}", labels)
    for i, (system, part) in enumerate(zip(systems, parts, strict=True)):
        offset = (i - (len(systems) - 1) / 2) * 0.75 / len(systems)
        for y, error in enumerate([system.eer, *(part[value] for value in shown)]):
            drawn = plots.error_rate(ax, error, y + offset, *curves[i].style)
            highest = max(highest, drawn)
    right = min(102, max(1, 1.06 * highest))
    ax.set_xlim(-0.012 * right, right)
    with_interval = " with 95 % interval" if systems[0].intervals else ""
    ax.set_xlabel(f"equal error rate, %{with_interval}")
    if len(curves) > 1:
        figure.legend(
            handles=[plots.legend_line(curve.title, *curve.style) for curve in curves],
            loc="outside upper center",
            ncols=min(4, len(curves)),
            fontsize=9,
        )
    return figure
