"""A picture of the scores of a recording's frames, the decisions and the truth."""

from collections.abc import Sequence

import numpy as np

from mldg_jax.data.segment_labels import FRAME, Interval
from mldg_jax.scoring.timeline import title_of

SPOOF, BONAFIDE = "#D55E00", "#0072B2"  # Okabe and Ito


def picture(
    name: str,
    frames: np.ndarray,
    seconds: float,
    threshold: float,
    parts: Sequence[Interval],
    truth: Sequence[Interval] | None = None,
) -> str:
    """Draws frame scores over time, and below them a bar of decisions and of the truth.

    Args:
      name: path of the recording, for the title.
      frames: (frames,) scores of 20 ms each, higher for bona fide.
      seconds: duration of the recording.
      threshold: drawn as a dashed line.
      parts: what is called spoof, in seconds.
      truth: what is spoofed; None if it is not known, which leaves its bar out.

    Returns:
      An SVG document.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    from mldg_jax.common import plots

    bars = [("decision", parts)] + ([] if truth is None else [("truth", truth)])
    with rc_context(plots.OPTIONS):
        figure = Figure(figsize=(8.0, 2.8 + 0.25 * len(bars)), layout="constrained")
        axes, below = figure.subplots(
            2, sharex=True, height_ratios=(2.2, 0.25 * len(bars))
        )
        edges = np.minimum(FRAME * np.arange(len(frames) + 1), seconds)
        axes.stairs(frames, edges, baseline=None, color="black", linewidth=1.2)
        label = f"threshold {threshold:g}"
        axes.axhline(threshold, color=plots.CHANCE, linestyle="--", lw=1, label=label)
        axes.set(ylabel="score of 20 ms\n(higher: bona fide)")
        axes.set_title(title_of(name), fontsize=9, parse_math=False)
        for row, (_, spoofed) in enumerate(bars):
            place = (row - 0.4, 0.8)
            below.broken_barh([(0, seconds)], place, color=BONAFIDE)
            spans = [(a, min(b, seconds) - a) for a, b in spoofed if a < seconds]
            below.broken_barh(spans, place, color=SPOOF)
        below.set(xlabel="time (s)", xlim=(0, seconds), ylim=(len(bars) - 0.5, -0.5))
        below.set_yticks(range(len(bars)), [title for title, _ in bars])
        below.tick_params(axis="y", length=0)
        below.spines[["left", "bottom"]].set_visible(False)
        colours = (("bona fide", BONAFIDE), ("spoof", SPOOF))
        figure.legend(
            handles=[
                *axes.get_legend_handles_labels()[0],
                *(Patch(color=colour, label=text) for text, colour in colours),
            ],
            loc="outside lower center",
            ncols=3,
            fontsize="small",
        )
        return plots.svg("segments", figure)
