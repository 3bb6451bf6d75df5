"""Training on the real front-end with short audio: resume, refusal, logs, scores."""

import dataclasses
import json
import re
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import traverse_util

import mldg_jax
from mldg_jax.common import run_folder
from mldg_jax.common.config import OptimizerSection
from mldg_jax.common.config_values import with_values
from mldg_jax.common.errors import UserError
from mldg_jax.experiments import jobs
from mldg_jax.exporting import front_end
from mldg_jax.models import pretrained
from mldg_jax.scoring.scorer import load, score_waveforms
from mldg_jax.training import loop
from mldg_jax.training.config_files import read_config_file
from tests import small

CONFIG = str(Path(__file__).parents[2] / "configs" / "debspoof.py")


def smoke(method: str, *overrides: str):
    return read_config_file(f"{CONFIG}:{method},smoke", overrides)


def flat(workdir):
    trainable, _ = run_folder.read_trainable(workdir)
    return traverse_util.flatten_dict(trainable, sep="/")


def log(workdir):
    """Returns the lines of a log, without values that depend on the clock."""
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return [{k: v for k, v in x.items() if k != "examples_per_second"} for x in lines]


def test_a_run_folder_holds_what_the_design_says(smoke_run):
    names = {path.name for path in smoke_run.iterdir()}
    assert names == {
        "config.json", "frozen.json", "metrics.jsonl", "checkpoints",
        "trainable.safetensors", "MODEL_CARD.md",
    }  # fmt: skip
    lines = log(smoke_run)
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert {"meta_train_loss", "meta_test_loss", "gradient_cosine"} <= lines[0].keys()
    assert all(-1 <= line["gradient_cosine"] <= 1 for line in lines)


def test_adapters_and_head_are_trained_and_nothing_else(smoke_run):
    paths = flat(smoke_run)
    adapters = {p for p in paths if p.startswith("frontend/")}
    assert len(adapters) == 2 * 4 * 2  # layers × projections × factors
    assert all(p.split("/")[-1] in ("lora_a", "lora_b") for p in adapters)
    assert all(np.any(paths[p]) for p in adapters)  # B has left zero
    assert {p for p in paths if p.startswith("head/")} == paths.keys() - adapters


def test_fine_tuning_trains_every_parameter(corpus, tmp_path):
    config = smoke("full")
    loop.train(config, tmp_path / "full", corpus, progress=lambda step: None)
    trainable, _ = run_folder.read_trainable(tmp_path / "full")
    before = pretrained.load_frontend(config.model)
    moved = jax.tree.map(
        lambda x, y: not np.array_equal(x, y), trainable["frontend"], before
    )
    moved = traverse_util.flatten_dict(moved, sep="/")
    # (the pooling head takes the states before the last normalisation)
    still = {name for name, yes in moved.items() if not yes}
    assert still == {"final_norm/bias", "final_norm/scale"}
    scorer = load(tmp_path / "full")
    assert np.isfinite(scorer.score(corpus.waveform(0), 16_000))
    front_end.export_run(tmp_path / "full", tmp_path / "out", "merged")
    assert (tmp_path / "out/model.safetensors").exists()
    with pytest.raises(UserError, match="trained no adapters"):
        front_end.export_run(tmp_path / "full", tmp_path / "out", "peft")
    with pytest.raises(UserError, match="set the rank to 0"):
        both = with_values(config, {"model.lora.rank": 4})
        loop.train(both, tmp_path / "both", corpus)


def test_interrupted_and_resumed_equals_uninterrupted(smoke_run, corpus, tmp_path):
    """To the last bit: the sampler is a function of the step number."""

    class Killed(Exception):
        pass

    def die_at_3(step):
        if step == 3:
            raise Killed

    with pytest.raises(Killed):
        loop.train(small.smoke_config(), tmp_path, corpus, progress=die_at_3)
    assert not (tmp_path / run_folder.TRAINABLE).exists()
    steps = []
    loop.train(small.smoke_config(), tmp_path, corpus, progress=steps.append)
    assert steps == [3, 4]  # from the checkpoint after step 2
    ours, theirs = flat(tmp_path), flat(smoke_run)
    assert ours.keys() == theirs.keys()
    for path, value in theirs.items():
        np.testing.assert_array_equal(ours[path], value, err_msg=path)
    assert log(tmp_path) == log(smoke_run)


def test_a_finished_run_is_not_trained_again(smoke_run, corpus):
    steps = []
    loop.train(small.smoke_config(), smoke_run, corpus, progress=steps.append)
    assert not steps


def test_a_damaged_result_is_written_again(own_smoke_run, corpus, caplog):
    path = own_smoke_run / run_folder.TRAINABLE
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    log = (own_smoke_run / "metrics.jsonl").read_text()
    with pytest.raises(UserError, match="start the same training command again"):
        load(own_smoke_run)
    loop.train(small.smoke_config(), own_smoke_run, corpus, progress=lambda step: None)
    assert "it is written again from a checkpoint" in caplog.text
    assert path.read_bytes() == whole
    assert (own_smoke_run / "metrics.jsonl").read_text() == log

    path.write_bytes(b"")
    shutil.rmtree(own_smoke_run / "checkpoints")
    with pytest.raises(UserError, match="has no checkpoint"):
        loop.train(small.smoke_config(), own_smoke_run, corpus)
    assert path.read_bytes() == b""


def test_another_config_in_the_same_folder_is_refused(smoke_run, corpus):
    with pytest.raises(UserError, match=r"optimizer\.lr: 0\.001 → 0\.5"):
        loop.train(small.smoke_config("optimizer.lr=0.5"), smoke_run, corpus)


def test_a_loss_that_is_not_finite_stops_with_the_step(corpus, tmp_path):
    """The message names the exact step, though only every fourth is logged."""
    config = smoke("mldg", "log_every=4", "checkpoint_every=1")
    # No config file can say so: infinity is refused there.
    config = dataclasses.replace(config, optimizer=OptimizerSection(lr=float("inf")))
    with pytest.raises(UserError, match=r"(loss|update) is (nan|inf) at") as caught:
        loop.train(config, tmp_path, corpus, progress=lambda step: None)
    said = re.search(
        r"at step (\d) \(meta-train attacks (.+); meta-test attacks (.+)\)\. (.+)$",
        str(caught.value),
    )
    step, *halves, rest = said.groups()
    met = sorted(", ".join(halves).split(", "))
    assert met == [f"A0{i}" for i in range(1, 7)]
    saved = [int(p.name) for p in (tmp_path / "checkpoints").iterdir()]
    assert all(s < int(step) for s in saved)
    assert ("checkpoint is that of step" if saved else "No checkpoint") in rest


def test_loading_scores_without_the_training_corpus(smoke_run, corpus):
    detector = mldg_jax.load(smoke_run)
    clip = corpus.waveform(0)
    alone = detector.score(clip, 16_000)
    batch = score_waveforms(detector, [corpus.waveform(i) for i in range(40)])
    assert batch.shape == (40,) and np.isfinite(batch).all()
    assert alone == pytest.approx(batch[0], abs=1e-5)  # whatever its batch


def test_parameters_of_another_model_are_refused(own_smoke_run):
    path = own_smoke_run / run_folder.CONFIG
    config = json.loads(path.read_text())
    config["model"]["lora"]["rank"] = 4
    path.write_text(json.dumps(config))
    with pytest.raises(UserError, match="does not fit"):
        load(own_smoke_run)


def test_score_files_keep_name_attack_key_and_score(corpus, tmp_path):
    scores = np.linspace(-1, 1, len(corpus.label))
    jobs.write_scores(tmp_path / "scores.txt", corpus, scores)
    first = (tmp_path / "scores.txt").read_text().splitlines()[0]
    assert first == "u000 - bonafide -1"
    np.testing.assert_allclose(
        jobs.read_scores(tmp_path / "scores.txt", corpus), scores, rtol=1e-8
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("episode.num_meta_test=6", r"meta_test is 6 of 6 attacks"),
        ("episode.examples_per_attack=3", r"examples_per_attack is 3; half of"),
        ("steps=0", "steps is 0; a detector needs at least 1"),
        ("model.frontend.layers=1.5", "the model cannot be built"),
        ("model.frontend.heads=0", "the model cannot be built"),
        ("model.head.dim=-1", "the model cannot be built"),
        ("objective.inner_lr=-1", r"inner_lr is -1\.0; it must be at least 0"),
        ("compute.dtype=float16", r"compute.dtype is 'float16'; it must be float32"),
    ],
)
def test_an_impossible_config_is_refused_in_one_line(
    override, message, corpus, tmp_path
):
    with pytest.raises(UserError, match=message) as caught:
        loop.train(smoke("mldg", override), tmp_path, corpus)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())  # the corrected config may use the folder


def test_one_attack_is_too_few(corpus, tmp_path):
    one = corpus.take(np.isin(corpus.attack, ["-", "A01"]))
    with pytest.raises(UserError, match="train on: 1, bona fide utterances: 70"):
        loop.train(smoke("mldg"), tmp_path, one)
