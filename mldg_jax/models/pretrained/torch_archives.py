"""The formats of ``torch.save``: a zip archive since torch 1.6, and the older one.

Both are a pickle that describes tensors and, beside it, the bytes of their storages.
"""

import io
import math
import mmap
import struct
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from mldg_jax.common.errors import UserError
from mldg_jax.models.pretrained import pickles

# The numbers at the start of torch's format before 1.6.
_LEGACY_MAGIC, _LEGACY_VERSION = 0x1950A86A20F9469CFC6C, 1001
_WRAPPERS = ("model", "state_dict")
# Bytes that a compressed data.pkl may have, or a compressed storage beyond four times
# its tensor. XLS-R's data.pkl has 60 thousand; torch itself compresses nothing.
_UNPACKED = 2**26

# Returns the bytes of the record in which a tensor lies.
Record = Callable[[pickles.Tensor], memoryview | bytes]


class Contents(NamedTuple):
    """What a checkpoint holds, before any of its numbers are read.

    Attributes:
      shapes: the shape of every array, by name.
      settings: of the model, as fairseq stores them next to the weights (the dictionary
        ``cfg.model``; ``cfg`` itself in the files of WavLM); empty for others.
    """

    shapes: dict[str, tuple[int, ...]]
    settings: Mapping[str, Any]


class Opened(NamedTuple):
    """An open checkpoint.

    Attributes:
      contents: what it holds.
      read: returns the array of a name.
    """

    contents: Contents
    read: Callable[[str], np.ndarray]


def _map(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def open_zip(path: Path) -> Opened:
    """Opens a zip archive: ``ROOT/data.pkl``, and ``ROOT/data/KEY`` for each storage.

    Args:
      path: the file.

    Returns:
      The checkpoint, not yet read.

    Raises:
      UserError: it is another kind of archive, or has no named tensors.
      pickles.Refused: it asks for more than tensors and plain data.
      Exception: (any kind) it is damaged.
    """
    content = memoryview(_map(path))
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        roots = [n.removesuffix("data.pkl") for n in names if _is_pickle(n)]
        if len(roots) != 1:
            raise UserError(
                f"{path} is a zip archive with {len(roots)} data.pkl, but a "
                "torch checkpoint has exactly one; unpack it, or choose another file"
            )
        root = roots[0]
        if f"{root}constants.pkl" in names:
            raise UserError(
                f"{path} is a TorchScript program; give a checkpoint with its weights "
                "(torch.save(model.state_dict(), FILE))"
            )
        order = "little"
        if f"{root}byteorder" in names:
            order = bytes(_entry(archive, f"{root}byteorder", content, 16)).decode()
        name = f"{root}data.pkl"
        program = bytes(_entry(archive, name, content, _UNPACKED))
    value, _ = pickles.load(io.BytesIO(program))

    def record(tensor: pickles.Tensor) -> memoryview | bytes:
        storage, width = tensor.storage, _dtype(tensor.storage).itemsize
        largest = width * min(storage.total, 4 * math.prod(tensor.shape) + _UNPACKED)
        with zipfile.ZipFile(path) as archive:
            return _entry(archive, f"{root}data/{storage.key}", content, largest)

    return _tensors(value, record, order, path)


def _is_pickle(name: str) -> bool:
    return name == "data.pkl" or (name.endswith("/data.pkl") and name.count("/") == 1)


def _entry(
    archive: zipfile.ZipFile, name: str, content: memoryview, largest: int
) -> memoryview | bytes:
    """Returns an entry's bytes: a view if it is not compressed, as torch writes it.

    Raises:
      ValueError: the entry is compressed and has more than ``largest`` bytes, or it
        does not lie within the file.
    """
    entry = archive.getinfo(name)
    if entry.compress_type != zipfile.ZIP_STORED:
        if entry.file_size > largest:
            raise ValueError(
                f"{name} unpacks to {entry.file_size:,} bytes, {largest:,} at most are "
                "expected"
            )
        return archive.read(name)
    # The name and the extra field, which torch pads to align the data, follow the
    # local header.
    start = entry.header_offset
    if content[start : start + 4] != b"PK\x03\x04":
        raise ValueError(f"no entry {name} at byte {start}")
    lengths = struct.unpack_from("<HH", content, start + 26)
    start += 30 + sum(lengths)
    if start + entry.file_size > len(content):
        raise ValueError(f"{name} ends after the end of the file")
    return content[start : start + entry.file_size]


def open_legacy(path: Path) -> Opened:
    """Opens a file of five pickles, then the length and the bytes of each storage.

    Args:
      path: the file.

    Returns, Raises:
      As ``open_zip``.
    """
    stream = _map(path)
    content = memoryview(stream)
    magic, _ = pickles.load(stream)
    if magic != _LEGACY_MAGIC:
        raise ValueError("a pickle, but not one of torch's")
    version, _ = pickles.load(stream)
    if version != _LEGACY_VERSION:
        raise ValueError(
            f"version {version} of torch's format, only {_LEGACY_VERSION} is supported"
        )
    pickles.load(stream)  # facts of the machine; numbers are always little endian
    value, storages = pickles.load(stream)
    keys, _ = pickles.load(stream)
    position, records = stream.tell(), {}
    for key in keys:
        (length,) = struct.unpack_from("<q", content, position)
        size = length * _dtype(storages[key]).itemsize
        position += 8
        if length < 0 or position + size > len(content):
            raise ValueError(f"storage {key} needs {size} bytes, the file has fewer")
        records[key] = content[position : position + size]
        position += size
    return _tensors(value, lambda tensor: records[tensor.storage.key], "little", path)


def _tensors(value: Any, record: Record, order: str, path: Path) -> Opened:
    """Opens the tensors of a state dict, which may be wrapped."""
    settings = _settings(value)
    for wrapper in _WRAPPERS:
        if isinstance(value, Mapping) and isinstance(value.get(wrapper), Mapping):
            value = value[wrapper]
    entries = value if isinstance(value, Mapping) else {}
    tensors = {k: v for k, v in entries.items() if isinstance(v, pickles.Tensor)}
    if not tensors:
        content = f"names {', '.join(entries)}" if entries else type(value).__name__
        raise UserError(
            f"{path} has no named tensors at the top level or under "
            f"{' or '.join(_WRAPPERS)} (found: {ascii(content)[1:-1][:200]}); give a "
            "state dict"
        )
    shapes = {name: x.shape for name, x in tensors.items()}

    def read(name: str) -> np.ndarray:
        return _array(tensors[name], record(tensors[name]), order)

    return Opened(Contents(shapes, settings), read)


def _settings(value: Any) -> Mapping[str, Any]:
    """Returns ``cfg.model`` of a fairseq checkpoint, ``cfg`` of WavLM's, or nothing."""
    config = value.get("cfg") if isinstance(value, Mapping) else None
    if not isinstance(config, Mapping):
        return {}
    model = config.get("model")
    return model if isinstance(model, Mapping) else config


def _dtype(storage: pickles.Storage) -> np.dtype:
    return np.dtype("u2" if storage.dtype == "bfloat16" else storage.dtype)


def _array(
    tensor: pickles.Tensor, content: memoryview | bytes, order: str
) -> np.ndarray:
    """Returns a view of a storage's bytes, or a copy if they must be converted."""
    storage, dtype = tensor.storage, _dtype(tensor.storage)
    if 0 in tensor.shape:
        return np.zeros(tensor.shape, "f4" if storage.dtype == "bfloat16" else dtype)
    if storage.total * dtype.itemsize > len(content):
        raise ValueError(
            f"storage {storage.key} has {len(content)} bytes, "
            f"but {storage.total * dtype.itemsize} are needed"
        )
    flat = np.frombuffer(
        content,
        dtype.newbyteorder(cast(Any, order)),
        pickles.extent(tensor),
        (storage.first + tensor.offset) * dtype.itemsize,
    )
    if order != sys.byteorder:
        flat = flat.astype(dtype)
    if storage.dtype == "bfloat16":  # bfloat16 is the upper half of float32
        flat = (flat.astype(np.uint32) << 16).view(np.float32)
    strides = [step * flat.itemsize for step in tensor.stride]
    return np.lib.stride_tricks.as_strided(flat, tensor.shape, strides, writeable=False)
