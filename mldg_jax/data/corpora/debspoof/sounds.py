"""Waveforms before the neutraliser: recorded, vocoded or synthesised."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from mldg_jax.common.numba_cache import import_librosa
from mldg_jax.data.corpora.debspoof import engines, neural, vocoders
from mldg_jax.data.corpora.debspoof.clip import Clip
from mldg_jax.data.corpora.debspoof.engines import Sound
from mldg_jax.data.corpora.debspoof.neutralise import (
    RATE,
    decode_g722,
    to_mono_16k,
    trim,
)
from mldg_jax.data.corpora.debspoof.voices import Recording

_SOURCE_SECONDS = 3.2  # no utterance exceeds 3 s, so more need not be vocoded


def of_task(task: Sequence[Clip], cache: Path, model: Path) -> list[Sound | None]:
    """Makes the waveforms of the utterances of one task.

    Args:
      task: one utterance, or several of one Festival voice.
      cache: folder filled by ``sources.fetch_all``.
      model: Kokoro's ONNX file.

    Returns:
      The waveform and its rate for every utterance, None where Festival failed.
    """
    first = task[0]
    if first.attack.startswith("fest_"):
        texts, speeds = [c.text for c in task], [c.speed for c in task]
        return engines.festival(first.voice, first.language, texts, speeds)
    return [synthesise(first, cache, model)]


def synthesise(clip: Clip, cache: Path, model: Path) -> Sound:
    """Makes the waveform of one utterance, Festival's excepted.

    Args:
      clip: utterance to make.
      cache: folder filled by ``sources.fetch_all``.
      model: Kokoro's ONNX file.

    Returns:
      The waveform and its rate.

    Raises:
      ValueError: the attack is unknown.
    """
    if clip.recording is not None:
        if clip.label == "bonafide":
            return read(clip.recording, cache)
        return _vocode(clip, clip.recording, cache), RATE
    text, language, speed = clip.text, clip.language, clip.speed
    engine = clip.attack.split("_")[0]
    if engine == "espeak":
        return engines.espeak(text, language, clip.voice, speed, clip.pitch)
    if engine == "flite":
        return engines.flite(text, clip.voice, speed)
    if engine == "piper":
        plain = clip.attack == "piper_plain"
        return neural.piper(text, language, speed, clip.seed, plain=plain)
    if engine == "kokoro":
        return neural.kokoro(text, language, clip.voice, speed, model)
    if engine == "hibari":
        return neural.hibari(text, speed, clip.seed)
    if engine == "pico":
        return engines.pico(text, clip.voice, speed)
    raise ValueError(f"unknown attack {clip.attack!r}")


def _vocode(clip: Clip, recording: Recording, cache: Path) -> np.ndarray:
    generator = np.random.default_rng(clip.seed)
    source = _stretch(recording, cache, generator)
    if clip.attack == "world_swap" and clip.target is not None:
        target = _stretch(clip.target, cache, generator)
        return vocoders.world_swap(source, RATE, generator, target)
    return vocoders.VOCODERS[clip.attack](source, RATE, generator)


def _stretch(row: Recording, cache: Path, generator) -> np.ndarray:
    """Returns at most 3.2 s of a recording at 16 kHz, with peak 0.9."""
    speech = trim(to_mono_16k(*read(row, cache)))
    spare = len(speech) - int(_SOURCE_SECONDS * RATE)
    if spare > 0:
        start = generator.integers(0, spare + 1)
        speech = speech[start : start + int(_SOURCE_SECONDS * RATE)]
    return 0.9 * import_librosa().util.normalize(speech)


def read(row: Recording, cache: Path) -> Sound:
    """Reads a recording.

    Args:
      row: recording to read.
      cache: folder filled by ``sources.fetch_all``.

    Returns:
      Waveform, (samples,) or (samples, channels) float64, and its rate in Hz.
    """
    path = cache / row.path
    if path.suffix == ".g722":
        return decode_g722(path.read_bytes()) / 32768.0, RATE
    if row.start is None:
        return soundfile.read(path)
    rate = soundfile.info(path).samplerate
    first, last = int(row.start * rate), int(row.stop * rate)
    return soundfile.read(path, start=first, stop=last)
