"""Locating a checkpoint: a local file or folder, or else the Hugging Face hub."""

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path

from mldg_jax.common.errors import UserError
from mldg_jax.models.pretrained import torch_files

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def is_name(source: str) -> bool:
    """Returns whether a text looks like a name on the hub.

    Args:
      source: the text.

    Returns:
      True for ``"owner/name"``.
    """
    return _NAME.fullmatch(source) is not None


def locate(source: str | Path, filenames: Sequence[str]) -> Path:
    """Finds a file of a checkpoint, downloading it if it is not on this machine.

    Args:
      source: a file; or a folder as on the hub (``config.json`` next to
        ``model.safetensors`` or ``pytorch_model.bin``); or a hub name
        ``"owner/name"``. A path that exists is never looked up on the hub.
      filenames: acceptable file names, best first; a file given as ``source`` may have
        any name.

    Returns:
      The file; with one from the hub comes its config.json, beside it. Downloads lie in
      the cache of ``huggingface_hub``, which also works offline and reads
      ``HF_HUB_OFFLINE``, ``HF_HOME`` and ``HF_TOKEN`` as usual.

    Raises:
      UserError: not found; the message says what to download and where to put it.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        for name in filenames:
            if (path / name).is_file():
                return path / name
        raise UserError(
            f"{path} contains no {' or '.join(filenames)}; put the file there, or give "
            "another folder"
        )
    if not is_name(str(source)):
        raise UserError(
            f"{source} is neither a file nor a folder, nor a hub name like "
            "facebook/wav2vec2-xls-r-300m; check the path"
        )
    return fetch(str(source), filenames)


def fetch(name: str, filenames: Sequence[str]) -> Path:
    """Downloads a file of a checkpoint, unless it is in the cache.

    Args:
      name: on the hub, ``"owner/name"``.
      filenames: as for ``locate``.

    Returns:
      The file, as ``locate``.

    Raises:
      UserError: the name is not valid, or as ``locate``.
    """
    if not is_name(name):
        raise UserError(
            f"{name!r} is not a name on the Hugging Face hub; one looks like "
            "facebook/wav2vec2-xls-r-300m"
        )
    try:
        import huggingface_hub  # pyright: ignore[reportMissingImports]
        from huggingface_hub.errors import (  # pyright: ignore[reportMissingImports]
            EntryNotFoundError,
            LocalEntryNotFoundError,
        )
    except ImportError:
        raise UserError(
            _by_hand(name, filenames, "huggingface_hub is not installed")
            + " Or install it: pip install 'mldg_jax[hub]'"
        ) from None
    unreached = ""
    for filename in filenames:
        try:
            path = Path(huggingface_hub.hf_hub_download(name, filename))
            with contextlib.suppress(EntryNotFoundError):  # not there, or not cached
                huggingface_hub.hf_hub_download(name, "config.json")
            if filename.endswith(".index.json"):
                for shard in torch_files.shards(path):
                    huggingface_hub.hf_hub_download(name, shard)
            return path
        # No network, and this file is not cached, but the next one may be. (This
        # exception is a subclass of the next one.)
        except LocalEntryNotFoundError as error:
            unreached = f"the hub cannot be reached ({_first_line(error)})"
        except EntryNotFoundError:
            continue
        # No such repository, no permission, or an error of the HTTP library, which
        # depends on the version of huggingface_hub.
        except Exception as error:
            why = _first_line(error)
            raise UserError(_by_hand(name, filenames, why)) from None
    if unreached:
        raise UserError(_by_hand(name, filenames, unreached))
    raise UserError(
        f"{name} on the Hugging Face hub contains no {' or '.join(filenames)}; choose "
        "another model, or convert it"
    )


def _by_hand(name: str, filenames: Sequence[str], why: str) -> str:
    folder = name.rpartition("/")[2]
    return (
        f"{name} is not on this machine and could not be downloaded: {why}. By hand: "
        f"download config.json and the weights ({' or '.join(filenames)}) from "
        f"https://huggingface.co/{name}/resolve/main/ into a folder, say {folder}, and "
        f"give ./{folder} instead of {name}."
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
