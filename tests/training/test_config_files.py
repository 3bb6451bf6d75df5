"""Config files: the project's own, and what is wrong with others."""

from pathlib import Path

import pytest

from mldg_jax.common.errors import UserError
from mldg_jax.training.config_files import ARMS, read_config_file, value_of

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["debspoof", "debspoof_full", "xlsr"])
@pytest.mark.parametrize("arm", ARMS)
def test_every_knob_can_be_set_on_every_config(name, arm):
    overrides = ["model.lora.dropout=0.1", "episode.crop=first", "tests=[a:eval]"]
    config = read_config_file(f"{ROOT}/configs/{name}.py:{arm}", overrides)
    assert config.arm == arm and config.model.lora.dropout == 0.1
    assert config.episode.crop == "first" and config.tests == ("a:eval",)
    assert (config.model.lora.rank == 0) == (arm in ("frozen", "full"))
    assert config.objective.order == (
        None
        if arm in ("frozen", "erm", "full")
        else "second"
        if arm == "mldg2"
        else "first"
    )


def test_a_file_may_say_little(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "import ml_collections\n"
        "def get_config(arg=''):\n"
        "    return ml_collections.ConfigDict({'steps': 3, 'arm': arg})\n"
    )
    assert read_config_file(f"{file}:erm").steps == 3
    assert read_config_file(f"{file}:erm").samples == 64_600
    other = tmp_path / "other.py"
    other.write_text(file.read_text().replace("'steps'", "'stepz'"))
    with pytest.raises(UserError, match=r"other.py:erm: .*'stepz'.*did you mean steps"):
        read_config_file(f"{other}:erm")


def test_users_files_build_on_the_projects(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from mldg_jax import configs\n"
        "def get_config(arg='mldg'):\n"
        f"    config = configs.read('{ROOT}/configs/debspoof.py:' + arg)\n"
        "    config.optimizer.lr = 0.5\n"
        "    return config\n"
    )
    config = read_config_file(f"{file}:mldg,smoke", ["seed=4"])
    assert config.optimizer.lr == 0.5 and config.seed == 4 and config.steps == 4


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("[5e-4, 1e-3]", (5e-4, 1e-3)),
        ("[A01, A02]", ("A01", "A02")),
        ("", ""),
        ("true", True),
        ("7", 7),
        ("null", None),
    ],
)
def test_what_an_override_stands_for(text, value):
    assert value_of(text) == value and type(value_of(text)) is type(value)
