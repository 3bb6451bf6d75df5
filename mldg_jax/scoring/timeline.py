"""Segment scores: the score of every window of a recording, as table and figure."""

import hashlib
import os
from pathlib import Path

import numpy as np

from mldg_jax.common import files
from mldg_jax.common.text_files import printable
from mldg_jax.scoring.windows import Windows

TITLE = 90  # characters that fit above a figure
LONGEST = 150  # bytes of a file's name, which most file systems limit to 255
CROWDED = 200  # most segments that a figure shows without a running mean


def file_stem(name: str) -> str:
    """Names the files of a recording.

    Args:
      name: path of the recording.

    Returns:
      The name of its files without suffix, a function of the absolute path alone: the
      recording's own name, and a part of the SHA-256 of the path, which differs for
      recordings of other folders and for names that differ in capitals.
    """
    path = os.path.abspath(name)
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()
    short = printable(os.path.basename(path)).encode()[:LONGEST]
    return f"{short.decode(errors='ignore')}-{digest[:12]}"


def write(folder: Path, name: str, windows: Windows) -> None:
    """Writes ``STEM.tsv`` and ``STEM.svg`` into a folder, see ``file_stem``.

    Args:
      folder: created if it does not exist.
      name: path of the recording: the table's first line, after #, and the figure's
        title.
      windows: from ``scorer.stream``.
    """
    stem = file_stem(name)
    rows = zip(windows.start, windows.end, windows.score, strict=True)
    table = f"# {printable(name)}\nstart\tend\tscore\n" + "".join(
        f"{start:.3f}\t{end:.3f}\t{score:.6f}\n" for start, end, score in rows
    )
    files.write_text(folder / f"{stem}.tsv", table)
    files.write_text(folder / f"{stem}.svg", picture(name, windows))


def picture(name: str, windows: Windows) -> str:
    """Draws the scores over time.

    Each moment has the mean score of the windows that cover it; the dashed line is the
    recording's score, and there is a thin line at 0. If there are many windows, a
    running mean is drawn as well.

    Args:
      name: path of the recording, for the title; of a long one its end.
      windows: from ``scorer.stream``.

    Returns:
      An SVG document.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from mldg_jax.common import plots

    edges = np.unique(np.concatenate([windows.start, windows.end]))
    middle = (edges[:-1] + edges[1:]) / 2
    inside = (windows.start <= middle[:, None]) & (middle[:, None] < windows.end)
    level = (inside * windows.score).sum(1) / inside.sum(1)
    with rc_context(plots.OPTIONS):
        figure = Figure(figsize=(8.0, 2.6), layout="constrained")
        axes = figure.add_subplot()
        colour, _ = plots.style(3)
        crowded = len(level) > CROWDED
        style = {"color": colour, "alpha": 0.3 if crowded else 1.0, "linewidth": 1.4}
        axes.stairs(level, edges, baseline=None, **style)
        if crowded:
            width = len(level) // (CROWDED // 4)
            smooth = np.convolve(level, np.ones(width) / width, "valid")
            times = np.convolve(middle, np.ones(width) / width, "valid")
            axes.plot(times, smooth, color=colour, linewidth=1.8)
        axes.axhline(0, color="black", lw=0.6, gid="zero")
        mean = windows.recording_score
        label = f"mean: {mean:.2f}, the recording's score"
        axes.axhline(mean, color=plots.CHANCE, linestyle="--", lw=1, label=label)
        axes.legend(loc="best", fontsize="small", framealpha=0.8)
        axes.set(
            xlabel="time (s)",
            ylabel="score\n(higher: bona fide)",
            xlim=(0, edges[-1]),
        )
        axes.set_title(title_of(name), parse_math=False)
        return plots.svg("timeline", figure)


def title_of(name: str) -> str:
    """Returns the title of a recording's figure: its path, or its last characters.

    Args:
      name: path of the recording.
    """
    name = printable(name)
    return name if len(name) <= TITLE else "…" + name[1 - TITLE :]
