"""The file that ``mldg score --output`` makes, line by line and resumable.

While it is being made, its lines are in ``FILE.part``, after a heading that tells the
run, its weights and its calibration. The same command started again continues there.
"""

import fcntl
import hashlib
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from mldg_jax.common import files, text_files
from mldg_jax.common.columns import is_number
from mldg_jax.common.errors import UserError
from mldg_jax.common.run_folder import TRAINABLE
from mldg_jax.scoring.calibration import CALIBRATION_FILE


def heading_of(run: str | Path, overlap: float) -> str:
    """Returns the first line of a ``.part``: what its scores depend on.

    Args:
      run: a finished run.
      overlap: see ``scorer.starts``.

    Returns:
      A line that differs for other weights, another calibration or another overlap.
    """
    digest = hashlib.sha256()
    for name in (TRAINABLE, CALIBRATION_FILE):
        path = Path(run) / name
        if path.exists():
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"# {Path(run).resolve()} {digest.hexdigest()[:16]} overlap {overlap:g}"


@contextmanager
def open_lines(
    output: str | Path | TextIO,
    names: Sequence[str],
    heading: str,
    inputs: Sequence[str] = (),
) -> Iterator[tuple[set[str], TextIO]]:
    """Opens what takes the lines, and makes the score file of them at the end.

    Args:
      output: the score file, or an open file that gets each line as soon as it is
        known.
      names: all recordings, in the order of the score file.
      heading: from ``heading_of``.
      inputs: paths that the output must not be: recordings and lists.

    Yields:
      ``(names that have their line already, file for the others' lines)``.

    Raises:
      UserError: the output is one of the inputs, is there and not a score file, or
        another command is writing it; or nothing could be scored.
    """
    if not isinstance(output, str | Path):
        yield set(), output
        return
    files.check_output(output, [*names, *inputs])
    output = Path(output)
    _check_is_scores(output)
    part = output.with_name(f"{output.name}.part")
    with files.writing(part.parent):
        part.parent.mkdir(parents=True, exist_ok=True)
    with files.writing(part.parent), part.open("a+", encoding="utf-8") as file:
        _lock(file, output)
        done = _resume(file, part, heading, names)
        yield done, file
        file.flush()
        text = _in_order(file, names)
        if text:
            files.write_text(output, text)
        part.unlink()
    if not text:
        raise UserError(f"nothing could be scored, so {output} is not written")


def _check_is_scores(output: Path) -> None:
    """Refuses to replace a file that is no score file."""
    if not output.exists():
        return
    with output.open("rb") as file:
        first = file.readline(10_000).decode("utf-8", "replace")
    if first and not _is_score(first.rpartition(" ")[2]):
        raise UserError(
            f"{output} is there and does not begin with a score, so it is not "
            "replaced; delete it or name another output"
        )


def _lock(file: TextIO, output: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise UserError(
            f"another command is writing {output}; wait for it, or name another output"
        ) from None


def _is_score(text: str) -> bool:
    return is_number(text) and math.isfinite(float(text))


def _resume(file: TextIO, part: Path, heading: str, names: Sequence[str]) -> set[str]:
    """Returns the names whose score counts, and leaves the file ready for more lines.

    Lines of other weights are dropped, and so is a last one that a kill cut. A
    recording that is newer than the last line may have been scored before it changed.
    """
    written = part.stat().st_mtime
    file.seek(0)
    text = text_files.decode(file.buffer.read(), part)
    whole = text[: text.rfind("\n") + 1]
    if text_files.split_lines(whole)[:1] != [heading]:
        whole = f"{heading}\n"
        file.truncate(0)
        file.write(whole)
    elif len(whole) < len(text):
        file.truncate(len(whole.encode()))
    file.flush()
    scored = {name for name, score in _pairs(whole) if _is_score(score)}
    changed = {
        text_files.printable(name)
        for name in names
        if os.path.exists(name) and os.path.getmtime(name) > written
    }
    return scored - changed


def _pairs(text: str) -> list[tuple[str, str]]:
    """Returns names and scores of the lines after the heading."""
    lines = text_files.split_lines(text)[1:]
    return [
        (name, score)
        for name, space, score in (x.rpartition(" ") for x in lines)
        if space
    ]


def _in_order(file: TextIO, names: Sequence[str]) -> str:
    """Returns the score file's text: a line for each recording that has a score."""
    file.seek(0)
    scored = {name: score for name, score in _pairs(file.read()) if _is_score(score)}
    wanted = [text_files.printable(name) for name in names]
    return "".join(f"{name} {scored[name]}\n" for name in wanted if name in scored)
