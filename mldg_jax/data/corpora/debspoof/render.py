"""Renders a plan: one FLAC file per utterance, in parallel and resumable.

An utterance becomes ``<utterance>.flac`` (written under another name and renamed) or
``<utterance>.failed`` with the reason. Its samples depend on its entry in the plan
alone, so a build may be killed and resumed at any time.
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

from mldg_jax.common import console
from mldg_jax.common.errors import UserError
from mldg_jax.common.files import replacing
from mldg_jax.common.processes import pool, working_on
from mldg_jax.data.corpora.debspoof import neural
from mldg_jax.data.corpora.debspoof.clip import Clip, Plan
from mldg_jax.data.corpora.debspoof.neutralise import RATE, neutralise
from mldg_jax.data.corpora.debspoof.sounds import of_task
from mldg_jax.data.corpora.debspoof.splits import (
    MOST_PER_VOICE,
    largest_cap,
    shuffled,
)

VERSION = 1
"""To be increased when a change of code gives the same plan other samples."""

_BATCH = 8  # texts per Festival process


def render(
    plan: Plan, cache: Path, folder: Path, *, workers: int, progress: bool = True
) -> tuple[list[Clip], dict[str, float]]:
    """Renders the utterances of a plan that are missing from ``folder/clips``.

    Args:
      plan: candidates and quotas.
      cache: folder filled by ``sources.fetch_all``.
      folder: build folder.
      workers: number of processes.
      progress: show a progress bar.

    Returns:
      The utterances of the corpus in plan order, and the worker seconds that this run
      spent on each attack ("-" for bona fide).

    Raises:
      UserError: more than half of the utterances of an attack failed.
    """
    clips = folder / "clips"
    _discard_stale_clips(plan, folder)
    seconds: defaultdict[str, float] = defaultdict(float)
    state = _read_state(plan, clips)
    if needed(plan, state):
        spoken = any(clip.attack.startswith("kokoro") for clip in plan.clips)
        model = neural.prepare_kokoro(cache) if spoken else cache
        total = sum(plan.quotas.values())
        total = min(total, len(plan.clips))
        done = sum(state.get(clip.utterance, False) for clip in plan.clips)
        hidden = not progress or console.is_quiet()
        bar = tqdm(total=total, initial=done, disable=hidden, unit="utterance")
        with bar, pool(workers) as processes:
            while todo := needed(plan, state):
                tasks = [(task, cache, clips, model) for task in batches(todo)]
                running = [processes.submit(_render_task, *task) for task in tasks]
                for future in as_completed(running):
                    attack, count, spent = future.result()
                    seconds[attack] += spent
                    bar.update(count)
                state = _read_state(plan, clips)
    check_complete(plan, state, clips)
    return kept(plan, state), dict(seconds)


def needed(plan: Plan, state: dict[str, bool]) -> list[Clip]:
    """Returns the candidates to try next: enough to fill every cell if all succeed.

    Args:
      plan: candidates and quotas.
      state: True (rendered) or False (failed) by utterance; absent if not tried.

    Returns:
      Candidates not tried yet, in plan order.
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
    """Selects the corpus: the first successes of every cell, up to its quota.

    Args:
      plan: candidates and quotas.
      state: True (rendered) or False (failed) by utterance; absent if not tried.

    Returns:
      Utterances in plan order, with no speaker above ``MOST_PER_VOICE`` in a split.
    """
    filled: Counter = Counter()
    chosen = []
    for clip in plan.clips:
        if state.get(clip.utterance) and filled[clip.cell] < plan.quotas[clip.cell]:
            filled[clip.cell] += 1
            chosen.append(clip)
    # Failures of bona fide speech shrink a split, and with it the share: cap again
    caps = {}
    for split in dict.fromkeys(clip.split for clip in plan.clips):
        cells = [n for c, n in filled.items() if c.startswith(f"{split}/bonafide/")]
        caps[split] = largest_cap(cells, MOST_PER_VOICE[plan.size])
    counts: Counter = Counter()
    result = []
    for clip in chosen:
        counts[clip.cell] += 1
        if clip.label == "spoof" or counts[clip.cell] <= caps[clip.split]:
            result.append(clip)
    return result


def batches(clips: Sequence[Clip]) -> list[list[Clip]]:
    """Groups utterances into tasks: several per Festival voice, one for other attacks.

    Tasks are shuffled so that the progress bar estimates the remaining time well.

    Args:
      clips: utterances to render.

    Returns:
      Tasks of at most 8 utterances of one Festival voice, or of one utterance.
    """
    groups = defaultdict(list)
    for clip in clips:
        is_festival = clip.attack.startswith("fest_")
        key = (clip.attack, clip.voice) if is_festival else clip.utterance
        groups[key].append(clip)
    tasks = [
        group[start : start + _BATCH]
        for group in groups.values()
        for start in range(0, len(group), _BATCH)
    ]
    return shuffled(tasks, "order", key=lambda task: task[0].utterance)


def check_complete(plan: Plan, state: dict[str, bool], clips: Path) -> None:
    """Checks that every attack has at least half of its utterances in every split.

    Args:
      plan: candidates and quotas.
      state: True (rendered) or False (failed) by utterance.
      clips: folder of the rendered files.

    Raises:
      UserError: an attack has fewer; it quotes the first failure.
    """
    successes = Counter(clip.cell for clip in plan.clips if state.get(clip.utterance))
    for cell, quota in plan.quotas.items():
        if "/bonafide/" in cell or successes[cell] >= quota / 2:
            continue
        failed = [c for c in plan.clips if c.cell == cell and not state[c.utterance]]
        reason = (clips / f"{failed[0].utterance}.failed").read_text()
        raise UserError(
            f"Only {successes[cell]} of {quota} utterances of {cell} could be "
            "rendered, but at least half are needed. First failure: "
            f"{reason.rstrip('.')}. Check the synthesiser, delete the .failed files in "
            f"{clips} and build again."
        )


def _render_task(
    task: list[Clip], cache: Path, clips: Path, model: Path
) -> tuple[str, int, float]:
    """Renders one task and returns (attack, number of successes, seconds)."""
    working_on(task[0].utterance)
    started = time.perf_counter()
    successes = 0
    try:
        sounds = of_task(task, cache, model)
    except Exception as error:  # recorded as the utterance's failure
        sounds = [error] * len(task)
    for clip, sound in zip(task, sounds, strict=True):
        samples, reason = _neutralised(clip, sound)
        if samples is None:
            _write(clips / f"{clip.utterance}.failed", reason.encode())
        else:
            _write_flac(clips / f"{clip.utterance}.flac", samples)
            successes += 1
    return task[0].attack, successes, time.perf_counter() - started


def _neutralised(clip: Clip, sound) -> tuple[np.ndarray | None, str]:
    """Returns the samples and "", or None and the reason."""
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


def _read_state(plan: Plan, clips: Path) -> dict[str, bool]:
    """Returns utterance -> True (rendered) or False (failed); untried ones absent."""
    names = set(os.listdir(clips))
    state = {}
    for clip in plan.clips:
        if f"{clip.utterance}.flac" in names:
            state[clip.utterance] = True
        elif f"{clip.utterance}.failed" in names:
            state[clip.utterance] = False
    return state


def _discard_stale_clips(plan: Plan, folder: Path) -> None:
    """Deletes utterances rendered from another plan or by another ``VERSION``."""
    stamp = folder / "plan.sha256"
    digest = hashlib.sha256(f"{VERSION} {plan.digest}".encode()).hexdigest()
    if not stamp.exists() or stamp.read_text() != digest:
        shutil.rmtree(folder / "clips", ignore_errors=True)
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    _write(stamp, digest.encode())
