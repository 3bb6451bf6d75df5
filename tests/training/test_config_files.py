"""Config files: the project's own, and errors in users' files."""

from pathlib import Path

import pytest

from mldg_jax.common.errors import UserError
from mldg_jax.training.config_files import METHODS, PLAIN, read_config_file, value_of

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["debspoof", "debspoof_full", "xlsr"])
@pytest.mark.parametrize("method", METHODS)
def test_every_knob_can_be_set_on_every_config(name, method):
    overrides = ["model.lora.dropout=0.1", "episode.crop=first", "tests=[a:eval]"]
    config = read_config_file(f"{ROOT}/configs/{name}.py:{method}", overrides)
    assert config.method == method and config.model.lora.dropout == 0.1
    assert config.episode.crop == "first" and config.tests == ("a:eval",)
    assert (config.model.lora.rank == 0) == (method in ("frozen", "full"))
    orders = {"mldg2": "second", "mldg": "first", "control": "first"}
    assert config.objective.order == orders.get(method)
    assert method not in PLAIN or config.objective.name == method


def test_a_file_may_say_little(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "import ml_collections\n"
        "def get_config(arg=''):\n"
        "    return ml_collections.ConfigDict({'steps': 3, 'method': arg})\n"
    )
    assert read_config_file(f"{file}:erm").steps == 3
    assert read_config_file(f"{file}:erm").crop_samples == 64_600
    other = tmp_path / "other.py"
    other.write_text(file.read_text().replace("'steps'", "'stepz'"))
    with pytest.raises(UserError, match=r"other.py:erm: .*'stepz'.*did you mean steps"):
        read_config_file(f"{other}:erm")


def test_users_files_build_on_the_projects(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from mldg_jax.training import config_files\n"
        "def get_config(arg='mldg'):\n"
        f"    config = config_files.read('{ROOT}/configs/debspoof.py:' + arg)\n"
        "    config.optimizer.lr = 0.5\n"
        "    return config\n"
    )
    config = read_config_file(f"{file}:mldg,smoke", ["seed=4"])
    assert config.optimizer.lr == 0.5 and config.seed == 4 and config.steps == 4


def test_a_preset_has_a_name_and_a_file_of_that_name_is_pointed_out(
    tmp_path, monkeypatch, caplog
):
    preset = read_config_file("debspoof:erm,smoke")
    assert preset == read_config_file(f"{ROOT}/configs/debspoof.py:erm,smoke")
    monkeypatch.chdir(ROOT / "configs")  # the preset itself is no clash
    assert read_config_file("debspoof:erm,smoke") == preset and not caplog.records
    monkeypatch.chdir(tmp_path)
    (tmp_path / "debspoof.py").write_text(
        "import ml_collections\n"
        "def get_config(arg=''):\n"
        "    return ml_collections.ConfigDict({'steps': 3, 'method': arg})\n"
    )
    assert read_config_file("debspoof:erm,smoke") == preset
    (said,) = [record.getMessage() for record in caplog.records]
    assert "not the file debspoof.py" in said and "write ./debspoof.py" in said
    assert read_config_file("./debspoof.py:erm").steps == 3
    with pytest.raises(UserError, match=r"preset 'configs/xlsr\.py'; .*xlsr:mldg"):
        read_config_file("configs/xlsr.py:mldg")


def test_old_names_are_accepted_and_said(tmp_path, caplog):
    """A file of the last release that builds on this release's has both names."""
    file = tmp_path / "mine.py"
    file.write_text(
        "from mldg_jax.training import config_files\n"
        "def get_config(arg='mldg'):\n"
        f"    config = config_files.read('{ROOT}/configs/debspoof.py:' + arg)\n"
        "    config.samples = 3_000\n"
        "    return config\n"
    )
    config = read_config_file(f"{file}:erm", ["episode.without=[A01]"])
    assert config.crop_samples == 3_000 and config.episode.exclude == ("A01",)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2 and "samples is now called crop_samples" in said[0]
    assert "episode.without is now called episode.exclude" in said[1]


@pytest.mark.parametrize("first", [True, False])  # --set may come in any order
def test_another_kind_does_not_inherit_attributes(caplog, first):
    """The preset has head.dim 128 and frontend.layers 2."""
    caplog.set_level("INFO")
    overrides = ["model.head.kind=my_head:Mine", "model.head.width=8"]
    if not first:
        overrides.reverse()
    config = read_config_file("debspoof:mldg", overrides)
    assert config.model.head == {"kind": "my_head:Mine", "width": 8}
    assert config.model.frontend == {"kind": "whisper", "layers": 2}
    (said,) = [record.getMessage() for record in caplog.records]
    assert "dropped model.head.dim=128" in said and "layers" not in said


def test_attributes_that_are_set_or_of_the_same_kind_stay(caplog):
    caplog.set_level("INFO")
    both = ["model.frontend.layers=2", "model.frontend.kind=wav2vec2"]
    config = read_config_file("debspoof:mldg", both)
    assert config.model.frontend == {"kind": "wav2vec2", "layers": 2}
    config = read_config_file("debspoof:mldg", ["model.head.kind=pooling"])
    assert config.model.head == {"kind": "pooling", "dim": 128}
    assert not caplog.records


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("def get_config(:\n", "line 1: SyntaxError: invalid syntax"),
        ("import nope\n", "line 1: ModuleNotFoundError: No module named 'nope'"),
        ("\nx = 1 / 0\n", "line 2: ZeroDivisionError"),
        ("def get_config():\n    return [][1]\n", "line 2: IndexError"),
        ("def get_config():\n    raise ValueError('my words')\n", "my words"),
        ("raise SystemExit(3)\n", "line 1: SystemExit: 3"),
        ("x = 1\n", "AttributeError: .*get_config"),
        ("def get_config():\n    return None\n", "get_config returned NoneType"),
        ("def get_config():\n    return {}\n", "get_config returned dict"),
    ],
)
def test_what_a_config_file_raises_is_one_line(tmp_path, content, message):
    file = tmp_path / "mine.py"
    file.write_text(content)
    with pytest.raises(UserError, match=f"config {file}: ?.*{message}") as caught:
        read_config_file(str(file))
    assert str(caught.value).count(f"config {file}: ") == 1
    assert "ValueError" not in str(caught.value)  # its text alone is for users
    assert "\n" not in str(caught.value)


BOMB = "{a: &a [x, x], b: &b [*a, *a], c: &c [*b, *b], d: [*c, *c]}"


@pytest.mark.parametrize(
    "override",
    [
        "model.weights=!!python/name:os.system",
        "episode.exclude=[A05, A06",
        "steps={",
        f"steps={BOMB}",
        "steps=" + "[" * 3_000,
        "steps=2001-02-30",
        "steps",
        "=3",
    ],
)
def test_an_override_that_is_no_value_is_one_line(override):
    with pytest.raises(UserError, match=r"config .*(not a value|not of the form)") as e:
        read_config_file(f"{ROOT}/configs/debspoof.py:erm", [override])
    assert "\n" not in str(e.value) and len(str(e.value)) < 400


def test_a_config_file_must_be_python(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("steps: 3")
    with pytest.raises(UserError, match=r"mine.yaml is not a Python file \(.py\)"):
        read_config_file(str(file))


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


def test_the_config_is_named_once(capsys):
    with pytest.raises(UserError) as error:
        read_config_file("configs/debspoof.py:nope")
    assert str(error.value).count("config configs/debspoof.py:nope: ") == 1
