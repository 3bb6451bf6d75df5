"""The pictures of the demo's report as SVG text; see ``mldg_jax.common.plots``."""

from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mldg_jax.common import plots
from mldg_jax.common.plots import CHANCE, GRID, svg
from mldg_jax.data.corpus import BONAFIDE, SPOOF, Corpus
from mldg_jax.experiments.demo_story import Story
from mldg_jax.experiments.results import Comparison, MethodResult
from mldg_jax.experiments.scored_tests import Scored
from mldg_jax.experiments.statistics import keep
from mldg_jax.scoring.figures import Curve, det

UNSEEN_TINT = "#FFF6DD"
SMOOTHING = 5  # width of the running mean, in logged steps


def figures(story: Story, test: Scored) -> dict[str, str]:
    """Draws every picture that the story has numbers for.

    Args:
      story: the result of ``demo.run_demo``.
      test: the scored utterances.

    Returns:
      SVG text (``<svg …>…</svg>``) by name: ``attacks``, ``det_all``, and, if there
      are numbers for them, ``det_unseen``, ``loss`` and ``cosine``.
    """
    comparison, drawn = story.comparison, {}
    with matplotlib.rc_context(plots.OPTIONS):
        drawn["attacks"] = svg("attacks", _attacks(comparison, test.rows))
        if comparison.unseen:
            figure = _det(comparison, test, comparison.unseen, "Unseen families")
            drawn["det_unseen"] = svg("det_unseen", figure)
        figure = _det(comparison, test, None, "All attacks")
        drawn["det_all"] = svg("det_all", figure)
        for name, draw in (("loss", _loss), ("cosine", _cosine)):
            if any(_curves(logs, name) for logs in story.training.values()):
                drawn[name] = svg(name, draw(story))
    return drawn


def _styled(comparison: Comparison) -> Iterator[tuple[str, MethodResult, str, str]]:
    """Yields each method's label and result with its colour and marker."""
    for i, (name, row) in enumerate(comparison.rows.items()):
        yield name, row, *plots.style(i)


def _attacks(comparison: Comparison, rows: Corpus) -> Figure:
    """Draws the EER of every attack and method, unseen families above trained ones."""
    methods = comparison.rows
    panels = [
        ("Unseen families: never trained on", "unseen", comparison.unseen),
        ("Attacks that were trained on", "seen", comparison.trained),
    ]
    panels = [panel for panel in panels if panel[2]]
    heights = [len(attacks) + 1 for _, _, attacks in panels]
    figure = Figure(
        figsize=(6.2, 1.2 + 0.5 * sum(heights) + 0.3 * len(panels)),
        layout="constrained",
    )
    axes = figure.subplots(
        len(panels), 1, sharex=True, squeeze=False, height_ratios=heights
    )[:, 0]
    highest = 50.0
    for ax, (title, column, attacks) in zip(axes, panels, strict=True):
        hardest = sorted(
            attacks,
            key=lambda a: (
                -np.mean([x.by_attack[a].eer for x in methods.values()]),
                a,
            ),
        )
        labels = ["all of these"]
        labels += [f"{a} ({np.sum(rows.attack == a)})" for a in hardest]
        for index, (_, method, colour, marker) in enumerate(_styled(comparison)):
            errors = [method.eer[column], *(method.by_attack[a] for a in hardest)]
            offset = (index - (len(methods) - 1) / 2) * 0.8 / len(methods)
            for y, error in enumerate(errors):
                highest = max(
                    highest, plots.error_rate(ax, error, y + offset, colour, marker)
                )
        plots.rate_rows(ax, title, labels)
        if column == "unseen":
            ax.set_facecolor(UNSEEN_TINT)
    axes[0].set_xlim(0, min(102.0, highest + 4))
    axes[-1].set_xlabel("equal error rate, %, mean over seeds with 95 % interval")
    handles = _legend(comparison)
    chance = {"color": CHANCE, "ls": "--", "lw": 1, "label": "chance"}
    handles.append(Line2D([], [], **chance))
    figure.legend(
        handles=handles,
        loc="outside upper center",
        ncols=min(5, len(handles)),
        fontsize=9,
        columnspacing=1.2,
    )
    return figure


def _det(
    comparison: Comparison, test: Scored, attacks: Sequence[str] | None, title: str
) -> Figure:
    """Draws the DET curves of the first seed."""
    mask, label = keep(test.rows, attacks), test.rows.label
    real, fake = mask & (label == BONAFIDE), mask & (label == SPOOF)
    curves = [
        Curve(
            method.title,
            (colour, line),
            test.scores[name][0][real],
            test.scores[name][0][fake],
        )
        for name, method, colour, line in _styled(comparison)
    ]
    return det(curves, title)


def _legend(comparison: Comparison) -> list[Line2D]:
    return [
        plots.legend_line(method.title, c, m) for _, method, c, m in _styled(comparison)
    ]


def _loss(story: Story) -> Figure:
    """Draws the losses; below them, what MLDG's differs from ERM's by.

    The difference is there because the two curves lie on top of each other.
    """
    difference = loss_difference(story)
    figure = Figure(figsize=(4.8, 4.4), layout="constrained")
    ratios = [3, 1] if difference else [1]
    axes = figure.subplots(
        len(ratios), 1, sharex=True, squeeze=False, height_ratios=ratios
    )[:, 0]
    _prepare(axes[0], "Training loss", "loss per utterance, nats")
    _draw(axes[0], story, "loss")
    axes[0].axhline(np.log(2), color=CHANCE, ls="--", lw=1, label="chance")
    axes[0].set_ylim(bottom=0)
    if difference:
        _prepare(axes[1], "", "MLDG − ERM")
        axes[1].plot(*difference, color="#444444", lw=1.6)
        axes[1].axhline(0, color=CHANCE, lw=1)
        largest = np.abs(difference[1]).max()
        axes[1].set_ylim(-1.1 * largest - 1e-3, 1.1 * largest + 1e-3)
    axes[-1].set_xlabel("training step")
    plots.legend(figure, axes[0])
    return figure


def loss_difference(story: Story) -> tuple[np.ndarray, np.ndarray] | None:
    """Computes by how much MLDG's smoothed training loss differs from ERM's.

    Runs of one seed see the same episodes, so the difference is paired.

    Args:
      story: the result of ``demo.run_demo``.

    Returns:
      Steps (n,) that both logged, and the difference (n,) of the smoothed means over
      seeds, nats; None without the logs of both.
    """
    of_both = [_curves(story.training.get(x, []), "loss") for x in ("mldg", "erm")]
    if not all(of_both):
        return None
    (steps, mldg), (others, erm) = map(_mean, of_both)
    common = np.intersect1d(steps, others)
    values = _smooth(mldg[np.isin(steps, common)] - erm[np.isin(others, common)])
    return common, values


def det_difference(test: Scored, attacks: Sequence[str] | None) -> float | None:
    """Computes how far apart the DET curves of MLDG and ERM are, of the first seed.

    Args:
      test: the scored utterances.
      attacks: the spoofs to count; None for all.

    Returns:
      The largest difference of the rates of rejected bona fide utterances at one rate
      of accepted spoofs, a fraction; None if a method is missing.
    """
    if not {"mldg", "erm"} <= test.scores.keys():
        return None
    mask, label = keep(test.rows, attacks), test.rows.label
    real, fake = mask & (label == BONAFIDE), mask & (label == SPOOF)
    rates = []
    for method in ("mldg", "erm"):
        scores = test.scores[method][0]
        # The spoofs that a threshold accepts: the same numbers for both methods.
        thresholds = np.sort(scores[fake])
        rejected = np.searchsorted(np.sort(scores[real]), thresholds, side="right")
        rates.append(rejected / real.sum())
    return float(np.abs(rates[0] - rates[1]).max())


def _cosine(story: Story) -> Figure:
    title = "Do meta-train and meta-test gradients agree?"
    figure = Figure(figsize=(4.8, 4.4), layout="constrained")
    ax = figure.subplots()
    _prepare(ax, title, "cosine of the two gradients")
    ax.set_xlabel("training step")
    _draw(ax, story, "cosine", ", smoothed mean")
    ax.axhline(0, color="#444444", lw=1)
    ax.set_ylim(-1, 1)
    plots.legend(figure, ax)
    return figure


def _draw(ax: Axes, story: Story, name: str, suffix: str = "") -> None:
    """Draws every seed of every method as a thin line, and their smoothed mean."""
    for label, method, colour, _ in _styled(story.comparison):
        curves = _curves(story.training.get(label, []), name)
        for steps, values in curves:
            ax.plot(steps, values, color=colour, lw=0.6, alpha=0.45)
        if curves:
            steps, mean = _mean(curves)
            title = method.title + suffix
            ax.plot(steps, _smooth(mean), color=colour, lw=2.2, label=title)


def _prepare(ax: Axes, title: str, label: str) -> None:
    ax.set_title(title, loc="left")
    ax.set_ylabel(label)
    ax.grid(color=GRID, lw=0.8)


def _curves(
    logs: list[list[dict[str, Any]]], name: str
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns steps (n,) and values (n,) of each seed whose log has the quantity.

    MLDG's loss is the sum of its two halves; their mean, which is returned, has the
    scale of the other methods' loss.
    """

    def value(line):
        if name == "cosine":
            return line.get("gradient_cosine")
        halves = [line.get("meta_train_loss"), line.get("meta_test_loss")]
        return line.get("loss") if None in halves else sum(halves) / 2

    curves = []
    for log in logs:
        points = [(x["step"], value(x)) for x in log if value(x) is not None]
        if points:
            curves.append(tuple(np.array(points, float).T))
    return curves


def _mean(curves: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Returns logged steps (n,) and the mean over seeds at each of them (n,)."""
    steps, index = np.unique(
        np.concatenate([steps for steps, _ in curves]), return_inverse=True
    )
    values = np.concatenate([values for _, values in curves])
    return steps, np.bincount(index, values) / np.bincount(index)


def _smooth(values: np.ndarray) -> np.ndarray:
    """Returns a centred running mean, over a shorter window at the ends."""
    window = np.ones(SMOOTHING)
    total = np.convolve(values, window)
    count = np.convolve(np.ones(len(values)), window)
    first = SMOOTHING // 2
    return (total / count)[first : first + len(values)]
