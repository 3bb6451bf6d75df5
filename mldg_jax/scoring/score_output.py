"""The file that ``mldg score --output`` makes, line by line and resumable.

While it is being made, ``FILE.part`` has a heading that tells the run, its weights and
its calibration, and lines ``stamp name score``: the stamp is the size of the recording
and its modification time before it was read. The same command started again continues
there, and scores a recording again if its stamp differs.
"""

import fcntl
import hashlib
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from mldg_jax.common import files, text_files
from mldg_jax.common.columns import is_number
from mldg_jax.common.errors import UserError
from mldg_jax.common.run_folder import CONFIG, TRAINABLE
from mldg_jax.models.pretrained.torch_files import WEIGHTS
from mldg_jax.scoring.calibration import CALIBRATION_FILE

Add = Callable[[str, float], None]


def heading_of(run: str | Path, overlap: float) -> str:
    """Returns the first line of a ``.part``: what its scores depend on.

    Args:
      run: a finished run, or a hub folder.
      overlap: of the segment scores, see ``windows.starts``.

    Returns:
      A line that differs for another config, other weights, another calibration or
      another overlap.
    """
    weights = weights_of(run)
    where = text_files.printable(str(Path(run).resolve()))
    # Up to 0.2.0 the scores themselves depended on the overlap.
    segments = f" timeline {overlap:g}" if overlap else ""
    return f"# stamped {where} {weights} overlap 0{segments}"


def weights_of(run: str | Path) -> str:
    """Returns what scores depend on, apart from the recordings.

    Args:
      run: a finished run, or a hub folder.

    Returns:
      16 hexadecimal digits that differ for another config, other weights or another
      calibration.
    """
    digest = hashlib.sha256()
    for name in (CONFIG, TRAINABLE, CALIBRATION_FILE, *WEIGHTS):
        path = Path(run) / name
        if path.exists():
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


@contextmanager
def open_lines(
    output: str | Path | TextIO,
    names: Sequence[str],
    heading: str,
    inputs: Sequence[str] = (),
) -> Iterator[tuple[set[str], Add]]:
    """Opens what takes the scores, and makes the score file of them at the end.

    Args:
      output: the score file, or an open file that gets each line as soon as it is
        known.
      names: all recordings, in the order of the score file.
      heading: from ``heading_of``.
      inputs: paths that the output must not be: recordings and lists.

    Yields:
      ``(recordings that have their score already, function that adds a score)``.

    Raises:
      UserError: the output is one of the inputs, is there and not a score file, or
        another command is writing it; or nothing could be scored.
    """
    if not isinstance(output, str | Path):
        yield set(), _adder(output)
        return
    inputs = [*names, *inputs]
    files.check_output(output, inputs)
    output = Path(os.path.realpath(output))
    _check_is_scores(output)
    part = output.with_name(f"{output.name}.part")
    files.check_output(part, inputs)
    stamps = {name: _stamp(name) for name in names}  # before they are read
    with files.writing(part.parent):
        part.parent.mkdir(parents=True, exist_ok=True)
    with files.writing(part.parent), part.open("a+", encoding="utf-8") as file:
        _lock(file, output)
        yield _resume(file, part, heading, stamps), _adder(file, stamps)
        file.flush()
        text = _in_order(file, stamps)
        if text:
            files.write_text(output, text)
        part.unlink()
    if not text:
        raise UserError(f"nothing could be scored, so {output} is not written")


def _adder(file: TextIO, stamps: Mapping[str, str] | None = None) -> Add:
    """Returns a function that writes a line at once."""

    def add(name: str, score: float) -> None:
        stamp = "" if stamps is None else f"{stamps[name]} "
        file.write(f"{stamp}{text_files.printable(name)} {score:.6f}\n")
        file.flush()

    return add


def _stamp(name: str) -> str:
    """Returns what changes if another file is put in a recording's place."""
    try:
        status = os.stat(name)
    except (OSError, ValueError):
        return "-"
    return f"{status.st_size}:{status.st_mtime_ns}"


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


def _resume(
    file: TextIO, part: Path, heading: str, stamps: Mapping[str, str]
) -> set[str]:
    """Returns the names whose score counts, and leaves the file ready for more lines.

    Lines of other weights and of recordings that have changed are dropped, and so is a
    last one that a kill cut.
    """
    file.seek(0)
    text = text_files.decode(file.buffer.read(), part)
    first = text.partition("\n")[0]
    if text and not (first.startswith("# ") and " overlap " in first):
        raise UserError(
            f"{part} is there and is not of an interrupted `mldg score`, which would "
            "continue in it; move it, or name another output"
        )
    whole = text[: text.rfind("\n") + 1]
    if text_files.split_lines(whole)[:1] != [heading]:
        whole = f"{heading}\n"
        file.truncate(0)
        file.write(whole)
    elif len(whole) < len(text):
        file.truncate(len(whole.encode()))
    file.flush()
    scored = {name: stamp for stamp, name, score in _lines(whole) if _is_score(score)}
    return {
        name
        for name, stamp in stamps.items()
        if scored.get(text_files.printable(name)) == stamp != "-"
    }


def _lines(text: str) -> list[tuple[str, str, str]]:
    """Returns stamps, names and scores of the lines after the heading."""
    lines = []
    for line in text_files.split_lines(text)[1:]:
        stamp, _, rest = line.partition(" ")
        name, space, score = rest.rpartition(" ")
        if space:
            lines.append((stamp, name, score))
    return lines


def _in_order(file: TextIO, stamps: Mapping[str, str]) -> str:
    """Returns the score file's text: a line for each recording that has a score."""
    file.seek(0)
    scored = {x[:2]: x[2] for x in _lines(file.read()) if _is_score(x[2])}
    wanted = [(stamp, text_files.printable(name)) for name, stamp in stamps.items()]
    return "".join(f"{x[1]} {scored[x]}\n" for x in wanted if x in scored)
