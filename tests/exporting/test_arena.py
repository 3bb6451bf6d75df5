"""Submissions to the arena: from scores or a run to files that meet its rules."""

import datetime
import importlib.util
import sys
import types

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import yaml

from mldg_jax import cli
from mldg_jax.common.errors import UserError
from mldg_jax.exporting import arena, arena_rules
from mldg_jax.scoring import scorer
from tests import random_runs
from tests.signals import speech_like

TODAY = datetime.date(2026, 11, 26)
SYSTEM = """\
system:
  name: Ours
  slug: ours
  description: A detector.
  code: https://github.com/me/ours
  checkpoint: https://huggingface.co/me/ours
notes: none
"""


@pytest.fixture
def inputs(tmp_path):
    """Writes scores as of ``mldg score``, the arena's labels, and a description."""
    rng = np.random.default_rng(0)
    names = [f"utt{i:03d}" for i in range(80)]
    labels = (np.arange(80) % 3 > 0).astype(np.int8)  # the arena's: 0 is bona fide
    scores = rng.normal(size=80) - labels
    lines = [f"data/x/{n}.flac {s:.9f}\n" for n, s in zip(names, scores, strict=True)]
    (tmp_path / "scores.txt").write_text("".join(rng.permutation(lines[:-2])))
    table = pyarrow.table({"utterance_id": names, "label": labels})
    pyarrow.parquet.write_table(table, tmp_path / "labels.parquet")
    (tmp_path / "system.yaml").write_text(SYSTEM)
    return dict(zip(names, zip(scores, labels == 0, strict=True), strict=True))


def request(folder, **changes):
    """Returns the request of a complete submission, with some values changed."""
    return arena.ArenaRequest(
        **{
            "sources": [str(folder / "scores.txt")],
            "folder": str(folder / "out"),
            "keys": str(folder / "labels.parquet"),
            "dataset": "org/data",
            "revision": "fedcba9",
            "system": str(folder / "system.yaml"),
            "model_repo": "me/ours",
            "commit": "0123456789abcdef",
            "username": "me",
            "contact": "me@example.com",
            **changes,
        }
    )


def test_a_submission_and_back(tmp_path, inputs):
    said = arena.prepare(request(tmp_path), TODAY)
    text = (tmp_path / "out" / "scores.txt").read_bytes()
    rows = [line.split() for line in text.decode().splitlines()]
    assert [name for name, _ in rows] == sorted(inputs)[:-2]
    for name, score in rows:
        assert abs(float(score) - inputs[name][0]) < 1e-6 and score[-7] == "."
    content = yaml.safe_load((tmp_path / "out" / "ours.yaml").read_text())
    labels = {name: bool(real) for name, (_, real) in inputs.items()}
    assert arena_rules.problems_of(content) == []
    assert arena_rules.file_problems(content, text, labels) == []
    assert content["scores"]["n_trials"] == 80 and content["scores"]["n_skipped"] == 2
    assert content["dataset"] == {
        "id": "org/data", "revision": "fedcba9", "split": "test",
    }  # fmt: skip
    assert content["artifact"]["scores_url"] == (
        "https://huggingface.co/me/ours/resolve/0123456789abcdef/.eval_results/"
        "org/data/scores.txt"
    )
    assert content["submitted_at"] == "2026-11-26" and content["notes"] == "none"
    assert "--create-pr" in said and "submissions/ours.yaml" in said
    again = request(tmp_path, sources=[str(tmp_path / "out" / "scores.txt")])
    arena.prepare(again, TODAY)  # from its own scores: nothing changes
    assert (tmp_path / "out" / "scores.txt").read_bytes() == text


def test_before_the_upload(tmp_path, inputs):
    said = arena.prepare(request(tmp_path, commit=""), TODAY)
    assert [x.name for x in (tmp_path / "out").iterdir()] == ["scores.txt"]
    assert "hf upload me/ours" in said and ".eval_results/org/data/scores.txt" in said
    assert "--commit HASH" in said


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keys": ""}, "--keys is missing"),
        ({"revision": ""}, "--revision is missing"),
        ({"model_repo": ""}, "--model-repo is missing"),
        ({"dataset": "data"}, "--dataset is 'data'; it must be ORG/NAME"),
        ({"commit": "main"}, "the hash of a commit"),
        ({"sources": ["a", "b"]}, "one score file"),
    ],
)
def test_a_request_that_lacks_something(tmp_path, inputs, changes, message):
    with pytest.raises(UserError, match=message):
        arena.prepare(request(tmp_path, **changes), TODAY)
    assert not (tmp_path / "out" / "ours.yaml").exists()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda lines: [*lines, lines[0]], "is scored twice"),
        (lambda lines: [*lines, "other 1.0\n"], "other is not in the keys"),
        (lambda lines: [*lines[:-1], lines[-1].split()[0] + " nan\n"], "finite"),
        (lambda lines: lines[:60], "at most 5%"),
    ],
)
def test_scores_that_the_arena_would_refuse(tmp_path, inputs, edit, message):
    path = tmp_path / "scores.txt"
    path.write_text("".join(edit(path.read_text().splitlines(keepends=True))))
    with pytest.raises(UserError, match=message):
        arena.prepare(request(tmp_path), TODAY)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SYSTEM.replace("slug: ours", "slug: Ours!"), "lower-case"),
        (SYSTEM.replace("https://github.com/me/ours", "TODO"), "system.code is 'TODO'"),
        ("a: [", "is not valid YAML"),
        ("name: x", "must have a section 'system'"),
    ],
)
def test_a_description_that_the_arena_would_refuse(tmp_path, inputs, text, message):
    (tmp_path / "system.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        arena.prepare(request(tmp_path), TODAY)


def test_labels_of_both_kinds(tmp_path, inputs):
    keys = tmp_path / "keys.csv"
    lines = ["utterance,label"]
    lines += [f"{n},{'bonafide' if r else 'spoof'}" for n, (_, r) in inputs.items()]
    keys.write_text("\n".join(lines) + "\n")
    labels = arena.read_labels(str(keys))
    assert labels == arena.read_labels(str(tmp_path / "labels.parquet"))
    assert labels["utt000"] is True
    (tmp_path / "bad.parquet").write_text("no")
    with pytest.raises(UserError, match="cannot be read as the arena's labels"):
        arena.read_labels(str(tmp_path / "bad.parquet"))


@pytest.fixture
def bench(monkeypatch):
    """A stand-in for the arena's package, with its interface."""
    import abc

    class AntiSpoofingModel(abc.ABC):
        batch_size = 1

        @abc.abstractmethod
        def load(self): ...

        @abc.abstractmethod
        def score_batch(self, audios, srs): ...

        def unload(self):
            return None

    package = types.ModuleType("speech_spoof_bench")
    package.model = types.ModuleType("speech_spoof_bench.model")
    package.model.AntiSpoofingModel = AntiSpoofingModel
    monkeypatch.setitem(sys.modules, "speech_spoof_bench", package)
    monkeypatch.setitem(sys.modules, "speech_spoof_bench.model", package.model)


def test_the_class_for_the_runner_scores_as_we_do(tmp_path, bench, capsys):
    run = random_runs.write(tmp_path / "My Run", "whisper", "pooling", calibrated=True)
    out = tmp_path / "out"
    assert cli.main(["submit", "--arena", str(run), "--output", str(out)]) == 0
    assert "--model-module arena_model:Detector" in capsys.readouterr().out
    spec = importlib.util.spec_from_file_location("arena_model", out / "arena_model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.Detector()
    model.load()
    waveforms = [*speech_like(9_000), speech_like(4_000)[0]]
    scores = model.score_batch(waveforms, [16_000] * 3)
    ours = scorer.load(run)
    # a batch sums in another order
    expected = [ours.score(x, 16_000) for x in waveforms]
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert all(type(x) is float for x in scores) and model.batch_size > 1
    assert model.name == "my-run" and model.expected_sample_rate == 16_000
    model.unload()
    # the draft is refused until its author has filled it in
    draft = (out / "system.yaml").read_text()
    with pytest.raises(UserError, match="TODO"):
        arena.read_system(out / "system.yaml")
    filled = draft.replace("TODO", "https://example.com/x")
    (out / "system.yaml").write_text(filled)
    system = arena.read_system(out / "system.yaml")["system"]
    count = sum(x.size for x in leaves(ours.variables["params"]))
    assert system["params_millions"] == pytest.approx(count / 1e6, abs=1e-3)
    # and kept when the command runs again
    assert cli.main(["submit", "--arena", str(run), "--output", str(out)]) == 0
    assert (out / "system.yaml").read_text() == filled


def leaves(tree):
    import jax

    return jax.tree.leaves(tree)


def test_command_on_scores(tmp_path, inputs, capsys):
    arguments = ["submit", "--output", str(tmp_path / "out")]
    arguments += ["--arena", str(tmp_path / "scores.txt")]
    assert cli.main(arguments) == 2
    assert "--keys is missing" in capsys.readouterr().err
    keys = ["--keys", str(tmp_path / "labels.parquet"), "--dataset", "org/data"]
    assert cli.main([*arguments, *keys]) == 0
    assert "sha256" in capsys.readouterr().out
