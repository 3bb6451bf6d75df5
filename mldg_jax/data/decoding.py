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
import soxr

from mldg_jax.data import header_lengths, mp3_frames, ogg_pages
from mldg_jax.data.file_views import FileView

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
        links = ogg_pages.links(file)
        if links:
            yield _chain(file, links, stack)
            return
        stream = _decoder(file, None, stack)
        if stream.announced is not None:
            more = stream.announced / header_lengths.in_first_chunk(file)
            stream = stream._replace(announced=more)
        yield stream


def _decoder(
    file: BinaryIO, link: ogg_pages.Link | None, stack: contextlib.ExitStack
) -> Stream:
    """Opens a file, or a link of an Ogg file, with what can decode it."""
    part = FileView(file, link.start, link.end) if link else None
    try:
        return _with_libsndfile(file, part, stack)
    except _TryPyAV as reason:
        first = str(reason)
    if importlib.util.find_spec("av") is None:
        raise Undecodable(
            f"cannot be read as audio ({first}); PyAV reads more formats: "
            f"{INSTALL_PYAV}"
        )
    try:
        source = part or file
        source.seek(0)
        stream = _with_pyav(source, stack)
    except Undecodable as second:
        damage = _begins_as(file)
        raise Undecodable(
            f"cannot be read as audio ({damage}{first}; PyAV: {second})"
        ) from None
    cut = "malformed" in first or header_lengths.is_cut_voc(file)
    return stream._replace(incomplete=stream.incomplete or cut)


def _chain(
    file: BinaryIO, links: list[ogg_pages.Link], stack: contextlib.ExitStack
) -> Stream:
    """Opens the links of an Ogg file as one stream at the rate of the first."""
    first = _decoder(file, links[0], stack)
    announced = first.announced
    if len(links) > 1 or links[0].has_count:
        announced = sum(link.seconds for link in links)

    def blocks() -> Iterator[np.ndarray]:
        yield from first.blocks
        for link in links[1:]:
            with contextlib.ExitStack() as opened:
                yield from _at_rate(_decoder(file, link, opened), first.rate)

    incomplete = not all(link.is_whole for link in links)
    return Stream(first.rate, first.channels, announced, incomplete, blocks())


def _at_rate(stream: Stream, rate: int) -> Iterator[np.ndarray]:
    """Yields the blocks of a stream, resampled to another rate."""
    if stream.rate == rate:
        yield from stream.blocks
        return
    resampler = soxr.ResampleStream(stream.rate, rate, stream.channels, dtype="float32")
    for block in stream.blocks:
        yield resampler.resample_chunk(block)
    last = np.zeros((0, stream.channels), np.float32)
    yield resampler.resample_chunk(last, last=True)


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


def _with_libsndfile(
    file: BinaryIO, part: FileView | None, stack: contextlib.ExitStack
) -> Stream:
    try:
        # by number: a name may have bytes that are no text
        patches = header_lengths.unwritten(file)
        end = header_lengths.end_of_first_chunk(file)
        if part is None and (patches or end):
            part = FileView(file, end=end, patches=patches)
        sound = _ToTheEnd(part or file.fileno(), closefd=False)
    except (soundfile.LibsndfileError, TypeError, RuntimeError) as error:
        raise _TryPyAV(_words(error)) from None
    stack.enter_context(sound)
    if sound.subtype == "OPUS":
        # Without this, libsndfile keeps the 6.5 ms before the recording (the pre-skip)
        # of a stream whose clock does not begin at 0.
        sound.seek(0)
    announced, incomplete = sound.frames / sound.samplerate, False
    if sound.format == "MP3":
        with _position_kept(file):
            mp3 = mp3_frames.count(file)
        if mp3.samples - sound.frames > 5 * mp3.frame:
            raise _TryPyAV("an MP3 that is longer than its header says")
        announced = announced if mp3.has_count else None
    elif sound.frames == np.iinfo(np.int64).max:
        announced = None
    elif sound.format != "OGG":
        announced = header_lengths.announced(file, sound) / sound.samplerate
        incomplete = header_lengths.is_cut_voc(file)
    return Stream(
        sound.samplerate, sound.channels, announced, incomplete, _blocks(sound)
    )


def _blocks(sound: soundfile.SoundFile) -> Iterator[np.ndarray]:
    """Yields blocks until there are no more, whatever the header says.

    An error past the frames that it announces is no damage: something that is no audio
    follows, such as a tag. No block reaches across that place, as an error voids it.
    """
    present = header_lengths.present(sound)
    left = sound.frames if present is None else present
    while left or present is None:
        asked = min(BLOCK, left) if left > 0 else BLOCK
        # libsndfile fills a block up to the error but does not say how far.
        block = np.full((asked, sound.channels), np.nan, np.float32)
        try:
            read = sound.read(out=block)
        except (soundfile.LibsndfileError, RuntimeError) as error:
            if left == 0:
                return
            decoded = int(np.argmax(np.isnan(block[:, 0])))
            if decoded:
                yield block[:decoded]
            raise Undecodable(_words(error)) from None
        if len(read):
            yield read
        left -= len(read)
        if len(read) < asked:
            return


def _words(error: Exception) -> str:
    return str(getattr(error, "error_string", None) or error).strip(" .")


@contextlib.contextmanager
def _position_kept(file: BinaryIO) -> Iterator[None]:
    """Leaves the position, which libsndfile shares, as it was."""
    position = os.lseek(file.fileno(), 0, os.SEEK_CUR)
    try:
        yield
    finally:
        file.seek(0)  # drops what Python has buffered
        os.lseek(file.fileno(), position, os.SEEK_SET)


def _with_pyav(file: BinaryIO | FileView, stack: contextlib.ExitStack) -> Stream:
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
