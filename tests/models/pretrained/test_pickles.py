"""Hostile checkpoints are refused by name, and nothing in them runs."""

import copyreg
import os
import pickle
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mldg_jax.common.errors import UserError
from mldg_jax.models.pretrained import torch_files
from tests.models.pretrained import torch_bytes

FORMS = {
    "bare": lambda program: program,
    "zip": lambda program: torch_bytes.as_zip(program, {"0": bytes(24)}),
    "legacy": lambda program: torch_bytes.as_legacy(program, {"0": bytes(24)}),
}
TENSOR = torch_bytes.tensor(torch_bytes.storage("0", 6))
ORDERED = torch_bytes.name("collections", "OrderedDict")
SIZE = torch_bytes.name("torch", "Size")


@pytest.fixture(params=FORMS)
def refused(request, tmp_path):
    """Reads an attack; returns the message after checking that nothing ran."""

    def read(attack):
        marker = tmp_path / "marker"
        path = tmp_path / "pytorch_model.bin"
        content = attack(f"touch {marker}") if callable(attack) else attack
        path.write_bytes(FORMS[request.param](content))
        with pytest.raises(UserError) as info:
            torch_files.read(path)
        assert not marker.exists()
        return str(info.value)

    return read


class Attack:
    """An object that pickles to a call of a function."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize("protocol", range(6))
def test_pickles_own_attack(refused, protocol):
    def attack(command):
        return pickle.dumps({"w": Attack(os.system, command)}, protocol)

    message = refused(attack)
    assert f"wants to call {os.system.__module__}.system" in message
    assert "nothing was executed" in message


# In what way, and what the message must say.
NAMES = {
    "GLOBAL": (
        lambda c: torch_bytes.call(
            torch_bytes.name("os", "system"), torch_bytes.lit(c)
        ),
        "os.system",
    ),
    "STACK_GLOBAL": (
        lambda c: torch_bytes.call(
            torch_bytes.stack_name("os", "system"), torch_bytes.lit(c)
        ),
        "os.system",
    ),
    "INST": (lambda c: b"(" + torch_bytes.lit(c) + b"ios\nsystem\n", "os.system"),
    "OBJ": (
        lambda c: b"(" + torch_bytes.name("os", "system") + torch_bytes.lit(c) + b"o",
        "os.system",
    ),
    "NEWOBJ": (
        lambda c: (
            torch_bytes.name("subprocess", "Popen") + torch_bytes.lit((c,)) + b"\x81"
        ),
        "subprocess.Popen",
    ),
    "eval": (
        lambda c: torch_bytes.call(
            torch_bytes.name("builtins", "eval"),
            torch_bytes.lit(f"__import__('os').system({c!r})"),
        ),
        "builtins.eval",
    ),
    "eval of Python 2": (
        lambda c: torch_bytes.call(
            torch_bytes.name("__builtin__", "eval"), torch_bytes.lit("1")
        ),
        "__builtin__.eval",
    ),
    "getattr": (
        lambda c: torch_bytes.call(
            torch_bytes.name("builtins", "getattr"), ORDERED, torch_bytes.lit("clear")
        ),
        "builtins.getattr",
    ),
    "dotted": (
        lambda c: torch_bytes.stack_name(
            "collections", "OrderedDict.__init__.__globals__"
        ),
        "collections.OrderedDict.__init__.__globals__",
    ),
    "dotted GLOBAL": (
        lambda c: torch_bytes.name("torch._utils", "_rebuild_tensor_v2.__globals__"),
        "torch._utils._rebuild_tensor_v2.__globals__",
    ),
    "dotted module": (
        lambda c: torch_bytes.stack_name(
            "torch._utils._rebuild_tensor_v2", "__globals__"
        ),
        "torch._utils._rebuild_tensor_v2.__globals__",
    ),
    "nobody": (
        lambda c: torch_bytes.stack_name("", "OrderedDict"),
        "call .OrderedDict",
    ),
    "copyreg": (
        lambda c: torch_bytes.call(torch_bytes.name("copyreg", "__newobj__"), ORDERED),
        "copyreg.__newobj__",
    ),
    "copy_reg": (
        lambda c: torch_bytes.name("copy_reg", "_reconstructor"),
        "copy_reg._reconstructor",
    ),
    "torch": (
        lambda c: torch_bytes.call(
            torch_bytes.name("torch", "load"), torch_bytes.lit(c)
        ),
        "torch.load",
    ),
    "fairseq": (
        lambda c: torch_bytes.name("fairseq.data.dictionary", "Dictionary"),
        "fairseq.data.dictionary.Dictionary",
    ),
    "terminal": (
        lambda c: torch_bytes.stack_name("os", "\x1b[2J\nok"),
        r"os.\x1b[2J\nok",
    ),
    "persistent text": (lambda c: b"Pos.system\n", "PERSID"),
    "persistent name": (
        lambda c: (
            b"(" + torch_bytes.lit("module") + ORDERED + torch_bytes.lit(c) * 3 + b"tQ"
        ),
        "persistent id",
    ),
    "persistent list": (
        lambda c: torch_bytes.lit(["storage", 1, 2, 3, 4]) + b"Q",
        "persistent",
    ),
    "persistent number": (lambda c: torch_bytes.lit(7) + b"Q", "persistent id"),
    "extension": (lambda c: b"\x82\xf0", "EXT1"),
    "buffer": (lambda c: b"\x97\x98", "NEXT_BUFFER"),
}


@pytest.mark.parametrize("way", NAMES)
def test_everything_else_is_refused_by_name(refused, way):
    opcodes, named = NAMES[way]
    message = refused(
        lambda command: torch_bytes.program(torch_bytes.mapping(w=opcodes(command)))
    )
    assert named in message


def test_extension_registry_is_never_asked(refused):
    """Not even when this process has an extension, and has used it (pickle's cache)."""
    copyreg.add_extension("os", "getpid", 0xF0)
    try:
        program = torch_bytes.program(b"\x82\xf0)R")
        assert pickle.loads(program) == os.getpid()
        assert "EXT1" in refused(program)
    finally:
        copyreg.remove_extension("os", "getpid", 0xF0)
        copyreg.clear_extension_cache()


def test_nothing_is_imported(refused, tmp_path, monkeypatch):
    (tmp_path / "trap_on_import.py").write_text("raise SystemExit")
    monkeypatch.syspath_prepend(tmp_path)
    message = refused(torch_bytes.program(torch_bytes.name("trap_on_import", "x")))
    assert "trap_on_import.x" in message
    assert "trap_on_import" not in sys.modules


# What the permitted names are given, or what is done to what they return.
MISUSE = {
    "size of texts": torch_bytes.call(SIZE, torch_bytes.lit(["touch", "x"])),
    "dictionary of a text": torch_bytes.call(ORDERED, torch_bytes.lit("touch")),
    "too many arguments": torch_bytes.call(
        SIZE, torch_bytes.lit([1]), torch_bytes.lit([1])
    ),
    "call of a text": torch_bytes.call(
        torch_bytes.lit("os.system"), torch_bytes.lit("touch")
    ),
    "call of a storage class": torch_bytes.call(
        torch_bytes.name("torch", "FloatStorage"), torch_bytes.lit(10**12)
    ),
    "call of a tensor": torch_bytes.call(TENSOR, torch_bytes.lit("touch")),
    "call without a tuple": ORDERED + torch_bytes.lit([1]) + b"R",
    "tensor of a text": torch_bytes.tensor(torch_bytes.lit("0")),
    "storage of a function": (
        b"("
        + torch_bytes.lit("storage")
        + ORDERED
        + torch_bytes.lit("0")
        + torch_bytes.lit("cpu")
        + b"K\x06tQ"
    ),
    "items for a tensor": TENSOR
    + b"("
    + torch_bytes.lit("shape")
    + torch_bytes.lit(1)
    + b"u",
    "items for a name": ORDERED + torch_bytes.lit("run") + torch_bytes.lit(1) + b"s",
    "append to a tuple": b")" + torch_bytes.lit(1) + b"a",
    "unknown memo": b"h\x07",
    "no mark": b"t",
    "more than there is": b"\x87",
}


@pytest.mark.parametrize("what", MISUSE)
def test_misuse_of_what_is_permitted(refused, what):
    message = refused(torch_bytes.program(torch_bytes.mapping(w=MISUSE[what])))
    assert "truncated, damaged or not a checkpoint" in message


INERT = {
    "attributes": TENSOR + torch_bytes.lit({"shape": "evil", "__class__": 1}) + b"b",
    "slots": torch_bytes.call(ORDERED)
    + torch_bytes.lit((None, {"__reduce__": 1}))
    + b"b0"
    + TENSOR,
    "namespace": (
        torch_bytes.call(
            torch_bytes.name("argparse", "Namespace"), torch_bytes.lit("os.system")
        )
        + torch_bytes.lit({"__class__": "evil", "__setstate__": "evil"})
        + b"b0"
        + TENSOR
    ),
    "Python 2 mapping": torch_bytes.call(ORDERED, torch_bytes.lit([["a", 1]]))
    + b"0"
    + TENSOR,
    "keys": b"}("
    + torch_bytes.lit((1, 2))
    + torch_bytes.lit(1)
    + torch_bytes.lit(3)
    + b"Nu0"
    + TENSOR,
    "itself": b"]q\x05h\x05a0" + TENSOR,
    "parameter": torch_bytes.call(
        torch_bytes.name("torch._utils", "_rebuild_parameter"), TENSOR, b"\x88"
    ),
}


@pytest.mark.parametrize("what", INERT)
def test_attributes_are_dropped(tmp_path, what):
    """State that would change a real object is skipped."""
    path = tmp_path / "file.pt"
    program = torch_bytes.program(torch_bytes.mapping(w=INERT[what]))
    path.write_bytes(torch_bytes.as_zip(program, {"0": bytes(24)}))
    state = torch_files.read(path)
    np.testing.assert_array_equal(state["w"], np.zeros((2, 3), np.float32))


def test_nests_that_would_take_for_ever(tmp_path):
    """2^100 tuples in 300 bytes, as a key and in a set: hashing would never end."""
    nest = b")" + b"q\x01h\x01\x86" * 100
    program = torch_bytes.program(
        b"}" + nest + b"Ns0\x8f(" + nest + b"\x900" + torch_bytes.mapping(w=TENSOR)
    )
    path = tmp_path / "file.pt"
    path.write_bytes(torch_bytes.as_zip(program, {"0": bytes(24)}))
    start = time.monotonic()
    assert torch_files.read(path).keys() == {"w"}
    assert time.monotonic() - start < 5


@settings(max_examples=500, deadline=None, derandomize=True)
@given(
    st.lists(
        st.sampled_from(
            [
                *(
                    bytes([code])
                    for code in b"()]}0123NtRbusaeQ\x81\x85\x86\x87\x93\x94"
                ),
                *(
                    torch_bytes.lit(value)
                    for value in ("storage", "w", 0, 7, -1, 2**40, None)
                ),
                *(
                    b"q\x00",
                    b"h\x00",
                    TENSOR,
                    ORDERED,
                    SIZE,
                    torch_bytes.storage("0", 6),
                ),
                *(
                    torch_bytes.name("os", "system"),
                    torch_bytes.name("argparse", "Namespace"),
                ),
            ]
        ),
        max_size=30,
    )
)
def test_any_program_is_read_or_refused(tmp_path_factory, opcodes):
    path = tmp_path_factory.getbasetemp() / "program.pt"
    program = torch_bytes.program(*opcodes)
    path.write_bytes(torch_bytes.as_zip(program, {"0": bytes(24)}))
    try:
        state = torch_files.read(path)
    except UserError:
        return
    assert all(value.shape == (2, 3) for value in state.values())
