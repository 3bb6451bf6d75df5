"""A pickle reader that executes nothing: it reads only tensors and plain data.

A pickle is a program for a small stack machine, and Python's own machine lets that
program import and call anything. This one decodes the same opcodes (with the standard
library's ``pickletools``) but imports nothing: a name must be in a short list, where it
stands for a function of this file or a storage type. Any other name is refused,
whichever opcode brings it. Tensors become records of where their numbers are in the
file; nothing is allocated for them here.
"""

import mmap
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, cast


class Refused(Exception):
    """The pickle asks for something other than tensors and plain data."""


@dataclass(frozen=True)
class StorageType:
    """A torch storage class.

    Attributes:
      dtype: numpy's name, or "bfloat16".
    """

    dtype: str


@dataclass(frozen=True)
class Storage:
    """A run of numbers in the file.

    Attributes:
      key: name of the record.
      dtype: numpy's name, or "bfloat16".
      total: number of elements in the whole record.
      first: index of the storage's first element in the record.
      numel: number of elements in the storage.
    """

    key: str
    dtype: str
    total: int
    first: int
    numel: int


@dataclass(frozen=True)
class Tensor:
    """A view of a storage.

    Attributes:
      storage: holds the elements.
      offset: index of the first element in the storage.
      shape: as in numpy.
      stride: step along each axis, in elements.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True)
class _Callable:
    """The function that a permitted name stands for."""

    run: Callable[..., Any]


class _Inert:
    """Replaces an ``argparse.Namespace``; empty."""


def _is_size(value: Any) -> bool:
    return type(value) is int and value >= 0


def _sizes(values: Any) -> tuple[int, ...]:
    if not isinstance(values, tuple | list) or not all(map(_is_size, values)):
        raise ValueError("a shape or stride is not a list of sizes")
    return tuple(values)


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> Tensor:
    """Replaces ``_rebuild_tensor_v2``; checks that elements lie within the storage."""
    shape, stride = _sizes(shape), _sizes(stride)
    if not isinstance(storage, Storage) or not _is_size(offset):
        raise ValueError("a tensor has no valid storage or offset")
    if len(shape) != len(stride):
        raise ValueError(f"a tensor of shape {shape} has strides {stride}")
    tensor = Tensor(storage, offset, shape, stride)
    if offset + extent(tensor) > storage.numel:
        raise ValueError(
            f"a tensor of shape {shape}, strides {stride} and offset {offset} exceeds "
            f"its storage of {storage.numel} elements"
        )
    return tensor


def extent(tensor: Tensor) -> int:
    """Computes how many elements of its storage a tensor spans.

    Args:
      tensor: the view.

    Returns:
      The number of elements from its first to its last, 0 for an empty tensor.
    """
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
    # fairseq ≤ 0.10 stores its command line in the checkpoint
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
    """Looks a name up in the list, as a whole: a dotted name is never resolved."""
    if not isinstance(module, str) or not isinstance(name, str):
        raise ValueError("a name is not text")
    if (module, name) not in _ALLOWED:
        # ascii: the name is untrusted and may end up on a terminal
        raise Refused(f"wants to call {ascii(f'{module}.{name}')[1:-1][:120]}")
    return _ALLOWED[module, name]


def _call(function: Any, arguments: Any) -> Any:
    if not isinstance(function, _Callable) or not isinstance(arguments, tuple):
        raise ValueError("a call of something that is not a function")
    return function.run(*arguments)


def _storage(record: Any) -> Storage:
    """Decodes a persistent id: ("storage", type, key, device, numel[, view])."""
    if not isinstance(record, tuple) or len(record) not in (5, 6):
        raise Refused("contains a persistent id that is not a storage")
    tag, kind, key, _, total, *views = record
    # check the tag's type first: never call == of an untrusted value
    if not isinstance(tag, str) or tag != "storage":
        raise Refused("contains a persistent id that is not a storage")
    if not isinstance(kind, StorageType) or not isinstance(key, str):
        raise ValueError("a storage has no valid type or key")
    first, numel = 0, total
    if views and views[0] is not None:  # torch < 0.4
        _, first, numel = views[0]
    if not all(map(_is_size, (total, first, numel))) or first + numel > total:
        raise ValueError(f"storage {key[:80]!r} has an impossible size")
    return Storage(key, kind.dtype, total, first, numel)


def _put(target: Any, items: list[Any]) -> dict[str, Any]:
    """Adds alternating keys and values; weights have text keys, others are dropped."""
    if not isinstance(target, dict) or len(items) % 2:
        raise ValueError("items for something that is not a dictionary")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if isinstance(key, str):
            target[key] = value
    return target


def _extend(target: Any, items: list[Any]) -> list[Any]:
    if not isinstance(target, list):
        raise ValueError("items for something that is not a list")
    target.extend(items)
    return target


def _top(stack: list[Any], number: int) -> list[Any]:
    """Pops the last ``number`` values off the stack."""
    if len(stack) < number:
        raise ValueError("the stack is empty")
    values = stack[len(stack) - number :]
    del stack[len(stack) - number :]
    return values


# The opcodes, grouped by their arguments. Sets are read as lists, because hashing
# maliciously nested values can take for ever.
_LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"),
    *("FLOAT", "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
}
# these pop a number of values and push the function's result
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
    "BUILD": (2, lambda target, attributes: target),  # attributes are dropped
    "BINPERSID": (1, _storage),
}
# these take everything above the last mark
_MARKED: dict[str, Callable[[list[Any]], Any]] = {
    "LIST": list,
    "FROZENSET": list,
    "TUPLE": tuple,
    "DICT": lambda items: _put({}, items),
    "OBJ": lambda items: _call(items[0], tuple(items[1:])),
}
# these also take the value below the mark
_MARKED_ONTO = {"APPENDS": _extend, "ADDITEMS": _extend, "SETITEMS": _put}


def load(stream: BinaryIO | mmap.mmap) -> tuple[Any, dict[str, Storage]]:
    """Reads one pickle and leaves the stream at its end.

    Args:
      stream: an object with ``read``, ``readline`` and ``tell``.

    Returns:
      ``(value, storages)``: the value, in which tensors are ``Tensor`` records,
      dictionaries have only their text keys and sets are lists; and the storages that
      the pickle mentions, by key.

    Raises:
      Refused: the pickle asks for anything but tensors and plain data.
      Exception: (any kind) the pickle is malformed or ends early.
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
    raise ValueError("the pickle has no end")
