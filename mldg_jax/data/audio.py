"""Reading recordings: any rate, channels and common format → mono 16 kHz."""

import importlib.util
import io
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from mldg_jax.common.errors import UserError
from mldg_jax.data.decoding import INSTALL_PYAV, Undecodable, open_stream
from mldg_jax.data.mixdown import SAMPLE_RATE, Levels, Waveform, mix

log = logging.getLogger(__name__)

SLOWEST, FASTEST = 1_000, 1_000_000  # Hz, of a source
SHORTEST = 0.2  # seconds
LONGEST = 600.0  # seconds, in a corpus
LOST = 0.1  # seconds that a header may announce and a stream lack
LOUDEST = 8.0  # decoders overshoot 1 a little; 16-bit values as floats lie far above
CLIPPED = 0.1  # share of samples at full scale; loud masters of the web stay below it
CHANNELS = 64
CONTAINERS = (".m4a", ".mp4", ".aac", ".mov", ".mka", ".mkv", ".webm", ".wma")
"""Suffixes that PyAV decodes; libsndfile decodes WAV, FLAC, OGG, OPUS, MP3, …"""
REASONS = (
    *("unreadable", "empty", "truncated", "too-short", "too-long"),
    *("not-finite", "out-of-range", "constant", "clipped"),
)


class Unusable(UserError):
    """A recording that cannot be used; ``reason`` is one of ``REASONS``."""

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


class AudioClip(NamedTuple):
    """A recording as a corpus keeps it.

    Attributes:
      samples: (samples,) int16, mono, 16 kHz.
      flac: the same as a FLAC file; the source's own bytes if they are that already.
      rate: of the source, in Hz.
    """

    samples: np.ndarray
    flac: bytes
    rate: int


def read(path: str | Path) -> Waveform:
    """Reads a recording of any length.

    A stream that ends before its header says, or is damaged from some point on, is read
    up to there, and a warning names the seconds that are lost.

    Args:
      path: of the recording.

    Returns:
      (samples,) float32, mono, 16 kHz, within [-1, 1]; more than ten minutes of it are
      in a temporary file.

    Raises:
      Unusable: missing, unreadable, empty, not finite, out of range, silent or shorter
        than 0.2 s.
    """
    recording = _read(path, float("inf"))
    if recording.lost:
        log.warning("%s; it is read as far as it goes", recording.lost)
    return recording.waveform


def clip(path: str | Path, *, longest: float = LONGEST) -> AudioClip:
    """Reads a recording for a corpus.

    Args:
      path: of the recording.
      longest: seconds it may last.

    Returns:
      The recording.

    Raises:
      Unusable: as ``read``; or it is longer than that, not whole, or more than 10 % of
        its samples are at full scale.
    """
    recording = _read(path, longest)
    if recording.lost:
        raise Unusable("truncated", f"{recording.lost}: copy or export it again")
    clipped = recording.levels.clipped / recording.levels.values
    if clipped > CLIPPED:
        raise Unusable(
            "clipped",
            f"{path}: {clipped:.0%} of the samples are at full scale; at most "
            f"{CLIPPED:.0%} may be",
        )
    samples = to_int16(recording.waveform[:])
    ours = _is_ours(path, len(samples))
    flac = Path(path).read_bytes() if ours else to_flac(samples)
    return AudioClip(samples, flac, recording.rate)


def to_int16(waveform: np.ndarray) -> np.ndarray:
    """(samples,) float within [-1, 1] → int16; exact for what was int16 before."""
    scaled = np.rint(np.asarray(waveform, np.float32) * 32_768)
    return np.clip(scaled, -32_768, 32_767).astype(np.int16)


def to_flac(samples: np.ndarray) -> bytes:
    """(samples,) int16 at 16 kHz → the bytes of a FLAC file."""
    file = io.BytesIO()
    soundfile.write(file, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def from_flac(data: bytes) -> np.ndarray:
    """The bytes of a FLAC file of a corpus → (samples,) int16 at 16 kHz."""
    samples, _ = soundfile.read(io.BytesIO(data), dtype="int16")
    return samples


def check_decoders(paths: Iterable[str]) -> None:
    """Checks, before any work, that the recordings' formats can be decoded here.

    Raises:
      UserError: some need PyAV and it is not installed.
    """
    need = next((p for p in paths if Path(p).suffix.lower() in CONTAINERS), None)
    if need is not None and importlib.util.find_spec("av") is None:
        raise UserError(f"{need}: {Path(need).suffix} files need PyAV: {INSTALL_PYAV}")


def prepare(waveform: np.ndarray, rate: float, *, name: str = "waveform") -> np.ndarray:
    """Mixes to mono and resamples (soxr) to 16 kHz.

    Args:
      waveform: (samples,), (channels, samples) or (samples, channels): the longer axis
        is time. Floats within [-1, 1]; int8, int16 or int32, which are scaled by their
        full range; or uint8 around 128, as in 8-bit WAV.
      rate: sampling rate in Hz, 1,000 … 1,000,000.
      name: how to call it in messages.

    Returns:
      (samples,) float32 within [-1, 1].

    Raises:
      Unusable: as ``read``, or an array that cannot be a recording.
    """
    _check_rate(rate, name)
    levels, blocks = Levels(), [_as_floats(np.asarray(waveform), name)]
    mono = mix(blocks, rate, levels, in_memory=float("inf"))
    _check(levels, rate, name)
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
            _check_rate(stream.rate, str(path))
            damage: list[str] = []
            blocks = _until_damage(stream.blocks, damage)
            limited = _limited(blocks, longest * stream.rate, path, longest)
            waveform = mix(limited, stream.rate, levels)
            if damage and not levels.frames:
                raise Undecodable(damage[0])
    except Undecodable as error:
        raise Unusable("unreadable", f"{path}: {error}") from None
    _check(levels, stream.rate, str(path))
    seconds = levels.frames / stream.rate
    if stream.announced is not None and stream.announced - seconds > LOST:
        lost = f"{seconds:.2f} s of the {stream.announced:.2f} s that it announces"
        lost = f"{path}: cut off or damaged: only {lost} can be decoded"
    elif damage or stream.incomplete:
        lost = (
            f"{path}: cut off or damaged: nothing can be decoded after {seconds:.2f} s"
        )
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


def _as_floats(waveform: np.ndarray, name: str) -> np.ndarray:
    """An array of any kind as (samples, channels) float32."""
    kind, shape = waveform.dtype, waveform.shape
    few = min(shape) if len(shape) == 2 else 1
    if len(shape) not in (1, 2) or few > CHANNELS or shape in ((2, 2), (few, few)):
        raise Unusable(
            "unreadable",
            f"{name}: an array of shape {shape}; it must be (samples,), (channels, "
            f"samples) or (samples, channels) with at most {CHANNELS} channels",
        )
    if kind == np.uint8:
        waveform = (waveform.astype(np.float32) - 128) / 128
    elif kind in (np.int8, np.int16, np.int32):
        peak = int(np.abs(waveform.astype(np.int64)).max(initial=0))
        if kind == np.int32 and 0 < peak < 2**15:
            raise Unusable(
                "out-of-range",
                f"{name}: int32 samples that reach {peak} of 2,147,483,647; if they "
                "are 16-bit values, convert them to int16",
            )
        waveform = waveform / -float(np.iinfo(kind).min)
    elif kind.kind != "f":
        raise Unusable(
            "unreadable",
            f"{name}: an array of {kind}; samples must be int16, int32, uint8 or "
            "floats within [-1, 1]",
        )
    waveform = np.asarray(waveform, np.float32)
    if waveform.ndim == 1:
        return waveform[:, None]
    return waveform if waveform.shape[1] == few else waveform.T


def _check_rate(rate: float, name: str) -> None:
    if not SLOWEST <= rate <= FASTEST:
        raise Unusable(
            "out-of-range",
            f"{name}: a sampling rate of {rate} Hz; it must be {SLOWEST:,} to "
            f"{FASTEST:,} Hz",
        )


def _check(levels: Levels, rate: float, name: str) -> None:
    seconds = levels.frames / rate
    if seconds < SHORTEST:
        raise Unusable(
            "too-short" if levels.frames else "empty",
            f"{name}: {seconds:.2f} s long; a score needs at least {SHORTEST} s of "
            "speech, and is more certain from 1.3 s",
        )
    if not levels.finite:
        raise Unusable(
            "not-finite", f"{name}: holds NaN or infinite samples; re-export the file"
        )
    if levels.peak > LOUDEST:
        raise Unusable(
            "out-of-range",
            f"{name}: samples reach {levels.peak:,.1f}; floating-point samples must be "
            "within [-1, 1]: divide 16-bit values by 32,768",
        )
    if levels.peak == 0:
        raise Unusable(
            "constant", f"{name}: every sample is zero; there is nothing to score"
        )
    if levels.high - levels.low < 2 / 32_768:
        what = f"every sample is {levels.low:.4f}, a constant voltage"
        if levels.peak >= 2 / 32_768 and abs(levels.low) < 1 / 32_768:
            what = "the channels cancel each other when they are mixed to mono"
        raise Unusable("constant", f"{name}: {what}; there is nothing to score")


def _is_ours(path: str | Path, length: int) -> bool:
    """Whether a file already is what a corpus keeps: 16-bit mono FLAC at 16 kHz."""
    with open(path, "rb") as file:
        if file.read(4) != b"fLaC":
            return False
        file.seek(0)
        with soundfile.SoundFile(file) as sound:
            form = (sound.format, sound.subtype, sound.samplerate, sound.channels)
            whole = sound.frames == length  # a pipe writes no count
            return whole and form == ("FLAC", "PCM_16", SAMPLE_RATE, 1)
