"""Checkpoints read without torch, against arrays that torch froze (tests/parity)."""

import json
import struct
import zipfile

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save, save_file

from mldg_jax.common.errors import UserError
from mldg_jax.models.pretrained import torch_files
from tests.models.pretrained import torch_bytes
from tests.models.pretrained.trees import GOLDEN

SIX = np.arange(6, dtype=np.float32).reshape(2, 3)
WEIGHT = torch_bytes.program(
    torch_bytes.mapping(w=torch_bytes.tensor(torch_bytes.storage("0", 6)))
)


@pytest.fixture
def put(tmp_path):
    """Writes bytes to a new file."""

    def write(content: bytes, name: str = "file.pt"):
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


def equal(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape)
        np.testing.assert_array_equal(found[name], value)


@pytest.mark.parametrize("form", ["zip", "legacy"])
@pytest.mark.parametrize("fairseq", [False, True])
def test_what_torch_wrote(form, fairseq):
    """Every dtype and stride; fairseq's Namespace and optimiser are skipped."""
    golden = np.load(GOLDEN / "torch" / "expected.npz")
    path = GOLDEN / "torch" / f"{'fairseq_' if fairseq else ''}{form}.pt"
    prefix = "fairseq/"
    expected = {
        name.removeprefix(prefix): golden[name]
        for name in golden.files
        if name.startswith(prefix) == fairseq
    }
    assert len(expected) == (2 if fairseq else 19)
    equal(torch_files.read(path), expected)


GIGABYTES = bytes(2**27)  # of zeros, which deflate to a thousandth


@pytest.mark.parametrize(
    ("pickled", "records", "extra"),
    [
        # a storage of six floats
        (WEIGHT, {"0": GIGABYTES}, {}),
        (WEIGHT, {"0": SIX.tobytes()}, {"byteorder": GIGABYTES}),
        (WEIGHT + GIGABYTES, {"0": SIX.tobytes()}, {}),
        # a small tensor at the end of a huge storage
        (
            torch_bytes.program(
                torch_bytes.mapping(
                    w=torch_bytes.tensor(
                        torch_bytes.storage("0", 2**27, "CharStorage"),
                        offset=2**27 - 6,
                    )
                )
            ),
            {"0": GIGABYTES},
            {},
        ),
    ],
)
def test_compressed_entries_are_refused_before_they_are_unpacked(
    put, pickled, records, extra
):
    path = put(
        torch_bytes.as_zip(
            pickled, records, extra=extra, compression=zipfile.ZIP_DEFLATED
        )
    )
    assert path.stat().st_size < 2**20
    with pytest.raises(UserError, match=r"unpacks to 134,217,\d+ bytes"):
        torch_files.read(path)


def test_a_misshapen_tensor_is_refused_before_it_is_read(put):
    """``select`` sees names and shapes; only what it returns is read."""
    huge = torch_bytes.tensor(
        torch_bytes.storage("0", 2**50), shape=(2**50,), stride=(1,)
    )
    small = torch_bytes.tensor(torch_bytes.storage("1", 6))
    pickled = torch_bytes.program(torch_bytes.mapping(huge=huge, small=small))
    path = put(torch_bytes.as_zip(pickled, {"1": SIX.tobytes()}))

    def select(contents):
        assert contents.shapes == {"huge": (2**50,), "small": (2, 3)}
        return ["small"]

    equal(torch_files.read(path, select), {"small": SIX})


def test_state_dict_below_its_name():
    equal(
        torch_files.read(GOLDEN / "torch" / "lightning.pt"),
        {"w": np.ones(2, np.float32)},
    )


def test_arrays_of_a_zip_are_views_of_the_file():
    state = torch_files.read(GOLDEN / "torch" / "zip.pt")
    assert not state["float32"].flags.owndata
    assert not state["float32"].flags.writeable
    assert np.shares_memory(state["shared"], state["shared.rows"])


def test_hand_made_files_are_what_torch_writes(put):
    """The builder of the attacks below builds readable files when it does not lie."""
    records = {"0": SIX.tobytes()}
    equal(torch_files.read(put(torch_bytes.as_zip(WEIGHT, records))), {"w": SIX})
    equal(torch_files.read(put(torch_bytes.as_legacy(WEIGHT, records))), {"w": SIX})
    deflated = torch_bytes.as_zip(WEIGHT, records, compression=zipfile.ZIP_DEFLATED)
    equal(torch_files.read(put(deflated)), {"w": SIX})


def test_storages_of_any_name_and_byte_order(put):
    program = torch_bytes.program(
        torch_bytes.mapping(
            w=torch_bytes.tensor(torch_bytes.storage("a-b", 6)),
            half=torch_bytes.tensor(torch_bytes.storage("c", 6, "BFloat16Storage")),
            raw=torch_bytes.tensor(torch_bytes.storage("d", 6, "ByteStorage")),
        )
    )
    brain = SIX.view(np.uint32) >> 16
    records = {
        "a-b": SIX.astype(">f4").tobytes(),
        "c": brain.astype(">u2").tobytes(),
        "d": bytes(range(6)),
    }
    state = torch_files.read(
        put(torch_bytes.as_zip(program, records, extra={"byteorder": b"big"}))
    )
    equal(state, {"w": SIX, "half": SIX, "raw": SIX.astype(np.uint8)})


def test_views_of_torch_before_0_4(put):
    """A storage can be a part of another one."""
    store = torch_bytes.storage("7", 6, view=torch_bytes.lit(("8", 2, 3)))
    program = torch_bytes.program(
        torch_bytes.mapping(w=torch_bytes.tensor(store, shape=[3], stride=[1]))
    )
    path = put(torch_bytes.as_legacy(program, {"7": SIX.tobytes()}))
    equal(torch_files.read(path), {"w": SIX.ravel()[2:5]})


def test_safetensors(put, tmp_path):
    brain = SIX.astype(ml_dtypes.bfloat16)
    tensors = {"a": SIX, "b": brain, "c": np.array(2, np.float32), "d": SIX[:0]}
    put(save(tensors), "model.safetensors")
    equal(torch_files.read(tmp_path), {**tensors, "b": SIX})


@pytest.mark.parametrize("start", [b"<", b"P"])
def test_safetensors_whose_length_looks_like_another_format(put, start):
    """The file begins with the length of its header, any number."""
    content = save({"a": SIX})
    length = struct.unpack("<Q", content[:8])[0]
    padded = length + (start[0] - length) % 256
    header = content[8 : 8 + length].ljust(padded)
    path = put(struct.pack("<Q", padded) + header + content[8 + length :], "a.bin")
    assert path.read_bytes().startswith(start)
    equal(torch_files.read(path), {"a": SIX})


def test_shards(put, tmp_path):
    save_file({"a": SIX}, tmp_path / "one.safetensors")
    save_file({"b": SIX + 1}, tmp_path / "two.safetensors")
    index = {"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}
    put(json.dumps(index).encode(), "model.safetensors.index.json")
    equal(torch_files.read(tmp_path), {"a": SIX, "b": SIX + 1})
    (tmp_path / "two.safetensors").unlink()
    with pytest.raises(UserError, match=r"two\.safetensors does not exist"):
        torch_files.read(tmp_path)


NOT_WEIGHTS = {
    "empty": (b"", "is empty; download it again"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "page": (b"\n<!DOCTYPE html><html>", "web page, not the weights"),
    "error": (b'{"error": "Unauthorized"}', "not a checkpoint"),
    "text": (b"Entry not found", "not a checkpoint"),
    "archive": (
        torch_bytes.as_zip(b"", {}).replace(b"data.pkl", b"data.txt"),
        "0 data.pkl",
    ),
    "script": (
        torch_bytes.as_zip(WEIGHT, {}, extra={"constants.pkl": b""}),
        "TorchScript",
    ),
    "pickle": (torch_bytes.program(torch_bytes.lit({"a": 1})), "not one of torch's"),
    "bare": (
        torch_bytes.as_zip(
            torch_bytes.program(torch_bytes.tensor(torch_bytes.storage("0", 6))), {}
        ),
        "found: Tensor",
    ),
    "numbers": (
        torch_bytes.as_zip(torch_bytes.program(torch_bytes.lit({"lr": 0.1})), {}),
        "names lr",
    ),
}


@pytest.mark.parametrize("what", NOT_WEIGHTS)
def test_not_a_checkpoint(put, what):
    content, message = NOT_WEIGHTS[what]
    path = put(content, "pytorch_model.bin")
    with pytest.raises(UserError, match=message) as info:
        torch_files.read(path)
    assert str(path) in str(info.value)


def test_nothing_there(tmp_path):
    with pytest.raises(UserError, match=r"none does not exist; give a checkpoint"):
        torch_files.read(tmp_path / "none")
    with pytest.raises(UserError, match=r"contains none of model\.safetensors, "):
        torch_files.read(tmp_path)


LIES = {
    "storage": {"store": torch_bytes.storage("0", 7)},
    "type": {"store": torch_bytes.storage("0", 6, "DoubleStorage")},
    "negative storage": {"store": torch_bytes.storage("0", -6)},
    "no record": {"store": torch_bytes.storage("../0", 6)},
    "shape": {"shape": (3, 3)},
    "offset": {"offset": 1},
    "negative offset": {"offset": -1},
    "stride": {"stride": (4, 1)},
    "negative stride": {"stride": (-3, 1)},
    "huge": {"shape": (2**62, 2**62)},
    "huge and empty": {"shape": (0, 2**62, 2**62), "stride": (1, 1, 1)},
    "dimensions": {"stride": (3,)},
    "logical": {"offset": False},
    "fraction": {"shape": (2.0, 3)},
    "text": {"shape": "23"},
    "endless": {"shape": (10**5000,), "stride": (1,)},
}


@pytest.mark.parametrize("form", [torch_bytes.as_zip, torch_bytes.as_legacy])
@pytest.mark.parametrize("lie", LIES)
def test_sizes_are_checked_against_the_bytes(put, lie, form):
    arguments = {"store": torch_bytes.storage("0", 6), **LIES[lie]}
    program = torch_bytes.program(
        torch_bytes.mapping(w=torch_bytes.tensor(arguments.pop("store"), **arguments))
    )
    with pytest.raises(UserError, match="truncated, damaged or not a checkpoint"):
        torch_files.read(put(form(program, {"0": SIX.tobytes()})))


@pytest.mark.parametrize("file", ["zip.pt", "legacy.pt", "model.safetensors"])
def test_cut_anywhere(put, file):
    if file.endswith("safetensors"):
        content = save({"a": SIX, "b": SIX[:1]}, {"format": "pt"})
    else:
        content = (GOLDEN / "torch" / file).read_bytes()
    for length in {*range(0, len(content), 3), *range(len(content) - 99, len(content))}:
        with pytest.raises(UserError, match=r"truncated|is empty"):
            torch_files.read(put(content[:length], file))


@pytest.mark.parametrize("file", ["fairseq_zip.pt", "fairseq_legacy.pt"])
@settings(max_examples=300, deadline=None, derandomize=True)
@given(data=st.data())
def test_damaged_anywhere(file, tmp_path_factory, data):
    """The file is read or refused; no other exception is raised."""
    content = bytearray((GOLDEN / "torch" / file).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(
            st.integers(0, 255)
        )
    path = tmp_path_factory.getbasetemp() / file
    path.write_bytes(content)
    try:
        state = torch_files.read(path)
    except UserError as error:
        assert len(str(error)) < 1000
    else:
        assert all(isinstance(value, np.ndarray) for value in state.values())
