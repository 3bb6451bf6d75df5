"""Where a checkpoint is: a local file or folder, else the Hugging Face hub."""

import re
from collections.abc import Sequence
from pathlib import Path

from mldg_jax.common.errors import UserError
from mldg_jax.models.pretrained import torch_files

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def locate(source: str | Path, filenames: Sequence[str]) -> Path:
    """Finds a file of a checkpoint and fetches it when it is not on this machine.

    Args:
      source: a file; or a folder as on the hub (``config.json`` beside
        ``model.safetensors`` or ``pytorch_model.bin``); or a hub name
        ``"owner/name"``. What exists here is never looked for on the hub.
      filenames: names that will do, best first; a file given as ``source`` is taken
        whatever its name.

    Returns:
      The file. Those of the hub are in its library's cache, which also answers without
      a network (``HF_HUB_OFFLINE``, ``HF_HOME``, ``HF_TOKEN`` as the library reads
      them).

    Raises:
      UserError: not found, with what to download and where to put it.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        for name in filenames:
            if (path / name).is_file():
                return path / name
        raise UserError(
            f"{path} holds no {' or '.join(filenames)}; put the file there, or give "
            "another folder"
        )
    if not _NAME.fullmatch(str(source)):
        raise UserError(
            f"{source} is neither a file nor a folder here, nor a hub name like "
            "facebook/wav2vec2-xls-r-300m; check the path"
        )
    return _fetch(str(source), filenames)


def _fetch(name: str, filenames: Sequence[str]) -> Path:
    try:
        import huggingface_hub  # pyright: ignore[reportMissingImports]
        from huggingface_hub.errors import (  # pyright: ignore[reportMissingImports]
            EntryNotFoundError,
            LocalEntryNotFoundError,
        )
    except ImportError:
        raise UserError(
            _by_hand(name, filenames, "huggingface_hub is not installed")
            + " Or: pip install 'mldg_jax[hub]'"
        ) from None
    unreached = ""
    for filename in filenames:
        try:
            path = Path(huggingface_hub.hf_hub_download(name, filename))
            if filename.endswith(".index.json"):
                for shard in torch_files.shards(path):
                    huggingface_hub.hf_hub_download(name, shard)
            return path
        # No network and not in the cache; the next name may be. (A subclass of the
        # next exception.)
        except LocalEntryNotFoundError as error:
            unreached = f"the hub cannot be reached ({_first_line(error)})"
        except EntryNotFoundError:
            continue
        # No such repository, no permission, or a failure of whichever HTTP library
        # huggingface_hub has today.
        except Exception as error:
            why = _first_line(error)
            raise UserError(_by_hand(name, filenames, why)) from None
    if unreached:
        raise UserError(_by_hand(name, filenames, unreached))
    raise UserError(
        f"{name} on the Hugging Face hub holds no {' or '.join(filenames)}; choose "
        "another model, or convert it"
    )


def _by_hand(name: str, filenames: Sequence[str], why: str) -> str:
    folder = name.rpartition("/")[2]
    return (
        f"{name} is not on this machine and was not fetched: {why}. By hand: download "
        f"config.json and the weights ({' or '.join(filenames)}) from "
        f"https://huggingface.co/{name}/resolve/main/ into a folder, say {folder}, and "
        f"give ./{folder} instead of {name}."
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
