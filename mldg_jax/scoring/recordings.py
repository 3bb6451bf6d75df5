"""``mldg score``: files, folders and lists in, a score file out, resumable.

While a score file is being made its lines are in ``FILE.part``; started again with the
same run, what is there is not scored again. Recordings that cannot be scored are
reported and left out.
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
    """The recordings that the command line names, each once.

    Args:
      arguments: recordings; folders, searched through for audio files; lists (.txt,
        .lst) with a path a line; "-" for such a list on standard input.

    Raises:
      UserError: a folder or a list holds nothing to score.
    """
    found: list[str] = []
    for argument in arguments:
        path = Path(argument)
        if argument == "-":
            more = _lines(sys.stdin.read())
        elif path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
            more = [str(p) for p in inside if p.is_file()]
        elif path.suffix.lower() in LISTS and path.is_file():
            more = _lines(path.read_text())
        else:
            more = [argument]
        if not more:
            raise UserError(
                f"{argument}: nothing to score in it; looked for "
                f"{', '.join(SUFFIXES)} files in folders and for paths in lists"
            )
        found += more
    return list(dict.fromkeys(found))


def _lines(text: str) -> list[str]:
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
      output: the score file, or an open one that gets each line when it is known.
      timeline: a folder for the score of every window, a table and a picture for each
        recording; none if None.
      overlap: see ``scorer.starts``.

    Returns:
      How many recordings could not be scored; a warning names each.

    Raises:
      UserError: the run cannot be loaded, or there is nothing to score.
    """
    starts(1, 1, overlap)  # refused before anything is loaded
    names = collect(arguments)
    scorer = load(run)
    meaning = (
        "not calibrated: compare them, 0 is no threshold (mldg calibrate)"
        if scorer.calibration is None
        else "log-likelihood ratios: at 0 both are equally likely"
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
    """What an interrupted command with the same heading has scored already."""
    part.parent.mkdir(parents=True, exist_ok=True)
    kept = part.read_text().splitlines(keepends=True) if part.exists() else []
    kept = [line for line in kept if line.endswith("\n")]  # a kill may cut the last
    if kept[:1] != [heading]:
        kept = [heading]
    files.write_text(part, "".join(kept))
    return {line.rsplit(" ", 1)[0] for line in kept[1:]}


def _score(
    scorer: Scorer,
    names: Sequence[str],
    timeline: str | Path | None,
    overlap: float,
    advance: Callable[[int], Any],
) -> tuple[Iterator[str], list[str]]:
    """Lines as they are made, and a list that fills with the names that failed."""
    failed: list[str] = []
    readable: deque[str] = deque()

    def waveforms():
        for name, found in _read_ahead(names):
            if isinstance(found, UserError):
                log.warning("%s", found)
                failed.append(name)
                advance(1)
            else:
                readable.append(name)
                yield found

    def lines():
        for windows in stream(scorer, waveforms(), overlap):
            name = readable.popleft()
            if timeline is not None:
                write(Path(timeline), name, windows)
            advance(1)
            yield f"{name} {windows.score.mean():.6f}\n"

    return lines(), failed


def _read_ahead(names: Iterable[str]) -> Iterator[tuple[str, np.ndarray | UserError]]:
    """Decodes in threads, a few recordings ahead."""

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
