"""``mldg score``: writes the scores of files, folders and lists, and can be resumed.

While a score file is being made, its lines are in ``FILE.part``. The same command
started again does not score these recordings again. Recordings that cannot be scored
are reported and excluded.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO, TypeVar

import numpy as np
from tqdm import tqdm

from mldg_jax.common import console, files, text_files
from mldg_jax.common.errors import UserError
from mldg_jax.data import audio
from mldg_jax.data.mixdown import Waveform
from mldg_jax.scoring.calibration import meaning_of, warning_of_few
from mldg_jax.scoring.hub_scorer import load, local_folder
from mldg_jax.scoring.recording_paths import collect
from mldg_jax.scoring.score_output import heading_of, open_lines
from mldg_jax.scoring.scorer import Scorer, stream
from mldg_jax.scoring.segments.segment_decisions import SegmentFiles
from mldg_jax.scoring.timeline import write
from mldg_jax.scoring.windows import Windows, starts

log = logging.getLogger(__name__)

_T = TypeVar("_T")
_U = TypeVar("_U")
READERS = 2  # threads that decode ahead of the model


def score(
    run: str | Path,
    arguments: Sequence[str],
    *,
    output: str | Path | TextIO,
    timeline: str | Path | None = None,
    overlap: float = 0.0,
    segments: SegmentFiles | None = None,
) -> int:
    """Scores recordings and writes ``name score`` lines.

    Args:
      run: a finished run, or a detector as in ``hub_scorer.load``.
      arguments: see ``recording_paths.collect``.
      output: the score file, or an open file that gets each line as soon as it is
        known.
      timeline: a folder for the segment scores, a table and a figure for each
        recording; not written if None.
      overlap: of the segment scores, see ``windows.starts``; the recording's score is
        the mean over windows at overlap 0 in any case.
      segments: where to write which parts are spoofed, which takes a run that scores
        frames; not written if None.

    Returns:
      The number of recordings, folders and lists that could not be scored; a warning
      names each.

    Raises:
      UserError: the run cannot be loaded, there is nothing to score, or the output
        cannot be written or would replace something else.
    """
    starts(1, 1, overlap)  # rejects an invalid overlap before anything is loaded
    if timeline is not None:
        files.check_folder(timeline)
    if segments is not None:
        files.check_folder(segments.folder)
    names, problems = collect(arguments)
    for problem in problems:
        log.warning("%s", text_files.printable(str(problem)))
    run = local_folder(run)
    heading = heading_of(run, overlap)
    if segments is not None:  # what was scored without them is scored again
        heading += f" segments {segments.threshold:g}"
    with ExitStack() as stack:
        done, add = stack.enter_context(
            open_lines(output, names, heading, [x for x in arguments if x != "-"])
        )
        scorer = load(run)
        if segments is not None:
            segments.check(scorer, run)
        fitted = scorer.calibration
        log.info("higher is more bona fide; scores are %s", meaning_of(fitted))
        if fitted and (few := warning_of_few(fitted.n_bonafide, fitted.n_spoof)):
            log.warning("%s", few)
        todo = [name for name in names if name not in done]
        stack.enter_context(console.quiet_libraries())
        bar = stack.enter_context(
            tqdm(total=len(names), initial=len(names) - len(todo), unit="file",
                 disable=console.is_quiet() or None)
        )  # fmt: skip
        failed = len(problems)
        for name, result in _score(scorer, todo, overlap):
            bar.update()
            if isinstance(result, UserError):
                log.warning("%s", text_files.printable(str(result)))
                failed += 1
                continue
            if timeline is not None:
                write(Path(timeline), name, result)
            if segments is not None:
                segments.write(name, result, scorer)
            bar.clear()
            add(name, result.recording_score)
    if isinstance(output, str | Path):
        scored = len(names) - (failed - len(problems))
        refused = f" ({failed} refused)" if failed else ""
        log.info("%d scored → %s%s", scored, output, refused)
    return failed


def _score(
    scorer: Scorer, names: Sequence[str], overlap: float
) -> Iterator[tuple[str, Windows | UserError]]:
    """Yields every recording with its windows' scores, or why it has none."""
    readable: deque[str] = deque()
    failed: deque[tuple[str, UserError]] = deque()

    def waveforms():
        for name, result in _read_ahead(names):
            if isinstance(result, UserError):
                failed.append((name, result))
            else:
                readable.append(name)
                yield result

    for windows in stream(scorer, waveforms(), overlap):
        while failed:
            yield failed.popleft()
        name = readable.popleft()
        if np.isfinite([*windows.score, windows.recording_score]).all():
            yield name, windows
        else:
            yield name, UserError(f"{name}: its score is not finite: check the run")
    yield from failed


def _read_ahead(names: Iterable[str]) -> Iterator[tuple[str, Waveform | UserError]]:
    """Decodes recordings in threads, a few ahead, and yields them in order."""
    return ahead(lambda name: (name, attempt(audio.read, name, name)), names)


def attempt(read: Callable[..., Any], name: str, *arguments: Any) -> Any:
    """Reads a recording, or says why it cannot be read.

    Args:
      read: reads it.
      name: of the recording, for the message.
      *arguments: of ``read``.

    Returns:
      What ``read`` returns, or a ``UserError``.
    """
    try:
        return read(*arguments)
    except UserError as problem:
        return problem
    except Exception as error:  # a decoder's: it is this recording's alone
        reason = f"{type(error).__name__}: {error}"
        return UserError(f"{name}: cannot be read ({reason})")


def ahead(function: Callable[[_T], _U], items: Iterable[_T]) -> Iterator[_U]:
    """Maps a function over items in threads, a few ahead of the one that is used.

    Args:
      function: reads a recording, for example.
      items: its arguments.

    Yields:
      The results, in order. At most ``2 * READERS + 1`` of them wait in memory.
    """
    with ThreadPoolExecutor(READERS) as threads:
        waiting: deque[Future[_U]] = deque()
        for item in items:
            waiting.append(threads.submit(function, item))
            if len(waiting) > 2 * READERS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
