"""Reads audio of any rate, channel count and common format as mono 16 kHz."""

import importlib.util
import io
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from mldg_jax.common.errors import UserError
from mldg_jax.data.audio_checks import (
    SHORTEST,
    Unusable,
    as_floats,
    check_levels,
    check_rate,
    doubts,
)
from mldg_jax.data.decoding import INSTALL_PYAV, Undecodable, open_stream
from mldg_jax.data.mixdown import SAMPLE_RATE, Levels, Waveform, mix

log = logging.getLogger(__name__)

LONGEST = 600.0  # seconds, in a corpus
LOST = 0.1  # seconds that a header may announce and a stream lack
CLIPPED = 0.1  # fraction of samples at full scale; loudly mastered audio stays below it
CONTAINERS = (".m4a", ".mp4", ".aac", ".mov", ".mka", ".mkv", ".webm", ".wma")
"""Suffixes decoded by PyAV; libsndfile decodes WAV, FLAC, OGG, OPUS, MP3, …"""


class AudioClip(NamedTuple):
    """The audio of an utterance in the form that a corpus stores.

    Attributes:
      samples: (samples,) int16, mono, 16 kHz.
      flac: the same audio as the bytes of a FLAC file; the source file's own bytes if
        it already is 16-bit mono FLAC at 16 kHz.
      rate: sampling rate of the source in Hz.
    """

    samples: np.ndarray
    flac: bytes
    rate: int


def read(path: str | Path) -> Waveform:
    """Reads an audio file of any length.

    A stream that ends too early or is damaged is read up to that point, and a warning
    gives the number of seconds lost. Samples beyond full scale are clipped, with a
    warning if they are more than 0.1 %. Another warns of channels that cancel each
    other (the mix to mono is 20 dB or more below them).

    Args:
      path: the file.

    Returns:
      (samples,) float32, mono, 16 kHz, within [-1, 1]. A waveform of more than ten
      minutes is kept in a temporary file, from which slices are read.

    Raises:
      Unusable: the file is missing, unreadable, empty, not finite, out of range,
        constant or shorter than 0.2 s.
    """
    recording = _read(path, float("inf"))
    if recording.lost:
        log.warning("%s; the rest is ignored", recording.lost)
    for doubt in doubts(recording.levels, str(path)):
        log.warning("%s", doubt)
    return recording.waveform


def clip(path: str | Path, *, longest: float = LONGEST) -> AudioClip:
    """Reads an audio file for a corpus.

    Args:
      path: the file.
      longest: maximum duration in seconds.

    Returns:
      The samples, their FLAC file and the source's sampling rate.

    Raises:
      Unusable: as ``read``, or the audio is incomplete, longer than ``longest``, or
        more than 10 % of its samples are at full scale.
    """
    recording = _read(path, longest)
    if recording.lost:
        raise Unusable("truncated", f"{recording.lost}: copy or export it again")
    clipped = recording.levels.clipped / recording.levels.values
    if clipped > CLIPPED:
        raise Unusable(
            "clipped",
            f"{path}: {clipped:.0%} of the samples are at full scale; at most "
            f"{CLIPPED:.0%} is allowed",
        )
    samples = to_int16(recording.waveform[:])
    ours = _is_corpus_flac(path, len(samples))
    flac = Path(path).read_bytes() if ours else to_flac(samples)
    return AudioClip(samples, flac, recording.rate)


def to_int16(waveform: np.ndarray) -> np.ndarray:
    """Converts floating-point samples to int16; exact if they came from int16.

    Args:
      waveform: (samples,) float, within [-1, 1].

    Returns:
      (samples,) int16.
    """
    scaled = np.rint(np.asarray(waveform, np.float32) * 32_768)
    return np.clip(scaled, -32_768, 32_767).astype(np.int16)


def to_flac(samples: np.ndarray) -> bytes:
    """Encodes samples as FLAC.

    Args:
      samples: (samples,) int16 at 16 kHz.

    Returns:
      The bytes of a 16-bit FLAC file.
    """
    file = io.BytesIO()
    soundfile.write(file, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def from_flac(data: bytes) -> np.ndarray:
    """Decodes a FLAC file of a corpus.

    Args:
      data: the bytes of the file.

    Returns:
      (samples,) int16 at 16 kHz.
    """
    samples, _ = soundfile.read(io.BytesIO(data), dtype="int16")
    return samples


def check_decoders(paths: Iterable[str]) -> None:
    """Checks that the formats of the recordings can be decoded, without reading them.

    Args:
      paths: the recordings; only their suffixes are looked at.

    Raises:
      UserError: a recording needs PyAV, which is not installed.
    """
    path = next((p for p in paths if Path(p).suffix.lower() in CONTAINERS), None)
    if path is not None and importlib.util.find_spec("av") is None:
        raise UserError(f"{path}: {Path(path).suffix} files need PyAV: {INSTALL_PYAV}")


def prepare(waveform: np.ndarray, rate: float, *, name: str = "waveform") -> np.ndarray:
    """Mixes a waveform down to mono and resamples it to 16 kHz with soxr.

    Args:
      waveform: (samples,), (channels, samples) or (samples, channels); the longer axis
        is time. Floats within [-1, 1]; int8, int16 or int32, scaled by their full
        range; or uint8 centred at 128, as in 8-bit WAV.
      rate: sampling rate in Hz, 1,000 … 1,000,000.
      name: name of the waveform in error messages.

    Returns:
      (samples,) float32, mono, 16 kHz, clipped to [-1, 1].

    Raises:
      Unusable: the shape, dtype or rate is invalid, or the waveform is empty, not
        finite, out of range, constant or shorter than 0.2 s.
    """
    check_rate(rate, name)
    try:
        samples = np.asanyarray(waveform)  # (a mask stays, to be refused)
    except ValueError as error:  # lists of different lengths
        raise Unusable("unreadable", f"{name}: not an array ({error})") from None
    levels, blocks = Levels(), [as_floats(samples, name)]
    mono = mix(blocks, rate, levels, in_memory=float("inf"))
    check_levels(levels, rate, name)
    for doubt in doubts(levels, name):
        log.warning("%s", doubt)
    return mono[:]


class _Recording(NamedTuple):
    """A waveform, its levels, its source's rate; what is lost of it, in words."""

    waveform: Waveform
    levels: Levels
    rate: int
    lost: str


def _read(path: str | Path, longest: float) -> _Recording:
    levels, lost = Levels(), ""
    try:
        with open_stream(path) as stream:
            check_rate(stream.rate, str(path))
            damage: list[str] = []
            blocks = _until_damage(stream.blocks, damage)
            limited = _limited(blocks, longest * stream.rate, path, longest)
            waveform = mix(limited, stream.rate, levels)
            if damage and not levels.frames:
                raise Undecodable(damage[0])
    except Undecodable as error:
        raise Unusable("unreadable", f"{path}: {error}") from None
    seconds = levels.frames / stream.rate
    if stream.announced is not None and stream.announced - seconds > LOST:
        lost = f"only {seconds:.2f} s of the {stream.announced:.2f} s that it announces"
        lost = f"{path}: cut off or damaged: {lost} can be decoded"
    elif damage or stream.incomplete:
        lost = f"{path}: cut off or damaged: nothing is left after {seconds:.2f} s"
    if lost and seconds < SHORTEST:
        raise Unusable("truncated", lost)
    check_levels(levels, stream.rate, str(path))
    return _Recording(waveform, levels, stream.rate, lost)


def _until_damage(blocks: Iterator[np.ndarray], damage: list[str]):
    """Yields blocks up to where decoding fails; the reason is put into ``damage``."""
    try:
        yield from blocks
    except Undecodable as error:
        damage.append(str(error))


def _limited(blocks, frames: float, path: str | Path, longest: float):
    """Yields blocks; refuses a recording once it is longer than allowed."""
    total = 0
    for block in blocks:
        total += len(block)
        if total > frames:
            raise Unusable(
                "too-long",
                f"{path}: more than {longest:.0f} s long, the most that a corpus keeps",
            )
        yield block


def _is_corpus_flac(path: str | Path, length: int) -> bool:
    """Whether a file already is what a corpus keeps: 16-bit mono FLAC at 16 kHz."""
    with open(path, "rb") as file:
        if file.read(4) != b"fLaC":
            return False
        file.seek(0)
        with soundfile.SoundFile(file) as sound:
            form = (sound.format, sound.subtype, sound.samplerate, sound.channels)
            whole = sound.frames == length  # a pipe writes no count
            return whole and form == ("FLAC", "PCM_16", SAMPLE_RATE, 1)
