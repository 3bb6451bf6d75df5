"""Speech codecs on the host: encodes and decodes with FFmpeg through PyAV.

PyAV is optional, and its builds differ in their encoders, so availability is checked
when a codec is requested.
"""

import io
from types import ModuleType
from typing import NamedTuple

import numpy as np

from mldg_jax.common.errors import UserError
from mldg_jax.common.numba_cache import import_librosa
from mldg_jax.data.audio import SAMPLE_RATE


class Codec(NamedTuple):
    """Settings of one codec.

    Attributes:
      encoder: name of the FFmpeg encoder.
      rate: sampling rate in Hz.
      bits: bit rate in bits per second.
      container: FFmpeg container format; for codecs with padding, one that records how
        many samples the decoder must drop.
      format: sample format of the encoder's input.
      delay: delay that remains after decoding, in samples at ``rate`` (measured).
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
    # The encoder looks 5 ms ahead. (In 3GP files FFmpeg drops part of the speech.)
    "amrnb": Codec("libopencore_amrnb", 8_000, 12_200, "amr", delay=40),
    # No wheel of PyAV has this encoder, so its delay has not been measured.
    "amrwb": Codec("libvo_amrwbenc", 16_000, 23_850, "amr"),
}
_FRAME = 320  # samples, for encoders that accept any frame size


def check(codec: str, otherwise: str = "remove the codec from augment.codec") -> None:
    """Checks that a codec is known and can be encoded here.

    Args:
      codec: a name in ``CODECS``.
      otherwise: what to do without the encoder, for the message.

    Raises:
      UserError: the codec is unknown, PyAV is not installed, or it has no encoder for
        the codec.
    """
    if codec not in CODECS:
        raise UserError(f"codec {codec!r} is unknown; choose from {', '.join(CODECS)}")
    encoder = CODECS[codec].encoder
    try:
        _av(codec, otherwise).codec.Codec(encoder, "w")
    except ValueError:
        where = "PyAV's wheels before version 19 have (pip install 'av<19')"
        if codec == "amrwb":
            where = (
                "nor have the wheels on PyPI; one built with FFmpeg and vo-amrwbenc "
                "has (pip install --no-binary av av)"
            )
        raise UserError(
            f"codec {codec!r}: this build of PyAV has no encoder {encoder}; {where}. "
            f"Or {otherwise}"
        ) from None


def _av(codec: str, otherwise: str = "") -> ModuleType:
    try:
        import av
    except ImportError:
        fix = f". Or {otherwise}" if otherwise else ""
        raise UserError(
            f"codec {codec!r} needs PyAV, which is not installed: pip install av{fix}"
        ) from None
    return av


def round_trip(
    waveform: np.ndarray, codec: str, bit_rate: int | None = None
) -> np.ndarray:
    """Encodes a waveform and decodes it again.

    Args:
      waveform: (samples,) within [-1, 1] at 16 kHz.
      codec: a name in ``CODECS``.
      bit_rate: in bits per second; None for that of the table.

    Returns:
      (samples,) float32 within [-1, 1] at 16 kHz, aligned with the input: the codec's
      delay is removed. The same input gives the same output.

    Raises:
      UserError: as ``check``.
    """
    check(codec)
    settings = CODECS[codec]
    if bit_rate is not None:
        settings = settings._replace(bits=bit_rate)
    av = _av(codec)
    samples = len(waveform)
    source = _resample(np.asarray(waveform, np.float32), SAMPLE_RATE, settings.rate)
    # The decoded waveform has to cover the input after the delay is removed.
    source = np.pad(source, (0, settings.delay + _FRAME))
    decoded, rate = _decode(av, _encode(av, source, settings))
    # The decoder's rate may differ: FFmpeg decodes Opus at 48 kHz.
    decoded = decoded[settings.delay * rate // settings.rate :]
    return np.clip(_resample(decoded, rate, SAMPLE_RATE)[:samples], -1.0, 1.0)


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
    """Returns (samples,) float32 and its sampling rate in Hz."""
    with av.open(file) as container:
        frames = list(container.decode(audio=0))
    decoded = np.concatenate([frame.to_ndarray().ravel() for frame in frames])
    if decoded.dtype == np.int16:
        decoded = decoded / np.float32(32768)
    return decoded, frames[0].sample_rate


def _resample(waveform: np.ndarray, rate: int, target: int) -> np.ndarray:
    if rate == target:
        return waveform
    return import_librosa().resample(waveform, orig_sr=rate, target_sr=target)
