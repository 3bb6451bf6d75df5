"""Hostile checkpoints: refused, by name, and nothing runs."""

import copyreg
import os
import pickle
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mldg_jax.errors import UserError
from mldg_jax.pretrained import files
from tests.pretrained import torch_bytes as tb

FORMS = {
    "bare": lambda program: program,
    "zip": lambda program: tb.as_zip(program, {"0": bytes(24)}),
    "legacy": lambda program: tb.as_legacy(program, {"0": bytes(24)}),
}
TENSOR = tb.tensor(tb.storage("0", 6))
ORDERED = tb.name("collections", "OrderedDict")
SIZE = tb.name("torch", "Size")


@pytest.fixture(params=FORMS)
def refused(request, tmp_path):
    """Reads an attack; returns the message after checking that nothing ran."""

    def read(attack):
        marker = tmp_path / "marker"
        path = tmp_path / "pytorch_model.bin"
        content = attack(f"touch {marker}") if callable(attack) else attack
        path.write_bytes(FORMS[request.param](content))
        with pytest.raises(UserError) as info:
            files.read(path)
        assert not marker.exists()
        return str(info.value)

    return read


class Attack:
    """What pickle makes of an object that wants to be a command."""

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
    "GLOBAL": (lambda c: tb.call(tb.name("os", "system"), tb.lit(c)), "os.system"),
    "STACK_GLOBAL": (
        lambda c: tb.call(tb.stack_name("os", "system"), tb.lit(c)),
        "os.system",
    ),
    "INST": (lambda c: b"(" + tb.lit(c) + b"ios\nsystem\n", "os.system"),
    "OBJ": (
        lambda c: b"(" + tb.name("os", "system") + tb.lit(c) + b"o",
        "os.system",
    ),
    "NEWOBJ": (
        lambda c: tb.name("subprocess", "Popen") + tb.lit((c,)) + b"\x81",
        "subprocess.Popen",
    ),
    "eval": (
        lambda c: tb.call(
            tb.name("builtins", "eval"), tb.lit(f"__import__('os').system({c!r})")
        ),
        "builtins.eval",
    ),
    "eval of Python 2": (
        lambda c: tb.call(tb.name("__builtin__", "eval"), tb.lit("1")),
        "__builtin__.eval",
    ),
    "getattr": (
        lambda c: tb.call(tb.name("builtins", "getattr"), ORDERED, tb.lit("clear")),
        "builtins.getattr",
    ),
    "dotted": (
        lambda c: tb.stack_name("collections", "OrderedDict.__init__.__globals__"),
        "collections.OrderedDict.__init__.__globals__",
    ),
    "dotted GLOBAL": (
        lambda c: tb.name("torch._utils", "_rebuild_tensor_v2.__globals__"),
        "torch._utils._rebuild_tensor_v2.__globals__",
    ),
    "dotted module": (
        lambda c: tb.stack_name("torch._utils._rebuild_tensor_v2", "__globals__"),
        "torch._utils._rebuild_tensor_v2.__globals__",
    ),
    "nobody": (lambda c: tb.stack_name("", "OrderedDict"), "call .OrderedDict"),
    "copyreg": (
        lambda c: tb.call(tb.name("copyreg", "__newobj__"), ORDERED),
        "copyreg.__newobj__",
    ),
    "copy_reg": (
        lambda c: tb.name("copy_reg", "_reconstructor"),
        "copy_reg._reconstructor",
    ),
    "torch": (lambda c: tb.call(tb.name("torch", "load"), tb.lit(c)), "torch.load"),
    "fairseq": (
        lambda c: tb.name("fairseq.data.dictionary", "Dictionary"),
        "fairseq.data.dictionary.Dictionary",
    ),
    "terminal": (lambda c: tb.stack_name("os", "\x1b[2J\nok"), r"os.\x1b[2J\nok"),
    "persistent text": (lambda c: b"Pos.system\n", "PERSID"),
    "persistent name": (
        lambda c: b"(" + tb.lit("module") + ORDERED + tb.lit(c) * 3 + b"tQ",
        "persistent id",
    ),
    "persistent list": (lambda c: tb.lit(["storage", 1, 2, 3, 4]) + b"Q", "persistent"),
    "persistent number": (lambda c: tb.lit(7) + b"Q", "persistent id"),
    "extension": (lambda c: b"\x82\xf0", "EXT1"),
    "buffer": (lambda c: b"\x97\x98", "NEXT_BUFFER"),
}


@pytest.mark.parametrize("way", NAMES)
def test_everything_else_is_refused_by_name(refused, way):
    opcodes, named = NAMES[way]
    message = refused(lambda command: tb.program(tb.mapping(w=opcodes(command))))
    assert named in message


def test_extension_registry_is_never_asked(refused):
    """Not even when this process has an extension, and has used it (pickle's cache)."""
    copyreg.add_extension("os", "getpid", 0xF0)
    try:
        program = tb.program(b"\x82\xf0)R")
        assert pickle.loads(program) == os.getpid()
        assert "EXT1" in refused(program)
    finally:
        copyreg.remove_extension("os", "getpid", 0xF0)
        copyreg.clear_extension_cache()


def test_nothing_is_imported(refused, tmp_path, monkeypatch):
    (tmp_path / "trap_on_import.py").write_text("raise SystemExit")
    monkeypatch.syspath_prepend(tmp_path)
    message = refused(tb.program(tb.name("trap_on_import", "x")))
    assert "trap_on_import.x" in message
    assert "trap_on_import" not in sys.modules


# What the permitted names are given, or what is done to what they return.
MISUSE = {
    "size of texts": tb.call(SIZE, tb.lit(["touch", "x"])),
    "dictionary of a text": tb.call(ORDERED, tb.lit("touch")),
    "too many arguments": tb.call(SIZE, tb.lit([1]), tb.lit([1])),
    "call of a text": tb.call(tb.lit("os.system"), tb.lit("touch")),
    "call of a storage class": tb.call(
        tb.name("torch", "FloatStorage"), tb.lit(10**12)
    ),
    "call of a tensor": tb.call(TENSOR, tb.lit("touch")),
    "call without a tuple": ORDERED + tb.lit([1]) + b"R",
    "tensor of a text": tb.tensor(tb.lit("0")),
    "storage of a function": (
        b"(" + tb.lit("storage") + ORDERED + tb.lit("0") + tb.lit("cpu") + b"K\x06tQ"
    ),
    "items for a tensor": TENSOR + b"(" + tb.lit("shape") + tb.lit(1) + b"u",
    "items for a name": ORDERED + tb.lit("run") + tb.lit(1) + b"s",
    "append to a tuple": b")" + tb.lit(1) + b"a",
    "unknown memo": b"h\x07",
    "no mark": b"t",
    "more than there is": b"\x87",
}


@pytest.mark.parametrize("what", MISUSE)
def test_misuse_of_what_is_permitted(refused, what):
    message = refused(tb.program(tb.mapping(w=MISUSE[what])))
    assert "cut short, damaged or no checkpoint" in message


INERT = {
    "attributes": TENSOR + tb.lit({"shape": "evil", "__class__": 1}) + b"b",
    "slots": tb.call(ORDERED) + tb.lit((None, {"__reduce__": 1})) + b"b0" + TENSOR,
    "namespace": (
        tb.call(tb.name("argparse", "Namespace"), tb.lit("os.system"))
        + tb.lit({"__class__": "evil", "__setstate__": "evil"})
        + b"b0"
        + TENSOR
    ),
    "Python 2 mapping": tb.call(ORDERED, tb.lit([["a", 1]])) + b"0" + TENSOR,
    "keys": b"}(" + tb.lit((1, 2)) + tb.lit(1) + tb.lit(3) + b"Nu0" + TENSOR,
    "itself": b"]q\x05h\x05a0" + TENSOR,
    "parameter": tb.call(
        tb.name("torch._utils", "_rebuild_parameter"), TENSOR, b"\x88"
    ),
}


@pytest.mark.parametrize("what", INERT)
def test_attributes_are_dropped(tmp_path, what):
    """State that would change a real object is read over."""
    path = tmp_path / "file.pt"
    program = tb.program(tb.mapping(w=INERT[what]))
    path.write_bytes(tb.as_zip(program, {"0": bytes(24)}))
    state = files.read(path)
    np.testing.assert_array_equal(state["w"], np.zeros((2, 3), np.float32))


def test_nests_that_would_take_for_ever(tmp_path):
    """2^100 tuples in 300 bytes as a key and in a set: to hash them never ends."""
    nest = b")" + b"q\x01h\x01\x86" * 100
    program = tb.program(
        b"}" + nest + b"Ns0\x8f(" + nest + b"\x900" + tb.mapping(w=TENSOR)
    )
    path = tmp_path / "file.pt"
    path.write_bytes(tb.as_zip(program, {"0": bytes(24)}))
    start = time.monotonic()
    assert files.read(path).keys() == {"w"}
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
                *(tb.lit(value) for value in ("storage", "w", 0, 7, -1, 2**40, None)),
                *(b"q\x00", b"h\x00", TENSOR, ORDERED, SIZE, tb.storage("0", 6)),
                *(tb.name("os", "system"), tb.name("argparse", "Namespace")),
            ]
        ),
        max_size=30,
    )
)
def test_any_program_is_read_or_refused(tmp_path_factory, opcodes):
    path = tmp_path_factory.getbasetemp() / "program.pt"
    program = tb.program(*opcodes)
    path.write_bytes(tb.as_zip(program, {"0": bytes(24)}))
    try:
        state = files.read(path)
    except UserError:
        return
    assert all(value.shape == (2, 3) for value in state.values())
