"""Checkpoint files as named arrays, without torch and without executing their content.

Supported are safetensors files, torch's zip format (``torch.save`` since 1.6), its
older format, and folders of them as on the Hugging Face hub, whole or sharded. Torch
files are memory-mapped and their arrays are read-only views, so a 3.7 GB checkpoint
with an optimiser state takes memory only for the weights that are copied from it.

A checkpoint is opened first, which gives names and shapes; what is read then is the
caller's choice. A file that unpacks to gigabytes is so refused before it is unpacked.
"""

import contextlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from safetensors import safe_open

from mldg_jax.common import text_files
from mldg_jax.common.errors import UserError
from mldg_jax.models.pretrained import pickles, torch_archives
from mldg_jax.models.pretrained.torch_archives import Contents, Opened

# File names to look for in a folder, best first.
WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)

Select = Callable[[Contents], Collection[str]]


def _every(contents: Contents) -> Collection[str]:
    return contents.shapes


def read(path: str | Path, select: Select = _every) -> dict[str, np.ndarray]:
    """Reads the arrays of a checkpoint.

    Args:
      path: a safetensors or torch file, or a folder with one of ``WEIGHTS``. If the
        checkpoint wraps its parameters (``{"model": {…}, "cfg": …}`` of fairseq,
        ``{"state_dict": {…}}``), the wrapped dictionary is read.
      select: names the arrays to read, before any is read; it may raise ``UserError``.

    Returns:
      Arrays by name. They may be views of the file; do not write to them. bfloat16 is
      converted to float32, other dtypes are kept. Entries of torch files that are not
      tensors are skipped.

    Raises:
      UserError: the file does not exist, is empty, truncated or not a checkpoint, or
        asks for more than tensors and plain data; nothing in it is executed.
    """
    path = Path(path)
    opened = _open(_in_folder(path) if path.is_dir() else path)
    return {name: opened.read(name) for name in select(opened.contents)}


def _open(path: Path) -> Opened:
    with _named(path):
        if not path.exists():
            raise UserError(
                f"{path} does not exist; give a checkpoint file or its folder"
            )
        if path.name.endswith(".index.json"):
            return _sharded(path)
        with path.open("rb") as file:
            head = file.read(256)
        opened = _reader(path, head)(path)

    def read(name: str) -> np.ndarray:
        with _named(path):
            return opened.read(name)

    return Opened(opened.contents, read)


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turns whatever a damaged or hostile file causes into one message about it."""
    try:
        yield
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
    # Such bytes can break the readers in more ways than one could list.
    except Exception as error:
        raise UserError(
            f"{path} is truncated, damaged or not a checkpoint "
            f"({ascii(str(error))[1:-1][:200]}); download it again, as safetensors or "
            "a torch file"
        ) from None


def _in_folder(folder: Path) -> Path:
    for name in WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise UserError(
        f"{folder} contains none of {', '.join(WEIGHTS)}; give the checkpoint file "
        "itself or put it there"
    )


def _reader(path: Path, head: bytes) -> Callable[[Path], Opened]:
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
    return (
        torch_archives.open_zip
        if head.startswith(b"PK\x03\x04")
        else torch_archives.open_legacy
    )


def shards(index: Path) -> list[str]:
    """Returns the files of a sharded checkpoint.

    Args:
      index: its ``*.index.json``.

    Returns:
      Sorted file names, without folders: the files lie next to the index.

    Raises:
      UserError: the index is not JSON, or names no files.
    """
    names = text_files.read_json(index, dict).get("weight_map")
    if not isinstance(names, dict) or not all(
        isinstance(x, str) for x in names.values()
    ):
        raise UserError(f"{index} has no weight_map of file names; download it again")
    return sorted({Path(name).name for name in names.values()})


def _sharded(index: Path) -> Opened:
    owner: dict[str, Opened] = {}
    for name in shards(index):
        opened = _open(index.parent / name)
        owner.update(dict.fromkeys(opened.contents.shapes, opened))
    shapes = {name: opened.contents.shapes[name] for name, opened in owner.items()}
    return Opened(Contents(shapes, {}), lambda name: owner[name].read(name))


def _safetensors(path: Path) -> Opened:
    with safe_open(path, framework="numpy") as file:
        names = list(file.keys())
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in names}

    def read(name: str) -> np.ndarray:
        with safe_open(path, framework="numpy") as file:
            value = file.get_tensor(name)
        return value.astype(np.float32) if value.dtype == jnp.bfloat16 else value

    return Opened(Contents(shapes, {}), read)
