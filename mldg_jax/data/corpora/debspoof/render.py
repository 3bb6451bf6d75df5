"""Renders a plan: every clip becomes one FLAC file, in parallel, and can be resumed.

A clip is a file `<utterance>.flac` (written under another name and renamed) or a file
`<utterance>.failed` with the reason. What a clip sounds like depends on its row of the
plan alone, so a build may be killed at any time.
"""

import hashlib
import os
import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import as_completed
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

from mldg_jax.common.errors import UserError
from mldg_jax.common.files import replacing
from mldg_jax.common.processes import pool
from mldg_jax.data.corpora.debspoof import neural
from mldg_jax.data.corpora.debspoof.clip import Clip, Plan
from mldg_jax.data.corpora.debspoof.neutralise import RATE, neutralise
from mldg_jax.data.corpora.debspoof.sounds import of_task
from mldg_jax.data.corpora.debspoof.splits import largest_cap, shuffled

VERSION = 1
"""Raise it when the same plan would give other samples."""

_BATCH = 8  # texts a Festival process


def render(
    plan: Plan, cache: Path, folder: Path, *, workers: int, progress: bool = True
) -> tuple[list[Clip], dict[str, float]]:
    """Makes the clips of `plan` that are not there yet in `folder/clips`.

    Args:
      plan: what to render.
      cache: where the sources are.
      folder: where the clips go.
      workers: processes.
      progress: show a bar with the time left.

    Returns:
      The clips that make up the corpus, in the plan's order, and the seconds of work
      spent on each attack in this run.

    Raises:
      UserError: an attack failed for more than half of its clips.
    """
    clips = folder / "clips"
    _forget_other_plan(plan, folder)
    seconds: defaultdict[str, float] = defaultdict(float)
    state = _state(plan, clips)
    if needed(plan, state):
        model = neural.prepare_kokoro(cache)
        total = sum(plan.quotas.values())
        total = min(total, len(plan.clips))
        done = sum(state.get(clip.utterance, False) for clip in plan.clips)
        bar = tqdm(total=total, initial=done, disable=not progress, unit="clip")
        with bar, pool(workers) as processes:
            while todo := needed(plan, state):
                tasks = [(task, cache, clips, model) for task in batches(todo)]
                running = [processes.submit(_render_task, *task) for task in tasks]
                for future in as_completed(running):
                    attack, count, spent = future.result()
                    seconds[attack] += spent
                    bar.update(count)
                state = _state(plan, clips)
    check_complete(plan, state, clips)
    return kept(plan, state), dict(seconds)


def needed(plan: Plan, state: dict[str, bool]) -> list[Clip]:
    """Candidates to try next: enough to fill every cell if all succeed.

    Args:
      plan: the plan.
      state: utterance -> True (rendered) or False (failed); absent: not tried.
    """
    todo, filled = [], Counter()
    for clip in plan.clips:
        if filled[clip.cell] >= plan.quotas[clip.cell]:
            continue
        if clip.utterance not in state:
            todo.append(clip)
        filled[clip.cell] += state.get(clip.utterance, True)
    return todo


def kept(plan: Plan, state: dict[str, bool]) -> list[Clip]:
    """The first successes of every cell, in order; no voice above a tenth."""
    filled: Counter = Counter()
    chosen = []
    for clip in plan.clips:
        if state.get(clip.utterance) and filled[clip.cell] < plan.quotas[clip.cell]:
            filled[clip.cell] += 1
            chosen.append(clip)
    # a bona fide voice with failures makes the split smaller: apply the cap again
    caps = {}
    for split in dict.fromkeys(clip.split for clip in plan.clips):
        cells = [n for c, n in filled.items() if c.startswith(f"{split}/bonafide/")]
        caps[split] = largest_cap(cells)
    counts: Counter = Counter()
    result = []
    for clip in chosen:
        counts[clip.cell] += 1
        if clip.label == "spoof" or counts[clip.cell] <= caps[clip.split]:
            result.append(clip)
    return result


def batches(clips: Sequence[Clip]) -> list[list[Clip]]:
    """Tasks: Festival clips of one voice together, all others alone; mixed.

    The mixture makes the bar's remaining time believable.
    """
    groups = defaultdict(list)
    for clip in clips:
        alone = not clip.attack.startswith("fest_")
        groups[clip.utterance if alone else (clip.attack, clip.voice)].append(clip)
    tasks = [
        group[start : start + _BATCH]
        for group in groups.values()
        for start in range(0, len(group), _BATCH)
    ]
    return shuffled(tasks, "order", key=lambda task: task[0].utterance)


def check_complete(plan: Plan, state: dict[str, bool], clips: Path) -> None:
    """Raises UserError when a spoof cell got less than half of its clips."""
    good = Counter(clip.cell for clip in plan.clips if state.get(clip.utterance))
    for cell, quota in plan.quotas.items():
        if "/bonafide/" in cell or good[cell] >= quota / 2:
            continue
        failed = [c for c in plan.clips if c.cell == cell and not state[c.utterance]]
        reason = (clips / f"{failed[0].utterance}.failed").read_text()
        raise UserError(
            f"Only {good[cell]} of {quota} clips of {cell} could be made; the first "
            f"failure says: {reason} Check the synthesiser, delete the .failed files "
            f"in {clips} and build again."
        )


def _render_task(
    task: list[Clip], cache: Path, clips: Path, model: Path
) -> tuple[str, int, float]:
    """Renders the clips of one task; (attack, successes, seconds)."""
    started = time.perf_counter()
    successes = 0
    try:
        sounds = of_task(task, cache, model)
    except Exception as error:  # any failure of an engine is a property of the clip
        sounds = [error] * len(task)
    for clip, sound in zip(task, sounds, strict=True):
        samples, reason = _finish(clip, sound)
        if samples is None:
            _write(clips / f"{clip.utterance}.failed", reason.encode())
        else:
            _write_flac(clips / f"{clip.utterance}.flac", samples)
            successes += 1
    return task[0].attack, successes, time.perf_counter() - started


def _finish(clip: Clip, sound) -> tuple[np.ndarray | None, str]:
    """Neutralised samples, or None and why not."""
    if isinstance(sound, Exception):
        return None, f"{type(sound).__name__}: {sound}"
    if sound is None:
        return None, "the synthesiser gave no sound"
    waveform, rate = sound
    if not len(waveform) or not np.isfinite(waveform).all():
        return None, "the sound is empty or not finite"
    samples = neutralise(waveform, rate, clip.seed, clip.longest)
    return samples, "" if samples is not None else "less than 1.3 s of speech"


def _write_flac(path: Path, samples: np.ndarray) -> None:
    with replacing(path) as part:
        soundfile.write(part, samples, RATE, format="FLAC", subtype="PCM_16")


def _write(path: Path, content: bytes) -> None:
    with replacing(path) as part:
        part.write_bytes(content)


def _state(plan: Plan, clips: Path) -> dict[str, bool]:
    names = set(os.listdir(clips))
    state = {}
    for clip in plan.clips:
        if f"{clip.utterance}.flac" in names:
            state[clip.utterance] = True
        elif f"{clip.utterance}.failed" in names:
            state[clip.utterance] = False
    return state


def _forget_other_plan(plan: Plan, folder: Path) -> None:
    """Deletes clips that an older version of the plan made."""
    stamp = folder / "plan.sha256"
    digest = hashlib.sha256(f"{VERSION} {plan.digest}".encode()).hexdigest()
    if not stamp.exists() or stamp.read_text() != digest:
        shutil.rmtree(folder / "clips", ignore_errors=True)
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    _write(stamp, digest.encode())
