"""The files of ``mldg score --segments``: where in a recording the spoof is.

    STEM.frames.tsv   the score of every frame of 20 ms
    STEM.rttm         the decisions at the threshold, for scripts
    STEM.labels.txt   the spoofed parts, as a label track of Audacity
    STEM.svg          a picture of both, and of the truth where it is known

STEM is that of ``timeline.file_stem``.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mldg_jax.common import files
from mldg_jax.common.text_files import printable
from mldg_jax.data.schema import word
from mldg_jax.data.segment_labels import FRAME, Interval, of_frames
from mldg_jax.scoring.segments.segment_picture import picture
from mldg_jax.scoring.timeline import file_stem

FRAMES = ".frames.tsv"
THRESHOLD = 0.0
"""Default threshold of a frame's score: equal odds if the run is calibrated, else equal
logits."""


def spoofed_parts(
    frames: np.ndarray, seconds: float, threshold: float
) -> tuple[Interval, ...]:
    """Decides which parts of a recording are spoofed.

    Args:
      frames: (frames,) scores of 20 ms each, higher for bona fide.
      seconds: duration of the recording, which may end inside the last frame.
      threshold: a frame with a score below it is spoof.

    Returns:
      (start, end) in seconds, rising and disjoint.
    """
    parts = of_frames(frames >= threshold)
    return tuple((start, min(end, seconds)) for start, end in parts)


def write(
    folder: Path,
    name: str,
    frames: np.ndarray,
    seconds: float,
    *,
    threshold: float = THRESHOLD,
    is_calibrated: bool = False,
    truth: Sequence[Interval] | None = None,
    figure: bool = True,
) -> None:
    """Writes the files of a recording.

    Args:
      folder: created if it does not exist.
      name: path of the recording.
      frames, seconds, threshold: as for ``spoofed_parts``.
      is_calibrated: whether scores are log-likelihood ratios.
      truth: the parts that are known to be spoofed; None if it is not known.
      figure: whether to draw the picture.
    """
    stem = file_stem(name)
    parts = spoofed_parts(frames, seconds, threshold)
    table = f"# {printable(name)}\nstart\tend\tscore\n" + "".join(
        f"{FRAME * i:.2f}\t{min(FRAME * (i + 1), seconds):.6g}\t{score:.6f}\n"
        for i, score in enumerate(frames)
    )
    files.write_text(folder / f"{stem}{FRAMES}", table)
    text = rttm(name, parts, seconds, threshold, is_calibrated)
    files.write_text(folder / f"{stem}.rttm", text)
    files.write_text(folder / f"{stem}.labels.txt", audacity(parts, frames))
    if figure:
        drawn = picture(name, frames, seconds, threshold, parts, truth)
        files.write_text(folder / f"{stem}.svg", drawn)


def rttm(
    name: str,
    parts: Sequence[Interval],
    seconds: float,
    threshold: float,
    is_calibrated: bool,
) -> str:
    """Formats decisions as RTTM, a line for each part of either class.

    Args:
      name: path of the recording; the lines have its file name without suffix.
      parts: the spoofed parts in seconds, rising and disjoint.
      seconds, threshold, is_calibrated: see ``write``; the first line states them.
    """
    kind = "log-likelihood ratio" if is_calibrated else "score, not calibrated,"
    lines = [f";; spoof: frames of 20 ms with a {kind} below {threshold:g}"]
    edges = [0.0, *(x for part in parts for x in part), seconds]
    for i, (start, end) in enumerate(itertools.pairwise(edges)):
        if end - start > 1e-9:
            label = "spoof" if i % 2 else "bonafide"
            file = word(printable(Path(name).stem)) or "-"
            times = f"{start:.3f} {end - start:.3f}"
            lines.append(f"SPEAKER {file} 1 {times} <NA> <NA> {label} <NA> <NA>")
    return "\n".join(lines) + "\n"


def audacity(parts: Sequence[Interval], frames: np.ndarray) -> str:
    """Formats the spoofed parts as a label track of Audacity.

    Args:
      parts: the spoofed parts in seconds.
      frames: (frames,) scores; a label has the mean of its part.
    """
    lines = []
    for start, end in parts:
        first = round(start / FRAME)
        mean = frames[first : max(first + 1, round(end / FRAME))].mean()
        lines.append(f"{start:.6f}\t{end:.6f}\tspoof {mean:.2f}\n")
    return "".join(lines)
