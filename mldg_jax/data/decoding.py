"""Decoding files of any common format to blocks of samples, to the end of the stream.

libsndfile comes first, PyAV (ffmpeg) where libsndfile cannot and PyAV is installed; a
file's content decides, never its name. Lengths and counts in headers are not believed:
blocks are read until there are no more, and memory is that of a block.
"""

import contextlib
import importlib.util
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import soundfile

from mldg_jax.data import mp3_frames, wav_lengths

BLOCK = 4_096  # frames, as in most FLAC files: an error loses no more
TRIM = 4_096  # frames; an encoder's last frame reaches at most that far past the end
INSTALL_PYAV = "pip install 'mldg_jax[av]'"
_MARKS = (
    (4, b"ftyp", "an MP4 or M4A file"),
    (8, b"WAVE", "a WAV file"),
    (0, b"fLaC", "a FLAC file"),
    (0, b"OggS", "an Ogg file"),
    (0, b"\x1a\x45\xdf\xa3", "a Matroska or WebM file"),
)


class Undecodable(Exception):
    """A file that cannot be decoded, or not any further; the message says why."""


class Stream(NamedTuple):
    """An opened recording.

    Attributes:
      rate: in Hz, as the file says.
      channels: ≥ 1.
      announced: seconds according to the header; None where it does not say.
      incomplete: the end of the stream is known to be missing.
      blocks: (frames, channels) float32 each, until the end; raises ``Undecodable``
        where the rest cannot be decoded.
    """

    rate: int
    channels: int
    announced: float | None
    incomplete: bool
    blocks: Iterator[np.ndarray]


@contextlib.contextmanager
def open_stream(path: str | Path) -> Iterator[Stream]:
    """Opens a recording for reading it once, from its beginning to its end.

    Args:
      path: of a regular file: devices and pipes have no end that one could wait for.

    Yields:
      The stream.

    Raises:
      Undecodable: no such file, no regular one, empty, or of no known format.
    """
    with contextlib.ExitStack() as stack:
        try:
            status = os.stat(path)
            if not stat.S_ISREG(status.st_mode):
                raise Undecodable("it is not a regular file")
            file = stack.enter_context(open(path, "rb"))
        except FileNotFoundError:
            raise Undecodable("there is no such file") from None
        except OSError as error:
            raise Undecodable(f"cannot be read ({error.strerror})") from None
        except ValueError:  # a zero byte in the name
            raise Undecodable("there is no such file") from None
        if not status.st_size:
            raise Undecodable("the file is empty")
        try:
            yield _with_libsndfile(file, stack)
            return
        except _TryPyAV as reason:
            first = str(reason)
        if importlib.util.find_spec("av") is None:
            raise Undecodable(
                f"cannot be read as audio ({first}); PyAV reads more formats: "
                f"{INSTALL_PYAV}"
            )
        try:
            file.seek(0)
            stream = _with_pyav(file, stack)
            if "malformed" in first:
                stream = stream._replace(incomplete=True)
        except Undecodable as second:
            damage = _begins_as(file)
            raise Undecodable(
                f"cannot be read as audio ({damage}{first}; PyAV: {second})"
            ) from None
        yield stream


def _begins_as(file: BinaryIO) -> str:
    """Returns what a file that cannot be decoded seems to be, with a semicolon."""
    start = os.pread(file.fileno(), 12, 0)
    for place, mark, kind in _MARKS:
        if start[place:].startswith(mark):
            return f"it begins as {kind} and is cut off or damaged; "
    return ""


class _TryPyAV(Exception):
    """libsndfile cannot read the file, or not all of it; the message says why."""


class _ToTheEnd(soundfile.SoundFile):
    """A file that says it cannot seek: soundfile then does not stop at its count."""

    def seekable(self) -> bool:
        return False


def _with_libsndfile(file: BinaryIO, stack: contextlib.ExitStack) -> Stream:
    try:
        # by number: a name may have bytes that are no text
        place = wav_lengths.unwritten(file)
        whole = wav_lengths.LengthUnknown(file, place) if place else file.fileno()
        sound = _ToTheEnd(whole, closefd=False)
    except (soundfile.LibsndfileError, TypeError, RuntimeError) as error:
        raise _TryPyAV(_words(error)) from None
    stack.enter_context(sound)
    seconds = sound.frames / sound.samplerate
    announced, incomplete = seconds, False
    if sound.format == "MP3":
        with _position_kept(file):
            mp3 = mp3_frames.count(file)
        if mp3.samples - sound.frames > 5 * mp3.frame:
            raise _TryPyAV("an MP3 that is longer than its header says")
        announced = seconds if mp3.has_count else None
    elif sound.frames == np.iinfo(np.int64).max:
        announced = None
    elif sound.format == "OGG":
        incomplete = not _has_last_page(file)
    else:
        announced = seconds * _shortened(sound.extra_info)
    return Stream(
        sound.samplerate, sound.channels, announced, incomplete, _blocks(sound)
    )


def _blocks(sound: soundfile.SoundFile) -> Iterator[np.ndarray]:
    while True:
        block = np.empty((BLOCK, sound.channels), np.float32)
        try:
            block = sound.read(out=block)
        except (soundfile.LibsndfileError, RuntimeError) as error:
            raise Undecodable(_words(error)) from None
        if len(block):
            yield block
        if len(block) < BLOCK:
            return


def _words(error: Exception) -> str:
    return str(getattr(error, "error_string", None) or error).strip(" .")


def _shortened(log: str) -> float:
    """How many times longer libsndfile found the samples announced than they are.

    Its log has a line such as "data : 384000 (should be 191978)" for WAV, AIFF and AU;
    for W64 and RF64 one of the whole file (WAV's, "RIFF", is wrong in whole files too).
    Sizes near 2³¹ and 2³² are what recorders and pipes leave who never knew the length.
    """
    for line in log.splitlines():
        name, _, sizes = line.partition(" : ")
        if (
            name.strip() in ("data", "SSND", "Data Size", "riff", "Riff size")
            and "(should be" in sizes
        ):
            said, _, real = sizes.partition("(should be")
            with contextlib.suppress(ValueError):
                said, real = int(said), int(real.strip(" )"))
                if real > 0 and said % 2**31 < 2**31 - 4096 and said < 2**32 - 4096:
                    return max(1.0, said / real)
    return 1.0


def _has_last_page(file: BinaryIO) -> bool:
    """Whether an Ogg file's last page is whole and marked as the last (RFC 3533)."""
    with _position_kept(file):
        file.seek(max(0, os.fstat(file.fileno()).st_size - 2 * 65_307))  # largest page
        tail = file.read()
    page = tail[tail.rfind(b"OggS") :]
    if len(page) < 27 or len(page) < 27 + page[26]:
        return False
    size = 27 + page[26] + sum(page[27 : 27 + page[26]])
    return len(page) >= size and bool(page[5] & 4)


@contextlib.contextmanager
def _position_kept(file: BinaryIO) -> Iterator[None]:
    """Leaves the position, which libsndfile shares, as it was."""
    position = os.lseek(file.fileno(), 0, os.SEEK_CUR)
    try:
        yield
    finally:
        file.seek(0)  # drops what Python has buffered
        os.lseek(file.fileno(), position, os.SEEK_SET)


def _with_pyav(file: BinaryIO, stack: contextlib.ExitStack) -> Stream:
    import av
    import av.error

    try:
        container = stack.enter_context(av.open(file, "r"))
        if not container.streams.audio:
            raise Undecodable("there is no sound track in it")
        track = container.streams.audio[0]
        if track.codec_context is None:
            raise Undecodable("no decoder for its sound track")
        seconds = float((track.duration or 0) * (track.time_base or 0))
        if container.format.name in ("mp3", "aac"):  # estimated from the bit rate
            seconds = 0.0
        decoded = _decode(container, track, round(seconds * track.rate))
        if not seconds and container.format.name == "matroska,webm":
            video = len(container.streams) > 1  # may last longer than the sound
            seconds = 0.0 if video else (container.duration or 0) / av.time_base
        first = next(decoded, None)
    except (av.error.FFmpegError, ValueError, OSError) as error:
        raise Undecodable(getattr(error, "strerror", None) or str(error)) from None
    if first is None:
        raise Undecodable("its sound track is empty")

    def blocks() -> Iterator[np.ndarray]:
        yield first
        try:
            yield from decoded
        except (av.error.FFmpegError, ValueError, OSError) as error:
            raise Undecodable(getattr(error, "strerror", None) or str(error)) from None

    return Stream(track.rate, first.shape[1], seconds or None, False, blocks())


def _decode(container: Any, track: Any, said: int) -> Iterator[np.ndarray]:
    """(frames, channels) float32 blocks of a sound track.

    The encoder fills its last frame up, and the container says where the sound ends:
    what lies past that is cut off, unless it is more than a frame and so the container
    is wrong. ``said``: how many frames, or 0 where the container does not say.
    """
    import av

    # Interleaved: of planes, PyAV 18 reads past the eighth. Layout and rate stay.
    interleaved = av.AudioResampler(format="flt")
    total, held = 0, []
    for frame in _frames(container, track):
        for out in interleaved.resample(frame):
            block = out.to_ndarray().reshape(-1, out.layout.nb_channels)
            total += len(block)
            held.append(block)
            if not (said and said < total <= said + TRIM):
                yield from held
                held = []
    if held:
        last = np.concatenate(held)
        yield last[: len(last) - (total - said)]


def _frames(container: Any, track: Any) -> Iterator[Any]:
    yield from container.decode(track)
    yield None  # what the resampler still holds
