"""Speech codecs on the host: encode and decode again, by PyAV's FFmpeg.

PyAV is optional and its builds differ in what they can encode, so it is looked for when
a codec is asked for.
"""

import io
from types import ModuleType
from typing import NamedTuple

import librosa
import numpy as np

from mldg_jax.common.errors import UserError
from mldg_jax.data.audio import SAMPLE_RATE


class Codec(NamedTuple):
    """One codec's settings.

    Attributes:
      encoder: FFmpeg's name of it.
      rate: sampling rate in Hz.
      bits: per second.
      container: a format of FFmpeg's that holds it and, where there is any, says how
        many samples of padding the decoder is to drop.
      format: of the samples that the encoder takes.
      delay: in samples at ``rate``, what remains of it after decoding (measured).
    """

    encoder: str
    rate: int
    bits: int
    container: str
    format: str = "s16"
    delay: int = 0


CODECS = {
    "mp3": Codec("libmp3lame", 16_000, 32_000, "matroska", "s16p"),
    "aac": Codec("aac", 16_000, 32_000, "matroska", "fltp"),
    "opus": Codec("libopus", 16_000, 16_000, "matroska"),
    "g722": Codec("g722", 16_000, 64_000, "wav", delay=22),
    "mulaw": Codec("pcm_mulaw", 8_000, 64_000, "wav"),
    "alaw": Codec("pcm_alaw", 8_000, 64_000, "wav"),
}
_FRAME = 320  # samples, for encoders that take any number


def check(codec: str) -> None:
    """Raises a ``UserError`` for a codec that is unknown or cannot be used here."""
    if codec not in CODECS:
        raise UserError(
            f"codec {codec!r} is not known; the codecs are {', '.join(CODECS)}"
        )
    encoder = CODECS[codec].encoder
    try:
        _av(codec).codec.Codec(encoder, "w")
    except ValueError:
        raise UserError(
            f"codec {codec!r}: this build of PyAV has no encoder {encoder}; the wheels "
            "of PyPI do (pip install --force-reinstall av). Or leave the codec out"
        ) from None


def _av(codec: str) -> ModuleType:
    try:
        import av
    except ImportError:
        raise UserError(
            f"codec {codec!r} needs PyAV, which is not installed: pip install av"
        ) from None
    return av


def round_trip(waveform: np.ndarray, codec: str) -> np.ndarray:
    """Encodes and decodes a waveform.

    Args:
      waveform: (samples,) within [-1, 1] at 16 kHz.
      codec: a name in ``CODECS``.

    Returns:
      (samples,) float32 within [-1, 1] at 16 kHz, aligned with the input: the codec's
      delay is taken out. The same input gives the same output.

    Raises:
      UserError: as ``check``.
    """
    check(codec)
    settings = CODECS[codec]
    av = _av(codec)
    samples = len(waveform)
    sent = _resample(np.asarray(waveform, np.float32), SAMPLE_RATE, settings.rate)
    sent = np.pad(sent, (0, settings.delay + _FRAME))
    made, rate = _decode(av, _encode(av, sent, settings))
    made = made[settings.delay * rate // settings.rate :]
    return np.clip(_resample(made, rate, SAMPLE_RATE)[:samples], -1.0, 1.0)


def _encode(av: ModuleType, waveform: np.ndarray, settings: Codec) -> io.BytesIO:
    if settings.format.startswith("s16"):
        scaled = np.round(waveform * np.float32(32768))
        waveform = np.clip(scaled, -32768, 32767).astype(np.int16)
    file = io.BytesIO()
    with av.open(file, "w", format=settings.container) as out:
        stream = out.add_stream(settings.encoder, rate=settings.rate, layout="mono")
        stream.bit_rate, stream.format = settings.bits, settings.format
        stream.codec_context.open()
        size = stream.codec_context.frame_size or _FRAME
        for start in range(0, len(waveform), size):
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(waveform[None, start : start + size]),
                format=settings.format,
                layout="mono",
            )
            frame.sample_rate, frame.pts = settings.rate, start
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    file.seek(0)
    return file


def _decode(av: ModuleType, file: io.BytesIO) -> tuple[np.ndarray, int]:
    """Returns (samples,) float32 and their rate."""
    with av.open(file) as container:
        frames = list(container.decode(audio=0))
    made = np.concatenate([frame.to_ndarray().ravel() for frame in frames])
    if made.dtype == np.int16:
        made = made / np.float32(32768)
    return made, frames[0].sample_rate


def _resample(waveform: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    if rate == wanted:
        return waveform
    return librosa.resample(waveform, orig_sr=rate, target_sr=wanted)
