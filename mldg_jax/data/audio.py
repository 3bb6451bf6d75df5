"""Reading recordings: any rate, any channels → float32 mono 16 kHz in [-1, 1]."""

from pathlib import Path

import librosa
import numpy as np
import soundfile

from mldg_jax.errors import UserError

SAMPLE_RATE = 16_000
SHORTEST = 0.2  # seconds


def read(path: str | Path) -> np.ndarray:
    """Reads a recording.

    Returns:
      (samples,) float32, mono, 16 kHz, within [-1, 1].

    Raises:
      UserError: missing, unreadable, empty, not finite, silent or shorter than 0.2 s.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: there is no such file")
    try:
        waveform, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError, RuntimeError) as error:
        raise UserError(
            f"{path}: cannot be read as audio ({error}); WAV, FLAC, OGG, OPUS and MP3 "
            "files can"
        ) from None
    return prepare(waveform.T, rate, name=str(path))


def prepare(waveform: np.ndarray, rate: int, *, name: str = "waveform") -> np.ndarray:
    """Mixes to mono and resamples (soxr) to 16 kHz.

    Args:
      waveform: (samples,) or (channels, samples), any real dtype; integers are scaled
        by their full range.
      rate: sampling rate in Hz, ≥ 1.
      name: how to call it in messages.

    Raises:
      UserError: as ``read``.
    """
    waveform = np.asarray(waveform)
    if waveform.dtype.kind == "i":
        waveform = waveform / -float(np.iinfo(waveform.dtype).min)
    waveform = np.asarray(waveform, np.float32)
    if waveform.ndim not in (1, 2):
        raise UserError(
            f"{name}: an array of shape {waveform.shape}; it must be (samples,) or "
            "(channels, samples)"
        )
    if rate < 1:
        raise UserError(f"{name}: a sampling rate of {rate} Hz; it must be positive")
    if waveform.ndim == 2:
        waveform = waveform.mean(axis=0)
    seconds = len(waveform) / rate
    if seconds < SHORTEST:
        raise UserError(
            f"{name}: {seconds:.2f} s long; a score needs at least {SHORTEST} s of "
            "speech, and is more certain from 1.3 s"
        )
    if not np.isfinite(waveform).all():
        raise UserError(f"{name}: holds NaN or infinite samples; re-export the file")
    if not waveform.any():
        raise UserError(f"{name}: every sample is zero; there is nothing to score")
    if rate != SAMPLE_RATE:
        waveform = librosa.resample(waveform, orig_sr=rate, target_sr=SAMPLE_RATE)
    return np.clip(waveform, -1.0, 1.0)
