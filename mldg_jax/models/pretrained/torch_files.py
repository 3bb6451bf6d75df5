"""Checkpoint files as named arrays, without torch and without running what is in them.

``model.safetensors``; torch's zip format (``torch.save`` since 1.6); the format before
that; folders of them as on the Hugging Face hub, in one piece or sharded. Files are
mapped, not read: arrays of torch files are read-only views, so that a 3.7 GB checkpoint
with an optimiser in it costs what its weights cost, once, when they are copied.
"""

import io
import json
import mmap
import struct
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import jax.numpy as jnp
import numpy as np
from safetensors import safe_open

from mldg_jax.common.errors import UserError
from mldg_jax.models.pretrained import pickles

# What a folder may hold, best first.
WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
# The numbers that torch's format before 1.6 begins with.
_LEGACY_MAGIC, _LEGACY_VERSION = 0x1950A86A20F9469CFC6C, 1001
_WRAPPERS = ("model", "state_dict")

# The bytes of a storage's record.
Record = Callable[[pickles.Storage], memoryview | bytes]


def read(path: str | Path) -> dict[str, np.ndarray]:
    """Reads the arrays of a checkpoint.

    Args:
      path: a safetensors or torch file, or a folder with one of ``WEIGHTS``. Of a
        checkpoint that wraps its parameters (``{"model": {...}, "cfg": ...}`` of
        fairseq, ``{"state_dict": {...}}``) what is wrapped is read.

    Returns:
      Names and arrays, not to be written to: they may be views of the file. bfloat16
      comes as float32, every other dtype as it is. What is no tensor is left out.

    Raises:
      UserError: no such file, or one that is empty, cut short, no checkpoint, or wants
        more than tensors and plain data; nothing in it is executed.
    """
    path = Path(path)
    try:
        if path.is_dir():
            path = _in_folder(path)
        if not path.exists():
            raise UserError(
                f"{path} does not exist; give a checkpoint file or its folder"
            )
        if path.name.endswith(".index.json"):
            return _sharded(path)
        with path.open("rb") as file:
            head = file.read(256)
        return _reader(path, head)(path)
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path} cannot be opened: {error.strerror or error}") from None
    except pickles.Refused as error:
        raise UserError(
            f"{path} {error}. Weights need only tensors and plain data, so nothing was "
            "executed. If you trust where it is from, save its weights alone: "
            "torch.save(torch.load(FILE, weights_only=False)['model'], NEW_FILE)"
        ) from None
    # Whatever a damaged file makes the readers stumble over: a stranger's bytes can
    # break them in more ways than there are exceptions to list.
    except Exception as error:
        raise UserError(
            f"{path} is cut short, damaged or no checkpoint ({_shown(error)}); "
            "download it again, as safetensors or a torch file"
        ) from None


def _shown(what: object) -> str:
    """A part of a stranger's file, fit for a terminal."""
    return ascii(str(what))[1:-1][:200]


def _in_folder(folder: Path) -> Path:
    for name in WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise UserError(
        f"{folder} holds none of {', '.join(WEIGHTS)}; give the checkpoint file itself "
        "or put it there"
    )


def _reader(path: Path, head: bytes) -> Callable[[Path], dict[str, np.ndarray]]:
    """By content; a suffix says little (.bin, .pt, .pth, .ckpt).

    Raises:
      UserError: what a browser or git leaves instead of a checkpoint.
    """
    if not head:
        raise UserError(f"{path} is empty; download it again")
    if head.startswith(b"version https://git-lfs"):
        raise UserError(
            f"{path} is a Git LFS pointer, not the weights; run `git lfs pull` in its "
            "folder, or download the file itself"
        )
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise UserError(
            f"{path} is a web page, not the weights; download the file itself (on the "
            "Hugging Face hub: /resolve/main/, not /blob/main/)"
        )
    # Eight bytes of length, which may be anything, and a JSON object.
    if path.suffix == ".safetensors" or head[8:9] == b"{":
        return _safetensors
    return _torch_zip if head.startswith(b"PK\x03\x04") else _torch_legacy


def shards(index: Path) -> list[str]:
    """The files that a ``*.index.json`` names; they lie beside it."""
    names = json.loads(index.read_text())["weight_map"].values()
    return sorted({Path(name).name for name in names})


def _sharded(index: Path) -> dict[str, np.ndarray]:
    state: dict[str, np.ndarray] = {}
    for name in shards(index):
        state.update(read(index.parent / name))
    return state


def _safetensors(path: Path) -> dict[str, np.ndarray]:
    with safe_open(path, framework="numpy") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return {
        name: value.astype(np.float32) if value.dtype == jnp.bfloat16 else value
        for name, value in state.items()
    }


def _map(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _torch_zip(path: Path) -> dict[str, np.ndarray]:
    """``ROOT/data.pkl`` with one record ``ROOT/data/KEY`` for each storage."""
    content = memoryview(_map(path))
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        roots = [n.removesuffix("data.pkl") for n in names if _is_pickle(n)]
        if len(roots) != 1:
            raise UserError(
                f"{path} is a zip archive with {len(roots)} data.pkl, so no torch "
                "checkpoint; unpack it, or choose another file"
            )
        root = roots[0]
        if f"{root}constants.pkl" in names:
            raise UserError(
                f"{path} is a TorchScript program; give the checkpoint of its weights "
                "(torch.save(model.state_dict(), FILE))"
            )
        order = "little"
        if f"{root}byteorder" in names:
            order = bytes(_entry(archive, f"{root}byteorder", content)).decode()
        program = bytes(_entry(archive, f"{root}data.pkl", content))
        value, _ = pickles.load(io.BytesIO(program))

        def record(storage: pickles.Storage) -> memoryview | bytes:
            return _entry(archive, f"{root}data/{storage.key}", content)

        return _arrays(value, record, order, path)


def _is_pickle(name: str) -> bool:
    return name == "data.pkl" or (name.endswith("/data.pkl") and name.count("/") == 1)


def _entry(
    archive: zipfile.ZipFile, name: str, content: memoryview
) -> memoryview | bytes:
    """An entry's bytes: a view where it is stored as it is, which torch does."""
    entry = archive.getinfo(name)
    if entry.compress_type != zipfile.ZIP_STORED:
        return archive.read(name)
    # The local header repeats the name, and pads its extra field to align the data.
    start = entry.header_offset
    if content[start : start + 4] != b"PK\x03\x04":
        raise ValueError(f"no entry {name} at byte {start}")
    lengths = struct.unpack_from("<HH", content, start + 26)
    start += 30 + sum(lengths)
    if start + entry.file_size > len(content):
        raise ValueError(f"{name} ends after the end of the file")
    return content[start : start + entry.file_size]


def _torch_legacy(path: Path) -> dict[str, np.ndarray]:
    """Five pickles, then for each storage its length and its bytes."""
    stream = _map(path)
    content = memoryview(stream)
    magic, _ = pickles.load(stream)
    if magic != _LEGACY_MAGIC:
        raise ValueError("a pickle, but none of torch's")
    version, _ = pickles.load(stream)
    if version != _LEGACY_VERSION:
        raise ValueError(f"torch's format {version}, {_LEGACY_VERSION} is supported")
    pickles.load(stream)  # the machine; the numbers are little endian on every one
    value, storages = pickles.load(stream)
    keys, _ = pickles.load(stream)
    position, records = stream.tell(), {}
    for key in keys:
        (length,) = struct.unpack_from("<q", content, position)
        size = length * _dtype(storages[key]).itemsize
        position += 8
        if length < 0 or position + size > len(content):
            raise ValueError(f"storage {key} needs {size} bytes, the file ends before")
        records[key] = content[position : position + size]
        position += size
    return _arrays(value, lambda storage: records[storage.key], "little", path)


def _arrays(
    value: Any, record: Record, order: str, path: Path
) -> dict[str, np.ndarray]:
    """The tensors of a state dict, alone or wrapped."""
    for wrapper in _WRAPPERS:
        if isinstance(value, Mapping) and isinstance(value.get(wrapper), Mapping):
            value = value[wrapper]
    found = value if isinstance(value, Mapping) else {}
    tensors = {k: v for k, v in found.items() if isinstance(v, pickles.Tensor)}
    if not tensors:
        what = f"names {', '.join(found)}" if found else type(value).__name__
        raise UserError(
            f"{path} holds no named tensors at the top, nor under "
            f"{' or '.join(_WRAPPERS)} (found: {_shown(what)}); give a state dict"
        )
    return {name: _array(x, record(x.storage), order) for name, x in tensors.items()}


def _dtype(storage: pickles.Storage) -> np.dtype:
    return np.dtype("u2" if storage.dtype == "bfloat16" else storage.dtype)


def _array(
    tensor: pickles.Tensor, content: memoryview | bytes, order: str
) -> np.ndarray:
    """A view of a storage's bytes, or a copy where they must be converted."""
    storage, dtype = tensor.storage, _dtype(tensor.storage)
    if 0 in tensor.shape:
        return np.zeros(tensor.shape, "f4" if storage.dtype == "bfloat16" else dtype)
    if storage.total * dtype.itemsize > len(content):
        raise ValueError(
            f"storage {storage.key} has {len(content)} bytes, "
            f"{storage.total * dtype.itemsize} are needed"
        )
    flat = np.frombuffer(
        content,
        dtype.newbyteorder(cast(Any, order)),
        pickles.extent(tensor),
        (storage.first + tensor.offset) * dtype.itemsize,
    )
    if order != sys.byteorder:
        flat = flat.astype(dtype)
    if storage.dtype == "bfloat16":  # the upper half of a float32
        flat = (flat.astype(np.uint32) << 16).view(np.float32)
    strides = [step * flat.itemsize for step in tensor.stride]
    return np.lib.stride_tricks.as_strided(flat, tensor.shape, strides, writeable=False)
