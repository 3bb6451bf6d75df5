"""Torch checkpoints put together by hand, so that they can lie or attack."""

import io
import pickle
import struct
import zipfile
from collections.abc import Mapping
from typing import Any

MAGIC = 0x1950A86A20F9469CFC6C


def lit(value: Any) -> bytes:
    """Opcodes that push plain data."""
    return pickle.dumps(value, 2)[2:-1]


def name(module: str, attribute: str) -> bytes:
    """GLOBAL."""
    return f"c{module}\n{attribute}\n".encode()


def stack_name(module: str, attribute: str) -> bytes:
    """STACK_GLOBAL, of protocol 4."""
    return lit(module) + lit(attribute) + b"\x93"


def call(function: bytes, *arguments: bytes) -> bytes:
    """REDUCE."""
    return function + b"(" + b"".join(arguments) + b"tR"


def program(*opcodes: bytes) -> bytes:
    """A whole pickle."""
    return b"\x80\x02" + b"".join(opcodes) + b"."


def storage(
    key: str, numel: Any, kind: str = "FloatStorage", view: bytes = b""
) -> bytes:
    """A persistent id, as torch writes it; old files end it with a view or None."""
    parts = lit("storage"), name("torch", kind), lit(key), lit("cpu"), lit(numel)
    return b"(" + b"".join(parts) + view + b"tQ"


def tensor(
    store: bytes, *, offset: Any = 0, shape: Any = (2, 3), stride: Any = (3, 1)
) -> bytes:
    """``_rebuild_tensor_v2``."""
    hooks = call(name("collections", "OrderedDict"))
    data = (lit(offset), lit(shape), lit(stride), lit(False), hooks)
    return call(name("torch._utils", "_rebuild_tensor_v2"), store, *data)


def mapping(**items: bytes) -> bytes:
    """A dictionary."""
    pairs = b"".join(lit(key) + value for key, value in items.items())
    return b"}(" + pairs + b"u"


def as_zip(
    pickled: bytes,
    records: Mapping[str, bytes],
    *,
    extra: Mapping[str, bytes] | None = None,
    compression: int = zipfile.ZIP_STORED,
) -> bytes:
    """The format since 1.6; ``extra`` are more entries, by name below the root."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("some name/data.pkl", pickled)
        for key, content in records.items():
            archive.writestr(f"some name/data/{key}", content)
        for key, content in (extra or {}).items():
            archive.writestr(f"some name/{key}", content)
    return file.getvalue()


def as_legacy(
    pickled: bytes,
    records: Mapping[str, bytes],
    *,
    itemsize: int = 4,
    little_endian: bool = True,
) -> bytes:
    """The format before 1.6; ``little_endian`` is what it says of its machine."""
    head = [MAGIC, 1001, {"little_endian": little_endian, "protocol_version": 1001}]
    parts = [program(lit(value)) for value in head] + [pickled]
    parts.append(program(lit(list(records))))
    for content in records.values():
        parts += [struct.pack("<q", len(content) // itemsize), content]
    return b"".join(parts)
