"""Checkpoint files as named arrays, without torch and without executing their content.

Supported are safetensors files, torch's zip format (``torch.save`` since 1.6), its
older format, and folders of them as on the Hugging Face hub, whole or sharded. Torch
files are memory-mapped and their arrays are read-only views, so a 3.7 GB checkpoint
with an optimiser state takes memory only for the weights that are copied from it.
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

# File names to look for in a folder, best first.
WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
# The numbers at the start of torch's format before 1.6.
_LEGACY_MAGIC, _LEGACY_VERSION = 0x1950A86A20F9469CFC6C, 1001
_WRAPPERS = ("model", "state_dict")

# Returns the bytes of a storage's record.
Record = Callable[[pickles.Storage], memoryview | bytes]


def read(path: str | Path) -> dict[str, np.ndarray]:
    """Reads the arrays of a checkpoint.

    Args:
      path: a safetensors or torch file, or a folder with one of ``WEIGHTS``. If the
        checkpoint wraps its parameters (``{"model": {…}, "cfg": …}`` of fairseq,
        ``{"state_dict": {…}}``), the wrapped dictionary is read.

    Returns:
      Arrays by name. They may be views of the file; do not write to them. bfloat16 is
      converted to float32, other dtypes are kept. Entries of torch files that are not
      tensors are skipped.

    Raises:
      UserError: the file does not exist, is empty, truncated or not a checkpoint, or
        asks for more than tensors and plain data; nothing in it is executed.
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
            "executed. If you trust its source, save only the weights: "
            "torch.save(torch.load(FILE, weights_only=False)['model'], NEW_FILE)"
        ) from None
    # Damaged or hostile bytes can break the readers in more ways than one could list.
    except Exception as error:
        raise UserError(
            f"{path} is truncated, damaged or not a checkpoint "
            f"({_printable(error)}); download it again, as safetensors or a torch file"
        ) from None


def _printable(value: object) -> str:
    """Returns text from an untrusted file in a form that is safe on a terminal."""
    return ascii(str(value))[1:-1][:200]


def _in_folder(folder: Path) -> Path:
    for name in WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise UserError(
        f"{folder} contains none of {', '.join(WEIGHTS)}; give the checkpoint file "
        "itself or put it there"
    )


def _reader(path: Path, head: bytes) -> Callable[[Path], dict[str, np.ndarray]]:
    """Chooses a reader by content; suffixes (.bin, .pt, .pth, .ckpt) say little.

    Raises:
      UserError: the file is what a browser or git left instead of a checkpoint.
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
    # safetensors files start with eight bytes of length, then a JSON object.
    if path.suffix == ".safetensors" or head[8:9] == b"{":
        return _safetensors
    return _torch_zip if head.startswith(b"PK\x03\x04") else _torch_legacy


def shards(index: Path) -> list[str]:
    """Returns the files of a sharded checkpoint.

    Args:
      index: its ``*.index.json``.

    Returns:
      Sorted file names, without folders: the files lie next to the index.
    """
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
    """Reads ``ROOT/data.pkl`` and one record ``ROOT/data/KEY`` for each storage."""
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
    """Returns an entry's bytes: a view if it is not compressed, as torch writes it."""
    entry = archive.getinfo(name)
    if entry.compress_type != zipfile.ZIP_STORED:
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


def _torch_legacy(path: Path) -> dict[str, np.ndarray]:
    """Reads five pickles, then the length and the bytes of each storage."""
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
    return _arrays(value, lambda storage: records[storage.key], "little", path)


def _arrays(
    value: Any, record: Record, order: str, path: Path
) -> dict[str, np.ndarray]:
    """Returns the tensors of a state dict, which may be wrapped."""
    for wrapper in _WRAPPERS:
        if isinstance(value, Mapping) and isinstance(value.get(wrapper), Mapping):
            value = value[wrapper]
    entries = value if isinstance(value, Mapping) else {}
    tensors = {k: v for k, v in entries.items() if isinstance(v, pickles.Tensor)}
    if not tensors:
        content = f"names {', '.join(entries)}" if entries else type(value).__name__
        raise UserError(
            f"{path} has no named tensors at the top level or under "
            f"{' or '.join(_WRAPPERS)} (found: {_printable(content)}); give a state "
            "dict"
        )
    return {name: _array(x, record(x.storage), order) for name, x in tensors.items()}


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
