"""docs/extend.md: its files and commands, run as a reader would run them."""

import ast
import re
import runpy
import shlex
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import soundfile

import mldg_jax
from mldg_jax import UserError, cli
from mldg_jax.common import own_code, run_folder
from mldg_jax.models.detector import HEADS, create_detector
from tests import signals
from tests.data import small_debspoof

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "extend.md").read_text(encoding="utf-8")
SPEAKERS = ("anna", "ben", "cleo", "dora")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the page's files, a corpus and recordings."""
    path = tmp_path_factory.mktemp("extend")
    for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL):
        name = re.match(r"# (my_\w+\.py|try_\w+\.py)\n", block)
        assert name, f"a block without a file name: {block[:60]}"
        (path / name[1]).write_text(block)
    small_debspoof.make(path / "data", "quick")
    speech = np.concatenate(signals.speech_like(12_000))
    soundfile.write(path / "your.wav", speech, 16_000)
    rng = np.random.default_rng(0)
    for kind in ("human", "vocoder_a", "vocoder_b", "vocoder_c"):
        for speaker in SPEAKERS:
            for i in range(3):
                file = path / "recordings" / kind / f"{speaker}_{i}.wav"
                file.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(file, 0.1 * rng.normal(size=8_000), 16_000)
    return path


@pytest.fixture
def inside(folder, monkeypatch):
    """Works in the folder, with it on Python's path."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    own_code.find.cache_clear()
    for name in [x for x in sys.modules if x.startswith("my_")]:
        del sys.modules[name]


def section(title: str) -> str:
    return TEXT.split(f"## {title}\n")[1].split("\n## ")[0]


def run_commands(title: str) -> None:
    """Runs the commands of a section; each must succeed."""
    commands = re.findall(r"```sh\n(.*?)```", section(title), re.DOTALL)
    assert commands
    for line in "".join(commands).replace("\\\n", " ").splitlines():
        program, *arguments = shlex.split(line)
        if program == "python":
            runpy.run_path(arguments[0])
        else:
            assert program == "mldg" and cli.main(arguments) == 0, line


def test_a_head_of_ones_own(inside, capsys, caplog):
    run_commands("A head")
    out = capsys.readouterr().out.splitlines()[-1]
    name, score = out.split()
    assert name == "your.wav" and np.isfinite(float(score))
    config = run_folder.read_config("runs/my_head")
    assert config.model.head == {"kind": "my_head:AttentivePooling", "dim": 32}
    trained, _ = run_folder.read_trainable("runs/my_head")
    assert trained["head"]["project"]["kernel"].shape == (384, 32)
    # in another place, which lacks the module
    own_code.find.cache_clear()
    sys.path.remove(str(inside))
    del sys.modules["my_head"]
    (inside / "my_head.py").rename(inside / "elsewhere.py")
    assert cli.main(["score", "runs/my_head", "your.wav"]) == 2
    message = capsys.readouterr().err.splitlines(keepends=True)[-1]
    (inside / "elsewhere.py").rename(inside / "my_head.py")
    assert "finds no module 'my_head'" in message and "PYTHONPATH" in message
    assert message.count("\n") == 1


def test_a_front_end_of_ones_own(inside, capsys):
    run_commands("A front-end")
    assert "your.wav" in capsys.readouterr().out
    detector = mldg_jax.load("runs/my_frontend")
    wave, rate = soundfile.read("your.wav")
    layers = detector.embed(wave, rate)
    windows = len(detector.timeline(wave, rate).score)
    assert layers.shape == (3, windows * (4_000 // 160), 64)
    with pytest.raises(UserError, match="no attribute lora_scale"):
        changed = {"lora": detector.config.model.lora.__class__(rank=8)}
        create_detector(replaced(detector.config.model, **changed))


def test_an_objective_of_ones_own(inside, capsys):
    run_commands("An objective")
    config = run_folder.read_config("runs/my_objective")
    assert config.objective.options() == {"temperature": 0.5}
    assert "temperature 0.5" in Path("runs/my_objective/MODEL_CARD.md").read_text()
    runpy.run_path("try_objective.py")
    assert capsys.readouterr().out.splitlines()[-1] == "-4.08"
    # the value of the soft maximum, by hand: T log mean exp(L / T)
    from my_objective import soft_maximum  # pyright: ignore[reportMissingImports]

    from mldg_jax.objectives import LossAux

    losses = np.array([1.0, 2.0, 4.0])
    made = soft_maximum(
        lambda *_: (None, LossAux(jax.numpy.array(losses), {})), temperature=2.0
    )
    value, _ = made.apply({}, (), {"meta_train": {}}, None)
    assert value == pytest.approx(2 * np.log(np.mean(np.exp(losses / 2))), rel=1e-6)
    own = "objective.name=my_objective:soft_maximum"
    for settings, words in (
        ((own, "objective.own.temperature=-1"), "it must be positive"),
        ((own, "objective.own.typo=1"), "'typo'"),
        (("objective.own.typo=1",), "objective.own is for objectives of your own"),
        (("objective.name=my_objective:nothing",), "has no nothing"),
        (("objective.name=my_objective:pooled",), "objective: "),
        (("objective.name=typo",), "PACKAGE.MODULE:NAME"),
    ):
        assert words in refused(capsys, "erm", *settings)


def test_a_corpus_of_ones_own(inside, capsys):
    run_commands("A corpus")
    said = capsys.readouterr().out
    assert "runs/my_corpus: finished" in said
    facts = run_folder.read_provenance("runs/my_corpus")["trained_on"]
    assert set(facts["spoof"]) == {"vocoder_a", "vocoder_b"}
    assert facts["bonafide"] == 9  # three speakers, three recordings each
    assert Path("runs/my_corpus/calibration.json").exists()


def test_a_config_file_and_embeddings(inside, capsys):
    run_commands("A config file")
    assert run_folder.read_config("runs/my_config").optimizer.head_lr == 3e-3
    runpy.run_path("my_embeddings.py")
    shape, mean = ast.literal_eval(
        "[" + capsys.readouterr().out.splitlines()[-1].replace(") (", "), (") + "]"
    )
    assert shape[0] == 3 and shape[2] == 384 and mean == (3, 384)


def replaced(section, **values):
    import dataclasses

    return dataclasses.replace(section, **values)


def refused(capsys, method: str, *settings: str) -> str:
    """Trains, expects exit status 2 and one line, and returns it."""
    words = [x for setting in settings for x in ("--set", setting)]
    config = ["--config", f"debspoof_quick:{method},smoke"]
    capsys.readouterr()
    assert cli.main(["train", *config, "--workdir", "runs/none", *words]) == 2
    message = without_log(capsys.readouterr().err)
    assert message.count("\n") == 1 and not Path("runs/none").exists(), message
    return message


def without_log(text: str) -> str:
    """Drops the lines that say where the code is from, and what another kind drops."""
    lines = text.splitlines(keepends=True)
    logged = re.compile(r": my_\w+:\w+ of /.*\.py$|^mldg: config .*: dropped model\.")
    return "".join(x for x in lines if not logged.search(x))


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("head.kind=typo", "'typo'; it must be one of " + ", ".join(HEADS)),
        ("head.kind=typo", "PACKAGE.MODULE:NAME"),
        ("head.kind=no_such_module:Head", "finds no module 'no_such_module'"),
        ("head.kind=my_head:Missing", "my_head.py has no Missing"),
        ("head.kind=my_head:nn", "not a subclass of flax.linen.Module"),
        ("head.kind=../evil:Head", "is named PACKAGE.MODULE:NAME"),
        ("head.kind=my_broken:Head", "cannot be imported: ZeroDivisionError"),
        ("head.kind=my_broken:Head", "my_broken.py, line 1"),
        ("head.kind=my_raising:Head", "(TypeError: unsupported operand"),
        ("head.kind=my_raising:Head", "my_raising.py, line 5)"),
        ("head.kind=my_wrong:OneLogit", "returns shape (1, 1)"),
        ("head.width=3", "model.head.width is unknown"),
        ("frontend.kind=my_frontend:SmallConv", "no attribute lora_scale"),
    ],
)
def test_mistakes_are_one_line(setting, words, inside, capsys):
    (inside / "my_broken.py").write_text("1 / 0\n")
    (inside / "my_raising.py").write_text(
        "import flax.linen as nn\n\nclass Head(nn.Module):\n"
        "    def __call__(self, frames, train=False):\n"
        "        return frames + 'a'\n"
    )
    (inside / "my_wrong.py").write_text(
        "import flax.linen as nn\n\n\nclass OneLogit(nn.Module):\n    dim: int = 1\n\n"
        "    @nn.compact\n    def __call__(self, frames, train=False):\n"
        "        return nn.Dense(1)(frames.mean(axis=1))\n"
    )
    assert words in refused(capsys, "mldg", f"model.{setting}")


def test_weights_of_ones_own(inside, capsys):
    (inside / "my_weights.py").write_text(
        "import numpy as np\nfrom my_frontend import SmallConv\n\n\n"
        "class Loaded(SmallConv):\n    def load_weights(self, source):\n"
        "        return dict(np.load(source, allow_pickle=True)['params'].item())\n"
    )
    kind = "model.frontend.kind=my_weights:Loaded"
    from my_frontend import SmallConv  # pyright: ignore[reportMissingImports]

    audio = np.zeros((1, 16_000), np.float32)
    params = SmallConv().init(jax.random.key(7), audio)["params"]
    np.savez("weights.npz", params=jax.tree.map(np.asarray, params))  # pyright: ignore
    words = ["--config", "debspoof_quick:frozen,smoke", "--set", kind]
    words += ["--workdir", "runs/weights", "--set", "model.weights=weights.npz"]
    assert cli.main(["train", *words]) == 0
    found = mldg_jax.load("runs/weights").variables["params"]["frontend"]
    jax.tree.map(np.testing.assert_array_equal, found, params)
    params["stem"]["kernel"] = np.zeros((3, 3))
    np.savez("weights.npz", params=params)
    capsys.readouterr()
    words[words.index("runs/weights")] = "runs/other"
    assert cli.main(["train", *words]) == 2
    assert "does not fit the module in 1 arrays (['stem']['kernel']: (3, 3)" in (
        capsys.readouterr().err
    )


def test_nothing_is_imported_from_a_run_folder(tmp_path, monkeypatch):
    """A run folder may come from anywhere, and its folder may be on Python's path."""
    mark = tmp_path / "imported"
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "my_trap.py").write_text(f"open({str(mark)!r}, 'w')\n")
    (tmp_path / "run" / "trainable.safetensors").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path / "run"))
    with pytest.raises(UserError, match="in the run folder"):
        own_code.find("model.head.kind", "my_trap:Head")
    assert not mark.exists()
