"""Segment scores: the score of every window of a recording, as table and figure."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mldg_jax.common import files
from mldg_jax.common.text_files import printable
from mldg_jax.scoring.scorer import Windows

LONGEST = 150  # bytes of a file's name, which most file systems limit to 255
CROWDED = 200  # most segments that a figure shows without a running mean


def file_stems(names: Sequence[str]) -> dict[str, str]:
    """Names the files of each recording.

    Args:
      names: of the recordings, without duplicates.

    Returns:
      For each the name of its files without suffix: ``folder_file.wav`` of a path, and
      a part of its SHA-256 where two would have the same or the name is very long.
    """
    stems = {name: printable(name.strip("./").replace("/", "_")) for name in names}
    counts = Counter(stem.casefold() for stem in stems.values())

    def unique(name: str, stem: str) -> str:
        short = stem.encode()[:LONGEST].decode(errors="ignore")
        if counts[stem.casefold()] == 1 and short == stem and stem:
            return stem
        digest = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()
        return f"{short}-{digest[:12]}"

    return {name: unique(name, stem) for name, stem in stems.items()}


def write(folder: Path, name: str, windows: Windows, *, stem: str) -> None:
    """Writes ``STEM.tsv`` and ``STEM.svg`` into a folder.

    Args:
      folder: created if it does not exist.
      name: of the recording, for the figure's title.
      windows: from ``scorer.stream``.
      stem: see ``file_stems``.
    """
    rows = zip(windows.start, windows.end, windows.score, strict=True)
    table = "start\tend\tscore\n" + "".join(
        f"{start:.3f}\t{end:.3f}\t{score:.6f}\n" for start, end, score in rows
    )
    files.write_text(folder / f"{stem}.tsv", table)
    files.write_text(folder / f"{stem}.svg", picture(name, windows))


def picture(name: str, windows: Windows) -> str:
    """Draws the scores over time.

    Each moment has the mean score of the windows that cover it; the dashed line is the
    recording's score. If there are many windows, a running mean is drawn as well.

    Args:
      name: of the recording, for the title.
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
        axes.axhline(windows.score.mean(), color=plots.CHANCE, linestyle="--", lw=1)
        axes.set(
            xlabel="time (s)",
            ylabel="score\n(higher: bona fide)",
            title=printable(Path(name).name),
            xlim=(0, edges[-1]),
        )
        return plots.svg("timeline", figure)
