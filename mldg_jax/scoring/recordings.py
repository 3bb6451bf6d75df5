"""``mldg score``: writes the scores of files, folders and lists, and can be resumed.

While a score file is being made, its lines are in ``FILE.part``. The same command
started again does not score these recordings again. Recordings that cannot be scored
are reported and excluded.
"""

import logging
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from tqdm import tqdm

from mldg_jax.common import files
from mldg_jax.common.errors import UserError
from mldg_jax.data import audio
from mldg_jax.scoring.scorer import Scorer, load, starts, stream
from mldg_jax.scoring.timeline import write

log = logging.getLogger(__name__)

SUFFIXES = (
    *(".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".au"),
    *audio.CONTAINERS,
)
LISTS = (".txt", ".lst")
READERS = 2  # threads that decode ahead of the model


def collect(arguments: Sequence[str]) -> list[str]:
    """Lists the recordings that the command line names, without duplicates.

    Args:
      arguments: recordings; folders, which are searched for audio files; lists (.txt,
        .lst) with one path per line; "-" for such a list on standard input.

    Returns:
      Paths, in the order of the arguments.

    Raises:
      UserError: a folder or a list holds nothing to score.
    """
    recordings: list[str] = []
    for argument in arguments:
        path = Path(argument)
        if argument == "-":
            listed = _lines(sys.stdin.read())
        elif path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
            listed = [str(p) for p in inside if p.is_file()]
        elif path.suffix.lower() in LISTS and path.is_file():
            listed = _lines(path.read_text())
        else:
            listed = [argument]
        if not listed:
            raise UserError(
                f"{argument}: nothing to score in it; a folder must hold "
                f"{', '.join(SUFFIXES)} files, a list must hold paths"
            )
        recordings += listed
    return list(dict.fromkeys(recordings))


def _lines(text: str) -> list[str]:
    """Returns the lines that are not blank."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def score(
    run: str | Path,
    arguments: Sequence[str],
    *,
    output: str | Path | TextIO,
    timeline: str | Path | None = None,
    overlap: float = 0.0,
) -> int:
    """Scores recordings and writes ``name score`` lines.

    Args:
      run: a finished run.
      arguments: see ``collect``.
      output: the score file, or an open file that gets each line as soon as it is
        known.
      timeline: a folder for the segment scores, a table and a figure for each
        recording; not written if None.
      overlap: see ``scorer.starts``.

    Returns:
      The number of recordings that could not be scored; a warning names each.

    Raises:
      UserError: the run cannot be loaded, or there is nothing to score.
    """
    starts(1, 1, overlap)  # rejects an invalid overlap before anything is loaded
    names = collect(arguments)
    scorer = load(run)
    meaning = (
        "not calibrated: compare them only with each other; 0 has no meaning as a "
        "threshold (see mldg calibrate)"
        if scorer.calibration is None
        else "log-likelihood ratios: at 0 both classes are equally likely"
    )
    log.info("higher is more bona fide; scores are %s", meaning)
    unit = {"total": len(names), "unit": "file", "disable": None}
    if not isinstance(output, str | Path):
        with tqdm(**unit) as bar:
            lines, failed = _score(scorer, names, timeline, overlap, bar.update)
            for line in lines:
                bar.clear()
                output.write(line)
        return len(failed)

    part = Path(f"{output}.part")
    heading = f"# {Path(run).resolve()} overlap {overlap:g}\n"
    done = _resume(part, heading)
    todo = [name for name in names if name not in done]
    with part.open("a") as file, tqdm(initial=len(names) - len(todo), **unit) as bar:
        lines, failed = _score(scorer, todo, timeline, overlap, bar.update)
        for line in lines:
            file.write(line)
            file.flush()
    scored = dict(line.rsplit(" ", 1) for line in part.read_text().splitlines()[1:])
    text = "".join(f"{name} {scored[name]}\n" for name in names if name in scored)
    files.write_text(Path(output), text)
    part.unlink()
    return len(failed)


def _resume(part: Path, heading: str) -> set[str]:
    """Returns the recordings that an interrupted command has already scored."""
    part.parent.mkdir(parents=True, exist_ok=True)
    lines = part.read_text().splitlines(keepends=True) if part.exists() else []
    # A kill may cut the last line.
    lines = [line for line in lines if line.endswith("\n")]
    if lines[:1] != [heading]:
        lines = [heading]
    files.write_text(part, "".join(lines))
    return {line.rsplit(" ", 1)[0] for line in lines[1:]}


def _score(
    scorer: Scorer,
    names: Sequence[str],
    timeline: str | Path | None,
    overlap: float,
    advance: Callable[[int], Any],
) -> tuple[Iterator[str], list[str]]:
    """Returns an iterator of lines, and a list that it fills with names that failed."""
    failed: list[str] = []
    readable: deque[str] = deque()

    def waveforms():
        for name, result in _read_ahead(names):
            if isinstance(result, UserError):
                log.warning("%s", result)
                failed.append(name)
                advance(1)
            else:
                readable.append(name)
                yield result

    def lines():
        for windows in stream(scorer, waveforms(), overlap):
            name = readable.popleft()
            if timeline is not None:
                write(Path(timeline), name, windows)
            advance(1)
            yield f"{name} {windows.score.mean():.6f}\n"

    return lines(), failed


def _read_ahead(names: Iterable[str]) -> Iterator[tuple[str, np.ndarray | UserError]]:
    """Decodes recordings in threads, a few ahead, and yields them in order."""

    def read(name):
        try:
            return name, audio.read(name)
        except UserError as problem:
            return name, problem

    with ThreadPoolExecutor(READERS) as threads:
        ahead: deque = deque()
        for name in names:
            ahead.append(threads.submit(read, name))
            if len(ahead) > 2 * READERS:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
