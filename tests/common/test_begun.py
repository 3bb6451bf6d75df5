"""What is left of a training that failed before its first step."""

import json

import pytest

from mldg_jax.common import run_folder
from mldg_jax.common.begun import has_begun
from mldg_jax.common.config import Config
from mldg_jax.common.errors import UserError


def failed(folder):
    """Makes what a training leaves that fails when the step is compiled."""
    run_folder.write_config(folder, Config(steps=3))
    (folder / "frozen.json").write_text('{"sha256": "0"}')
    (folder / "metrics.jsonl").touch()
    (folder / "checkpoints").mkdir()
    assert not has_begun(folder)
    return folder


def test_a_config_without_a_step_is_replaced(tmp_path, caplog):
    caplog.set_level("INFO")
    folder = failed(tmp_path / "run")
    before = (folder / "config.json").read_text()
    run_folder.write_config(folder, Config(steps=3))  # the same: nothing is written
    assert (folder / "config.json").read_text() == before and not caplog.records
    run_folder.write_config(folder, Config(steps=4))
    assert json.loads((folder / "config.json").read_text())["steps"] == 4
    assert not (folder / "frozen.json").exists()  # other weights may be loaded now
    (said,) = caplog.records
    assert "is replaced" in said.getMessage()


@pytest.mark.parametrize(
    "name",
    ["metrics.jsonl", "checkpoints/2/x", "trainable.safetensors", "scores.txt"],
)
def test_a_run_keeps_its_config(tmp_path, name):
    folder = failed(tmp_path / "run")
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("{}\n")
    assert has_begun(folder)
    with pytest.raises(UserError, match="another config"):
        run_folder.write_config(folder, Config(steps=4))
    assert json.loads((folder / "config.json").read_text())["steps"] == 3
    assert (folder / "frozen.json").exists()


def test_a_folder_that_is_not_there_has_not_begun(tmp_path):
    assert not has_begun(tmp_path / "run")
