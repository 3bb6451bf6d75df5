"""Evaluates frame scores with segment labels (``mldg evaluate-segments``).

Frame scores are a folder that ``mldg score --segments`` has written, or a text file of
any system with a line for each utterance: its name and the scores of its frames of
20 ms, higher for bona fide, separated by spaces.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mldg_jax.common.columns import is_number
from mldg_jax.common.errors import UserError
from mldg_jax.common.text_files import read_lines
from mldg_jax.data import segment_files
from mldg_jax.data.segment_labels import FRAME, Interval, parse
from mldg_jax.scoring import score_files
from mldg_jax.scoring.segments.segment_metrics import (
    LabelledFrames,
    SegmentRates,
    measure,
)
from mldg_jax.scoring.segments.segment_output import FRAMES, THRESHOLD

Keys = Mapping[str, tuple[Interval, ...]]


class FrameScores(NamedTuple):
    """The scores of an utterance's frames.

    Attributes:
      score: (frames,) float64, higher for bona fide.
      seconds: duration of the utterance.
    """

    score: np.ndarray
    seconds: float


def evaluate(
    frames: str | Path,
    keys: str | Path,
    scores: str | Path | None = None,
    threshold: float = THRESHOLD,
) -> SegmentRates:
    """Computes the error rates of frame scores.

    Args:
      frames: folder or file of frame scores.
      keys: segment labels, see ``segment_files``; or the index of a prepared corpus
        (index-SPLIT.parquet), which has them. Utterances without frame scores, and
        those whose labels are not known, are an error.
      scores: score file with the scores of the utterances; None for the lowest score
        of the frames of each.
      threshold: of the rates of decisions.

    Returns:
      The rates.

    Raises:
      UserError: a file cannot be read, the utterances of the files differ, or the
        threshold is not finite.
    """
    if not np.isfinite(threshold):
        raise UserError(f"--threshold is {threshold}; it must be a finite number")
    system, labels = read_frames(frames), read_keys(keys)
    names = {name: segment_files.matching(labels, _names(name)) for name in system}
    unknown = sorted(name for name, key in names.items() if key is None)
    missing = sorted(labels.keys() - set(names.values()))
    for problem, listed in (
        (f"are not in {keys}", unknown),
        (f"of {keys} have no scores in {frames}", missing),
    ):
        if listed:
            raise UserError(
                f"{len(listed):,} utterances {problem}: {', '.join(listed[:3])}"
                f"{', …' * (len(listed) > 3)}. Score and label the same utterances"
            )
    matched = [(name, str(key)) for name, key in names.items()]
    utterances = [
        LabelledFrames(system[name].score, labels[key], system[name].seconds)
        for name, key in matched
    ]
    given = None
    if scores is not None:
        read = score_files.read(scores)
        by_name = dict(zip(read.utterance.tolist(), read.score.tolist(), strict=True))
        by_name = {key: x for name, x in by_name.items() for key in _names(name)[::-1]}
        absent = [key for _, key in matched if key not in by_name]
        if absent:
            raise UserError(f"{scores} has no score of {absent[0]}: score it, too")
        given = np.array([by_name[key] for _, key in matched])
        if not np.isfinite(given).all():
            raise UserError(f"{scores} has scores that are not finite numbers")
    return measure(utterances, given, threshold)


def _names(name: str) -> tuple[str, ...]:
    """Returns what keys may call an utterance, from its path."""
    path = Path(name)
    return tuple(dict.fromkeys((name, path.name, path.stem)))


def read_keys(path: str | Path) -> Keys:
    """Reads segment labels, of a file of them or of a corpus's index.

    Args:
      path: see ``evaluate``.

    Returns:
      The spoofed parts by utterance.

    Raises:
      UserError: the file cannot be read, or does not label every utterance.
    """
    if Path(path).suffix.lower() != ".parquet":
        return segment_files.read(path)
    import pyarrow
    import pyarrow.parquet

    try:
        columns = pyarrow.parquet.read_table(path).to_pydict()
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path}: cannot be read as Parquet ({error})") from None
    if not {"utterance", "segments"} <= columns.keys():
        raise UserError(
            f"{path} has no column segments: give the index of a corpus with segment "
            "labels"
        )
    labels = {}
    pairs = zip(columns["utterance"], columns["segments"], strict=True)
    for name, text in pairs:
        parts = parse(text)
        if parts is None:
            raise UserError(f"{path}: the segment labels of {name} are not known")
        labels[name] = parts
    return labels


def read_frames(path: str | Path) -> dict[str, FrameScores]:
    """Reads frame scores.

    Args:
      path: see the module.

    Returns:
      The scores by the name or path of the utterance.

    Raises:
      UserError: there are none, a line does not fit, or an utterance is there twice.
    """
    path = Path(path)
    if path.is_dir():
        listed = [_table(x) for x in sorted(path.glob(f"*{FRAMES}"))]
    else:
        listed = [_line(line, path, number) for number, line in read_lines(path)]
    if not listed:
        raise UserError(
            f"{path}: there are no frame scores in it: mldg score --segments writes "
            "them"
        )
    result: dict[str, FrameScores] = {}
    for name, scores in listed:
        if name in result:
            raise UserError(f"{path}: {name} has scores twice; keep one of them")
        result[name] = scores
    return result


def _table(path: Path) -> tuple[str, FrameScores]:
    """Reads a table of ``segment_output``."""
    lines = read_lines(path)
    name = lines[0][1].removeprefix("# ") if lines else ""
    rows = [line.split("\t") for _, line in lines[2:]]
    if not rows or any(len(row) != 3 or not all(map(is_number, row)) for row in rows):
        raise UserError(f"{path} is damaged: score the recording again")
    values = np.array(rows, np.float64)
    return name, _finite(values[:, 2], float(values[-1, 1]), path)


def _line(line: str, path: Path, number: int) -> tuple[str, FrameScores]:
    name, *cells = line.split()
    if not cells or not all(map(is_number, cells)):
        raise UserError(
            f"{path}, line {number}: a name and the scores of its frames expected, "
            "separated by spaces"
        )
    return name, _finite(np.array(cells, np.float64), FRAME * len(cells), path)


def _finite(score: np.ndarray, seconds: float, path: Path) -> FrameScores:
    if not np.isfinite(score).all():
        raise UserError(f"{path} has scores that are not finite numbers")
    return FrameScores(score, seconds)


def table(rates: SegmentRates) -> str:
    """Formats error rates as text for people.

    Args:
      rates: from ``evaluate``.

    Returns:
      Several lines, rates in per cent.
    """

    def percent(rate: float | None) -> str:
        return "  –" if rate is None else f"{100 * rate:5.1f}"

    lines = [
        f"{rates.n_utterances:,} utterances, {rates.n_spoofed:,} with spoof; "
        f"{rates.seconds:,.1f} s, {rates.spoof_seconds:,.1f} s of it spoof",
        "EER, %",
    ]
    for milliseconds, rate in rates.by_resolution.items():
        lines.append(f"  segments of {milliseconds:>3} ms  {percent(rate)}")
    lines.append(f"  range-based         {percent(rates.range_based)}")
    lines.append(f"  utterances          {percent(rates.utterance)}")
    miss, false_alarm = map(percent, (rates.miss, rates.false_alarm))
    lines.append(
        f"at the threshold {rates.threshold:g}: {miss.strip()} % of the bona fide time "
        f"is called spoof, {false_alarm.strip()} % of the spoofed time bona fide"
    )
    return "\n".join(lines)
