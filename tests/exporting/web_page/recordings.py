"""Recordings of every format that the page takes, at several rates."""

import io
from pathlib import Path

import av
import numpy as np
import soundfile
import soxr

from tests import signals

SECONDS = 2
BY_SOUNDFILE = {
    "wav": ("WAV", "PCM_16"), "flac": ("FLAC", "PCM_16"), "ogg": ("OGG", "VORBIS"),
}  # fmt: skip
BY_PYAV = {
    "mp3": ("mp3", "libmp3lame"), "m4a": ("mp4", "aac"), "opus": ("ogg", "libopus"),
    "webm": ("webm", "libopus"),
}  # fmt: skip


def speech(rate: int) -> np.ndarray:
    """Synthesises speech-like sound with some noise at every frequency.

    Args:
      rate: in Hz.

    Returns:
      (samples,) float32.
    """
    clip = soxr.resample(signals.speech_like(SECONDS * 16_000, rate)[1], 16_000, rate)
    return clip + np.random.default_rng(rate).normal(0, 0.01, len(clip)).astype("f4")


def write(folder: Path, suffix: str, rate: int) -> Path:
    """Writes a recording.

    Args:
      folder: to write to.
      suffix: a key of ``BY_SOUNDFILE`` or ``BY_PYAV``.
      rate: in Hz. Opus is always encoded at 48 kHz.

    Returns:
      The file.
    """
    path = folder / f"{suffix}_{rate}.{suffix}"
    samples = np.clip(speech(rate), -0.99, 0.99)
    if suffix in BY_SOUNDFILE:
        format, subtype = BY_SOUNDFILE[suffix]
        soundfile.write(path, samples, rate, format=format, subtype=subtype)
        return path
    container, codec = BY_PYAV[suffix]
    if codec == "libopus":
        samples, rate = soxr.resample(samples, rate, 48_000), 48_000
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        track = output.add_stream(codec, rate=rate, layout="mono")
        whole = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        whole.rate = rate
        form = track.codec_context.format.name
        converter = av.AudioResampler(format=form, layout="mono", rate=rate)
        for frame in (*converter.resample(whole), *converter.resample(None)):
            output.mux(track.encode(frame))
        output.mux(track.encode(None))
    path.write_bytes(file.getvalue())
    return path
