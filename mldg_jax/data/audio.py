"""Reads audio of any rate, channel count and common format as mono 16 kHz."""

import importlib.util
import io
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import librosa
import numpy as np
import soundfile

from mldg_jax.common.errors import UserError

SAMPLE_RATE = 16_000
SHORTEST = 0.2  # seconds
LONGEST = 600.0  # seconds, in a corpus
CLIPPED = 0.1  # fraction of samples at full scale; loudly mastered audio stays below it
CONTAINERS = (".m4a", ".mp4", ".aac", ".mov", ".mkv", ".webm", ".wma")
"""Suffixes decoded by PyAV; libsndfile decodes WAV, FLAC, OGG, OPUS, MP3, …"""
REASONS = (
    *("unreadable", "empty", "not-finite", "too-short", "too-long"),
    *("constant", "clipped"),
)

_FULL_SCALE = 32_767 / 32_768


class Unusable(UserError):
    """The recording cannot be used; ``reason`` is one of ``REASONS``."""

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


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


def read(path: str | Path) -> np.ndarray:
    """Reads an audio file.

    Args:
      path: the file.

    Returns:
      (samples,) float32, mono, 16 kHz, within [-1, 1].

    Raises:
      UserError: the file is missing, unreadable, empty, not finite, constant or
        shorter than 0.2 s.
    """
    path = Path(path)
    return prepare(*_decode(path, _read_bytes(path)), name=str(path))


def clip(path: str | Path, *, longest: float = LONGEST) -> AudioClip:
    """Reads an audio file for a corpus.

    Args:
      path: the file.
      longest: maximum duration in seconds.

    Returns:
      The samples, their FLAC file and the source's sampling rate.

    Raises:
      Unusable: as ``read``, or the audio is longer than ``longest``, or more than 10 %
        of its samples are at full scale.
    """
    path = Path(path)
    data = _read_bytes(path)
    waveform, rate = _decode(path, data, longest)
    clipped = np.mean(np.abs(waveform) >= _FULL_SCALE) if waveform.size else 0.0
    mono = prepare(waveform, rate, name=str(path))
    if clipped > CLIPPED:
        raise Unusable(
            "clipped",
            f"{path}: {clipped:.0%} of the samples are at full scale; at most "
            f"{CLIPPED:.0%} is allowed",
        )
    samples = to_int16(mono)
    flac = data if _is_corpus_flac(data) else to_flac(samples)
    return AudioClip(samples, flac, rate)


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
        raise UserError(f"{path}: {_no_pyav(Path(path).suffix)}")


def prepare(waveform: np.ndarray, rate: int, *, name: str = "waveform") -> np.ndarray:
    """Mixes a waveform down to mono and resamples it to 16 kHz with soxr.

    Args:
      waveform: (samples,) or (channels, samples), any real dtype; integers are scaled
        by their full range.
      rate: sampling rate in Hz, ≥ 1.
      name: name of the waveform in error messages.

    Returns:
      (samples,) float32, mono, 16 kHz, clipped to [-1, 1].

    Raises:
      UserError: the shape or the rate is invalid, or the waveform is empty, not
        finite, constant or shorter than 0.2 s.
    """
    waveform = np.asarray(waveform)
    if waveform.dtype.kind == "i":
        waveform = waveform / -float(np.iinfo(waveform.dtype).min)
    waveform = np.asarray(waveform, np.float32)
    if waveform.ndim not in (1, 2):
        raise UserError(
            f"{name}: the array has shape {waveform.shape}; it must be (samples,) or "
            "(channels, samples)"
        )
    if rate < 1:
        raise UserError(f"{name}: the sampling rate is {rate} Hz; it must be positive")
    if waveform.ndim == 2:
        waveform = waveform.mean(axis=0)
    _check(waveform, len(waveform) / rate, name)
    if rate != SAMPLE_RATE:
        waveform = librosa.resample(waveform, orig_sr=rate, target_sr=SAMPLE_RATE)
    return np.clip(waveform, -1.0, 1.0)


def _check(waveform: np.ndarray, seconds: float, name: str) -> None:
    if seconds < SHORTEST:
        raise Unusable(
            "too-short" if len(waveform) else "empty",
            f"{name}: {seconds:.2f} s long; a score needs at least {SHORTEST} s of "
            "speech and is more reliable from 1.3 s",
        )
    if not np.isfinite(waveform).all():
        raise Unusable(
            "not-finite", f"{name}: has NaN or infinite samples; re-export the file"
        )
    if not waveform.any():
        raise Unusable(
            "constant", f"{name}: every sample is zero; there is nothing to score"
        )
    if np.ptp(waveform) < 2 / 32_768:  # constant within one 16-bit step
        raise Unusable(
            "constant",
            f"{name}: every sample is {waveform[0]:.4f}, a constant offset; there is "
            "nothing to score",
        )


def _read_bytes(path: Path) -> bytes:
    if not path.exists():
        raise Unusable("unreadable", f"{path}: there is no such file")
    try:
        return path.read_bytes()
    except OSError as error:
        raise Unusable("unreadable", f"{path}: cannot be read ({error})") from None


def _decode(
    path: Path, data: bytes, longest: float = float("inf")
) -> tuple[np.ndarray, int]:
    """Returns (channels, samples) float32 and the rate; ``longest`` is in seconds."""
    decode = _with_pyav if path.suffix.lower() in CONTAINERS else _with_libsndfile
    try:
        return decode(data, longest)
    except _TooLong as error:
        raise Unusable(
            "too-long",
            f"{path}: {error.args[0]:.0f} s long; at most {longest:.0f} s are allowed",
        ) from None
    except (soundfile.LibsndfileError, OSError, RuntimeError, ValueError) as error:
        cause = getattr(error, "error_string", None) or str(error)
        raise Unusable(
            "unreadable",
            f"{path}: cannot be read as audio ({cause}); supported formats are WAV, "
            "FLAC, OGG, OPUS and MP3, and M4A and MP4 with PyAV",
        ) from None


class _TooLong(Exception):
    """Raised before decoding; the argument is the duration in seconds."""


def _with_libsndfile(data: bytes, longest: float) -> tuple[np.ndarray, int]:
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        if file.frames > longest * file.samplerate:
            raise _TooLong(file.frames / file.samplerate)
        # libsndfile reads a truncated WAV without an error and only logs a remark.
        if file.format.startswith("WAV") and "(should be" in file.extra_info:
            raise ValueError("the file is shorter than its header says")
        waveform = file.read(dtype="float32", always_2d=True)
        return waveform.T, file.samplerate


def _with_pyav(data: bytes, longest: float) -> tuple[np.ndarray, int]:
    try:
        import av.error
    except ModuleNotFoundError:
        raise ValueError(_no_pyav("these")) from None

    try:
        with av.open(io.BytesIO(data), "r") as container:
            if not container.streams.audio:
                raise ValueError("the file has no sound track")
            stream = container.streams.audio[0]
            seconds = float((stream.duration or 0) * (stream.time_base or 0))
            if seconds > longest:
                raise _TooLong(seconds)
            # Converts the sample format only; the layout and the rate stay.
            planar = av.AudioResampler(format="fltp")
            frames = [*container.decode(stream), None]
            parts = [
                out.to_ndarray() for frame in frames for out in planar.resample(frame)
            ]
            if not parts:
                raise ValueError("the sound track is empty")
            # The encoder pads its last frame; the container has the true length.
            samples = round(seconds * stream.rate) or None
            return np.concatenate(parts, axis=1)[:, :samples], stream.rate
    except av.error.FFmpegError as error:
        raise ValueError(error.strerror or str(error)) from None


def _no_pyav(kind: str) -> str:
    return f"{kind} files need PyAV: pip install 'mldg_jax[av]'"


def _is_corpus_flac(data: bytes) -> bool:
    """Returns whether a file already is 16-bit mono FLAC at 16 kHz."""
    if not data.startswith(b"fLaC"):
        return False
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        form = (file.format, file.subtype, file.samplerate, file.channels)
        return form == ("FLAC", "PCM_16", SAMPLE_RATE, 1)
