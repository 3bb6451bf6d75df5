"""Tests of reading current and unusual torch files without torch, against torch."""

import io
import zipfile

import numpy as np
import pytest

from mldg_jax.models.pretrained import torch_files
from tests.models.pretrained import torch_bytes

pytestmark = pytest.mark.parity


def equal(arrays, expected):
    """Asserts that names, dtypes, shapes and values are equal."""
    assert arrays.keys() == expected.keys()
    for name, value in expected.items():
        assert (arrays[name].dtype, arrays[name].shape) == (value.dtype, value.shape)
        np.testing.assert_array_equal(arrays[name], value)


@pytest.mark.parametrize("legacy", [False, True])
def test_both_formats(tmp_path, legacy):
    from tests.parity import make_torch_files

    path = tmp_path / "pytorch_model.bin"
    make_torch_files.write(make_torch_files.state(), path, legacy=legacy)
    equal(torch_files.read(tmp_path), make_torch_files.arrays(make_torch_files.state()))
    checkpoint = make_torch_files.fairseq()
    make_torch_files.write(checkpoint, path, legacy=legacy)
    equal(torch_files.read(tmp_path), make_torch_files.arrays(checkpoint["model"]))


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_any_view_of_a_storage(tmp_path, legacy, seed):
    """Checks sliced, transposed and shared views in every dtype."""
    import torch

    from tests.parity import make_torch_files

    random = np.random.default_rng(seed)
    state = {}
    for dtype in make_torch_files.DTYPES:
        base = torch.tensor(random.normal(size=(6, 5, 4)) * 50).to(dtype)
        for i in range(4):
            start, stop = sorted(random.integers(0, 6, 2))
            view = base[start : stop + 1 : random.integers(1, 3), :, i:]
            state[f"{dtype}.{i}"] = view.permute(*random.permutation(3).tolist())
    path = tmp_path / "state.pt"
    make_torch_files.write(state, path, legacy=legacy)
    equal(torch_files.read(path), make_torch_files.arrays(state))


def test_every_optional_record(tmp_path):
    """Checks byte orders: little by default; "big" swaps the bytes of every element."""
    import torch

    state = {"a": torch.arange(6.0), "b": torch.arange(6.0).to(torch.bfloat16)}
    buffer = io.BytesIO()
    torch.save(state, buffer)
    for order in (b"little", b"big", None):
        path = tmp_path / f"{order}.pt"
        with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(path, "w") as new:
            for name in old.namelist():
                content = order if name.endswith("byteorder") else old.read(name)
                if content is not None:
                    new.writestr(name, content)
        expected = torch.load(path)
        assert torch.equal(expected["a"], state["a"]) == (order != b"big")
        equal(
            torch_files.read(path), {k: v.float().numpy() for k, v in expected.items()}
        )


def test_old_files_are_little_endian_whatever_they_say(tmp_path):
    import torch

    numbers = np.arange(6, dtype=np.float32).reshape(2, 3)
    store = torch_bytes.storage("0", 6, view=b"N")
    weight = torch_bytes.program(torch_bytes.mapping(w=torch_bytes.tensor(store)))
    path = tmp_path / "old.pt"
    for said in (True, False):
        records = {"0": numbers.tobytes()}
        path.write_bytes(torch_bytes.as_legacy(weight, records, little_endian=said))
        equal(torch_files.read(path), {"w": numbers})
        assert np.array_equal(torch.load(path)["w"].numpy(), numbers)


def test_views_of_torch_before_0_4(tmp_path):
    """Checks a storage that is part of another one."""
    import torch

    store = torch_bytes.storage("7", 6, view=torch_bytes.lit(("8", 2, 3)))
    program = torch_bytes.program(
        torch_bytes.mapping(w=torch_bytes.tensor(store, shape=[3], stride=[1]))
    )
    path = tmp_path / "old.pt"
    path.write_bytes(
        torch_bytes.as_legacy(program, {"7": np.arange(6, dtype="f4").tobytes()})
    )
    equal(torch_files.read(path), {"w": torch.load(path)["w"].numpy()})


def test_no_more_is_permitted_than_torch_permits():
    """Compares the permitted names with those of torch's own safe loader."""
    import torch

    from mldg_jax.models.pretrained import pickles

    allowed = torch._weights_only_unpickler._get_allowed_globals()
    names = {".".join(name) for name in pickles._ALLOWED}
    assert names - set(allowed) == {"argparse.Namespace"}  # inert here
