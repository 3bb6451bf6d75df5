"""A pickle reader that runs nothing: tensors and plain data only.

A pickle is a program for a small stack machine, and Python's own machine lets that
program import and call anything. This one decodes the same opcodes (with the standard
library's ``pickletools``) but knows seven names and imports none: each stands for a
function of this file. Any other name is refused, whichever opcode brings it. Tensors
come out as records of where their numbers are; nothing is allocated for them here.
"""

import mmap
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, cast


class Refused(Exception):
    """The pickle asks for something else than tensors and plain data."""


@dataclass(frozen=True)
class StorageType:
    """A torch storage class; ``dtype`` is numpy's name, or "bfloat16"."""

    dtype: str


@dataclass(frozen=True)
class Storage:
    """A run of numbers in the file: ``numel`` of them, ``first`` into record ``key``.

    ``total`` is the length of the whole record.
    """

    key: str
    dtype: str
    total: int
    first: int
    numel: int


@dataclass(frozen=True)
class Tensor:
    """A view of a storage; offset and strides count elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True)
class _Callable:
    """What a permitted name stands for."""

    run: Callable[..., Any]


class _Inert:
    """Stands where an ``argparse.Namespace`` was: holds nothing, does nothing."""


def _is_size(value: Any) -> bool:
    return type(value) is int and value >= 0


def _sizes(values: Any) -> tuple[int, ...]:
    if not isinstance(values, tuple | list) or not all(map(_is_size, values)):
        raise ValueError("a shape or stride is not a list of sizes")
    return tuple(values)


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> Tensor:
    """``_rebuild_tensor_v2``, checked: every element lies within its storage."""
    shape, stride = _sizes(shape), _sizes(stride)
    if not isinstance(storage, Storage) or not _is_size(offset):
        raise ValueError("a tensor without storage or offset")
    if len(shape) != len(stride):
        raise ValueError(f"a tensor of shape {shape} has strides {stride}")
    tensor = Tensor(storage, offset, shape, stride)
    if offset + extent(tensor) > storage.numel:
        raise ValueError(
            f"a tensor of shape {shape}, strides {stride}, offset {offset} in a "
            f"storage of {storage.numel} elements"
        )
    return tensor


def extent(tensor: Tensor) -> int:
    """How many elements of its storage a tensor spans."""
    if 0 in tensor.shape:
        return 0
    pairs = zip(tensor.shape, tensor.stride, strict=True)
    return 1 + sum((size - 1) * step for size, step in pairs)


def _mapping(pairs: Any = ()) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    for key, value in pairs:
        _put(mapping, [key, value])
    return mapping


_ALLOWED: dict[tuple[str, str], _Callable | StorageType] = {
    ("collections", "OrderedDict"): _Callable(_mapping),
    ("torch._utils", "_rebuild_tensor_v2"): _Callable(_tensor),
    ("torch._utils", "_rebuild_parameter"): _Callable(lambda data, *_: data),
    ("torch", "Size"): _Callable(lambda sizes=(): _sizes(sizes)),
    # fairseq ≤ 0.10 keeps its command line in the checkpoint
    ("argparse", "Namespace"): _Callable(lambda *_: _Inert()),
    ("torch.storage", "UntypedStorage"): StorageType("u1"),
    **{
        ("torch", f"{name}Storage"): StorageType(dtype)
        for name, dtype in [
            ("Double", "f8"),
            ("Float", "f4"),
            ("Half", "f2"),
            ("BFloat16", "bfloat16"),
            ("Long", "i8"),
            ("Int", "i4"),
            ("Short", "i2"),
            ("Char", "i1"),
            ("Byte", "u1"),
            ("Bool", "?"),
        ]
    },
}


def _find(module: Any, name: Any) -> _Callable | StorageType:
    """The whole name must be in the list: nothing is looked up piece by piece."""
    if not isinstance(module, str) or not isinstance(name, str):
        raise ValueError("a name that is no text")
    if (module, name) not in _ALLOWED:
        # ascii: the name is a stranger's, and goes to a terminal
        raise Refused(f"wants to call {ascii(f'{module}.{name}')[1:-1][:120]}")
    return _ALLOWED[module, name]


def _call(function: Any, arguments: Any) -> Any:
    if not isinstance(function, _Callable) or not isinstance(arguments, tuple):
        raise ValueError("a call of what is no function")
    return function.run(*arguments)


def _storage(record: Any) -> Storage:
    """A persistent id: ("storage", type, key, device, numel[, view])."""
    if not isinstance(record, tuple) or len(record) not in (5, 6):
        raise Refused("holds a persistent id that is no storage")
    tag, kind, key, _, total, *views = record
    # the tag's type first: == of a hostile value must not be asked
    if not isinstance(tag, str) or tag != "storage":
        raise Refused("holds a persistent id that is no storage")
    if not isinstance(kind, StorageType) or not isinstance(key, str):
        raise ValueError("a storage without type or key")
    first, numel = 0, total
    if views and views[0] is not None:  # torch < 0.4
        _, first, numel = views[0]
    if not all(map(_is_size, (total, first, numel))) or first + numel > total:
        raise ValueError(f"storage {key[:80]!r} has an impossible size")
    return Storage(key, kind.dtype, total, first, numel)


def _put(target: Any, items: list[Any]) -> dict[str, Any]:
    """Keys and values in turn; only text keys are kept, no weights have others."""
    if not isinstance(target, dict) or len(items) % 2:
        raise ValueError("items for what is no dictionary")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if isinstance(key, str):
            target[key] = value
    return target


def _extend(target: Any, items: list[Any]) -> list[Any]:
    if not isinstance(target, list):
        raise ValueError("items for what is no list")
    target.extend(items)
    return target


def _top(stack: list[Any], number: int) -> list[Any]:
    """Takes the last so many values off the stack."""
    if len(stack) < number:
        raise ValueError("an empty stack")
    values = stack[len(stack) - number :]
    del stack[len(stack) - number :]
    return values


# The opcodes, by what they take. Sets are read as lists: hashing what a stranger nested
# can take for ever.
_LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"),
    *("FLOAT", "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
}
# a number of values, for which they put what the function returns
_COUNTED: dict[str, tuple[int, Callable[..., Any]]] = {
    "NONE": (0, lambda: None),
    "NEWTRUE": (0, lambda: True),
    "NEWFALSE": (0, lambda: False),
    "EMPTY_LIST": (0, list),
    "EMPTY_SET": (0, list),
    "EMPTY_DICT": (0, dict),
    "EMPTY_TUPLE": (0, tuple),
    "TUPLE1": (1, lambda *items: items),
    "TUPLE2": (2, lambda *items: items),
    "TUPLE3": (3, lambda *items: items),
    "APPEND": (2, lambda target, item: _extend(target, [item])),
    "SETITEM": (3, lambda target, *item: _put(target, list(item))),
    "STACK_GLOBAL": (2, _find),
    "REDUCE": (2, _call),
    "NEWOBJ": (2, _call),
    "BUILD": (2, lambda target, attributes: target),  # no attribute is kept
    "BINPERSID": (1, _storage),
}
# everything above the last mark
_MARKED: dict[str, Callable[[list[Any]], Any]] = {
    "LIST": list,
    "FROZENSET": list,
    "TUPLE": tuple,
    "DICT": lambda items: _put({}, items),
    "OBJ": lambda items: _call(items[0], tuple(items[1:])),
}
# that, and the value below the mark
_MARKED_ONTO = {"APPENDS": _extend, "ADDITEMS": _extend, "SETITEMS": _put}


def load(stream: BinaryIO | mmap.mmap) -> tuple[Any, dict[str, Storage]]:
    """Reads one pickle and leaves the stream behind it.

    Args:
      stream: something with ``read``, ``readline`` and ``tell``.

    Returns:
      ``(value, storages)``: the value, in which tensors are ``Tensor`` records,
      dictionaries have only their text keys and sets are lists; and the storages that
      it mentions, by key.

    Raises:
      Refused: it asks for anything but tensors and plain data.
      Exception: of any kind, the pickle is malformed or ends early.
    """
    stack: list[Any] = []
    below: list[list[Any]] = []  # the stacks under each open mark
    memo: dict[Any, Any] = {}
    storages: dict[str, Storage] = {}
    for opcode, argument, _ in pickletools.genops(cast(BinaryIO, stream)):
        name = opcode.name
        if name in _LITERALS:
            stack.append(argument)
        elif name in _COUNTED:
            number, function = _COUNTED[name]
            stack.append(function(*_top(stack, number)))
            if name == "BINPERSID":
                storages[stack[-1].key] = stack[-1]
        elif name in _MARKED:
            items, stack = stack, below.pop()
            stack.append(_MARKED[name](items))
        elif name in _MARKED_ONTO:
            items, stack = stack, below.pop()
            _MARKED_ONTO[name](stack[-1], items)
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "MARK":
            below.append(stack)
            stack = []
        elif name == "POP_MARK" or (name == "POP" and not stack):
            stack = below.pop()
        elif name == "POP":
            stack.pop()
        elif name == "DUP":
            stack.append(stack[-1])
        elif name == "GLOBAL":
            stack.append(_find(*str(argument).split(" ", 1)))
        elif name == "INST":
            items, stack = stack, below.pop()
            stack.append(_call(_find(*str(argument).split(" ", 1)), tuple(items)))
        elif name == "STOP":
            return stack.pop(), storages
        elif name not in ("PROTO", "FRAME"):  # extension registry, out-of-band buffers
            raise Refused(f"uses the pickle opcode {name}")
    raise ValueError("a pickle without its end")
