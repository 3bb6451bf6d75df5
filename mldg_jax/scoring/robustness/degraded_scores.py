"""Scores of degraded recordings, a file for each degradation, kept and resumable.

A folder has ``settings.json`` (what its scores depend on) and, for each degradation,
``scores_NAME.txt`` and ``NAME.json`` (how many recordings it changed, and which could
not be degraded). While a degradation is being scored, ``NAME.part`` has a line for each
recording, and the same command continues there.
"""

import contextlib
import fcntl
import hashlib
import json
import logging
import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray as Array
from tqdm import tqdm

from mldg_jax.common import console, files, text_files
from mldg_jax.common.errors import UserError
from mldg_jax.data.augment.degradations import degrade
from mldg_jax.scoring import score_files
from mldg_jax.scoring.recordings import ahead, attempt
from mldg_jax.scoring.robustness.evaluation_set import EvaluationSet
from mldg_jax.scoring.scorer import Scorer, stream

log = logging.getLogger(__name__)

CLEAN = "clean"
SETTINGS = "settings.json"
SHOWN = 3  # problems of a degradation that are shown; its file has all


class DegradedScores(NamedTuple):
    """The scores of all trials under one degradation.

    Attributes:
      scores: (trials,) float64; NaN for a recording that could not be degraded.
      changed: number of recordings whose samples the degradation changed.
      failed: why a recording could not be degraded, by its name.
      snr: median over the changed recordings of the power of the recording over that
        of the change, in dB, where both have samples; None if none changed there.
    """

    scores: Array
    changed: int
    failed: dict[str, str]
    snr: float | None


@contextlib.contextmanager
def opened(folder: Path, settings: Mapping[str, Any]) -> Iterator[None]:
    """Opens a folder for scores that depend on some settings.

    Args:
      folder: new, empty, or with scores of the same settings.
      settings: JSON values.

    Yields:
      Nothing; another process cannot open the folder at the same time.

    Raises:
      UserError: the folder is of other settings, of something else, in use, or cannot
        be written.
    """
    path = folder / SETTINGS
    if not path.exists():
        files.check_folder(folder)
        if folder.exists() and any(folder.iterdir()):
            raise UserError(
                f"{folder} is not empty and not of mldg evaluate --robustness, which "
                f"would have {SETTINGS} in it: name another folder with --output"
            )
        files.write_text(path, json.dumps(settings, indent=1) + "\n")
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(
                f"another command is writing {folder}; wait for it, or name another "
                "folder with --output"
            ) from None
        earlier = text_files.read_json(path, dict)
        other = [k for k in settings if earlier.get(k) != settings[k]]
        if other:
            raise UserError(
                f"{folder} has scores of other settings ({', '.join(other)}): delete "
                "it to start over, or name another folder with --output"
            )
        yield


def score_all(
    scorer: Scorer, trials: EvaluationSet, names: Sequence[str], folder: Path
) -> dict[str, DegradedScores]:
    """Scores the recordings as they are and under each degradation.

    What the folder has already is not scored again.

    Args:
      scorer: the detector.
      trials: the recordings.
      names: of degradations.
      folder: from ``opened``.

    Returns:
      The scores by degradation, ``CLEAN`` first.

    Raises:
      UserError: a file of the folder was changed, or cannot be written.
    """
    found, number = {}, len(trials.keys.utterance)
    total = number * (len(names) + 1)
    bar = tqdm(total=total, unit="file", disable=console.is_quiet() or None)
    with bar, console.quiet_libraries(), files.writing(folder):
        for place, name in enumerate([CLEAN, *names]):
            bar.set_description(name)
            found[name] = _finished(folder, name, trials)
            if found[name] is None:
                _score(scorer, trials, name, folder, bar)
                found[name] = _finished(folder, name, trials)
            bar.update((place + 1) * number - bar.n)
            _warn(name, found[name], number)
    return found


def scores_file(folder: Path, name: str) -> Path:
    """Returns the score file of a degradation.

    Args:
      folder: from ``opened``.
      name: of the degradation, or ``CLEAN``.
    """
    return folder / f"scores_{name}.txt"


def _finished(folder: Path, name: str, trials: EvaluationSet) -> DegradedScores | None:
    """Reads the scores of a degradation; None if it has not been scored."""
    path, facts_path = scores_file(folder, name), folder / f"{name}.json"
    if not path.exists() or not facts_path.exists():
        return None
    facts = text_files.read_json(facts_path, dict)
    if facts.get("scores_sha256") != hashlib.sha256(path.read_bytes()).hexdigest():
        raise UserError(
            f"{path} has changed since it was written: delete it, and the same command "
            "scores these recordings again"
        )
    scores = np.full(len(trials.keys.utterance), np.nan)
    if path.stat().st_size:
        lines = score_files.read(path)
        by_name = dict(zip(lines.utterance.tolist(), lines.score, strict=True))
        names = map(text_files.printable, trials.keys.utterance.tolist())
        scores = np.array([by_name.get(x, np.nan) for x in names], float)
    return DegradedScores(scores, facts["changed"], facts["failed"], facts["snr"])


def _score(
    scorer: Scorer, trials: EvaluationSet, name: str, folder: Path, bar: Any
) -> None:
    """Scores the trials that ``NAME.part`` lacks, and makes the files of them."""
    utterances = trials.keys.utterance.tolist()
    part = folder / f"{name}.part"
    done = _lines(part)
    with part.open("a", encoding="utf-8") as file:
        todo = [i for i, x in enumerate(utterances) if x not in done]
        bar.update(len(utterances) - len(todo))
        for row, line in _scored(scorer, trials, name, todo):
            line = {"utterance": utterances[row], **line}
            done[utterances[row]] = line
            file.write(json.dumps(line) + "\n")
            file.flush()
            bar.update()
    lines = [done[x] for x in utterances]
    text = "".join(
        f"{text_files.printable(x['utterance'])} {x['score']:.6f}\n"
        for x in lines
        if "score" in x
    )
    ratios = [x["snr"] for x in lines if x.get("snr") is not None]
    facts = {
        "degradation": name,
        "trials": len(lines),
        "changed": sum(x.get("changed", False) for x in lines),
        "failed": {x["utterance"]: x["problem"] for x in lines if "problem" in x},
        "snr": float(np.median(ratios)) if ratios else None,
        "scores_sha256": hashlib.sha256(text.encode()).hexdigest(),
    }
    files.write_text(folder / f"{name}.json", json.dumps(facts, indent=1) + "\n")
    files.write_text(scores_file(folder, name), text)
    part.unlink()


def _lines(part: Path) -> dict[str, dict[str, Any]]:
    """Returns the lines of an interrupted command by utterance.

    A last line that a kill cut is removed.
    """
    if not part.exists():
        return {}
    text = part.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    if whole != text:
        files.write_text(part, whole.decode())
    fix = f"delete {part.name}, and the same command scores these recordings again"
    return {x["utterance"]: x for x in text_files.read_json_lines(part, fix=fix)}


def _scored(
    scorer: Scorer, trials: EvaluationSet, name: str, rows: Sequence[int]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields rows with their line of ``NAME.part``; problems before later scores."""
    readable: deque[tuple[int, dict[str, Any]]] = deque()
    failed: deque[tuple[int, dict[str, Any]]] = deque()

    def waveforms() -> Iterator[Array]:
        def read(row):
            utterance = str(trials.keys.utterance[row])
            return row, attempt(_changed, utterance, trials, name, row)

        for row, result in ahead(read, rows):
            if isinstance(result, UserError):
                failed.append((row, {"problem": str(result)}))
            else:
                waveform, line = result
                readable.append((row, line))
                yield waveform

    for windows in stream(scorer, waveforms()):
        while failed:
            yield failed.popleft()
        row, line = readable.popleft()
        if math.isfinite(windows.recording_score):
            yield row, {"score": windows.recording_score, **line}
        else:
            yield row, {"problem": "its score is not finite"}
    yield from failed


def _changed(
    trials: EvaluationSet, name: str, row: int
) -> tuple[Array, dict[str, Any]]:
    """Returns a degraded recording, and what the degradation did to it."""
    waveform = trials.read(row)
    if name == CLEAN:
        return waveform, {"changed": False}
    utterance = str(trials.keys.utterance[row])
    degraded = degrade(waveform, name, utterance, trials.talkers(row))
    n = min(len(waveform), len(degraded))
    power = np.sum(np.square(waveform[:n], dtype=float))
    change = np.sum(np.square(degraded[:n] - waveform[:n], dtype=float))
    ratio = 10 * math.log10(power / change) if power > 0 and change > 0 else None
    changed = not np.array_equal(degraded, waveform)
    return degraded, {"changed": changed, "snr": ratio}


def _warn(name: str, result: DegradedScores, number: int) -> None:
    """Names recordings that could not be degraded."""
    if not result.failed:
        return
    shown = "; ".join(f"{k}: {v}" for k, v in list(result.failed.items())[:SHOWN])
    more = len(result.failed) - SHOWN
    log.warning(
        "%s: no score for %d of %d recordings, which do not count (%s%s)",
        *(name, len(result.failed), number, text_files.printable(shown)),
        f"; {more} more in {name}.json" if more > 0 else "",
    )
