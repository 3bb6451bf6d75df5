"""Run folders: what is in them is checked wherever it is read."""

import json
import os
import shutil
import stat

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mldg_jax import cli
from mldg_jax.common import provenance, run_folder
from mldg_jax.common.config import CorpusSection
from mldg_jax.common.errors import UserError
from mldg_jax.experiments import jobs
from mldg_jax.scoring import model_card
from mldg_jax.scoring.scorer import load, load_parameters


def test_other_frozen_weights_are_refused_with_both_hashes(tmp_path):
    params = {"conv": {"kernel": np.ones((3, 4), np.float32)}}
    run_folder.check_frozen(tmp_path, "tiny", params, write=True)
    kept = json.loads((tmp_path / run_folder.FROZEN).read_text())
    assert kept["weights"] == "tiny" and kept["parameters"] == 12
    run_folder.check_frozen(tmp_path, "tiny", params, write=True)
    params["conv"]["kernel"][2, 3] = np.nextafter(np.float32(1), np.float32(2))
    with pytest.raises(UserError, match="put the old weights back") as caught:
        run_folder.check_frozen(tmp_path, "tiny", params, write=True)
    assert kept["sha256"] in str(caught.value)
    assert provenance.fingerprint(params) in str(caught.value)


CONFIGS = {
    "empty": b"", "text": b"steps: 3", "list": b"[]", "null": b"null",
    "cut": b'{"steps":',
    "latin-1": '{"method": "\xe9"}'.encode("latin-1"), "zeros": bytes(100),
    "utf-16 without a mark": '{"steps": 3}'.encode("utf-16-le"),
    "deep": b"[" * 100_000, "digits": b'{"steps": ' + b"1" * 10_000 + b"}",
}  # fmt: skip


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_config_that_is_none_is_one_line(own_smoke_run, kind):
    path = own_smoke_run / run_folder.CONFIG
    path.write_bytes(CONFIGS[kind])
    for read in (run_folder.read_config, run_folder.read_provenance, load):
        with pytest.raises(UserError, match=str(path)) as error:
            read(own_smoke_run)
        assert len(str(error.value)) < 300 and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("model", None, "model is None; it must be a section"),
        ("model.frontend", {}, "kind"),
        ("model.frontend.layers", 1.5, "the model cannot be built"),
        ("model.frontend.heads", 0, "the model cannot be built"),
        ("model.frontend.kind", ["a"], "kind"),
        ("model.frontend.__class__", "x", "__class__"),
        ("model.head.dim", -1, "the model cannot be built"),
        ("model.weights", None, "model.weights is None; it must be text"),
        ("model.lora.rank", -1, "rank is -1; it must be 0"),
        ("model.lora.alpha", float("nan"), "alpha is nan; it must be a number"),
        ("model.lora.alpha", "16", "alpha is '16'; it must be a number"),
        ("crop_samples", 10**9, "crop_samples is 1000000000; it must be"),
        ("crop_samples", 1600.5, "crop_samples is 1600.5; it must be a whole number"),
    ],
)
def test_a_config_that_makes_no_model_is_refused_before_weights(
    own_smoke_run, monkeypatch, name, value, message
):
    path = own_smoke_run / run_folder.CONFIG
    config = json.loads(path.read_text())
    *sections, last = name.split(".")
    section = config
    for part in sections:
        section = section[part]
    section[last] = value
    path.write_text(json.dumps(config))
    monkeypatch.setattr("mldg_jax.models.pretrained.load_frontend", None)
    with pytest.raises(UserError, match=message) as error:
        load_parameters(own_smoke_run)
    assert "\n" not in str(error.value)


def change(path, arrays):
    flat = load_file(path)
    save_file({name: arrays(x) for name, x in flat.items()}, path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (lambda x: x.astype(np.int32), "int32"),
        (lambda x: x.astype(np.float16), "float16"),
        (lambda x: x * np.nan, "not finite"),
        (lambda x: np.where(x == x.max(), np.inf, x).astype(np.float32), "not finite"),
    ],
)
def test_weights_of_another_kind_are_refused(own_smoke_run, arrays, message):
    change(own_smoke_run / run_folder.TRAINABLE, arrays)
    with pytest.raises(UserError, match=f"is damaged .*{message}"):
        load(own_smoke_run)


def test_a_flipped_bit_in_the_weights_is_noticed(own_smoke_run):
    path = own_smoke_run / run_folder.TRAINABLE
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="its content differs from what was saved"):
        load(own_smoke_run)


def test_weights_of_the_last_release_have_no_checksum(own_smoke_run):
    change(own_smoke_run / run_folder.TRAINABLE, lambda x: x)  # drops the metadata
    load(own_smoke_run)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"sha256": 3}', '{"sha'])
def test_a_damaged_fingerprint_is_one_line(tmp_path, text):
    (tmp_path / run_folder.FROZEN).write_text(text)
    with pytest.raises(UserError, match=r"frozen.json is damaged"):
        run_folder.check_frozen(tmp_path, "tiny", {"x": np.ones(3)}, write=True)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (run_folder.CONFIG, '{"provenance": {"trained_on": "all"}}'),
        (run_folder.CONFIG, '{"provenance": []}'),
        (model_card.EVALUATIONS, '[{"name'),
        (model_card.EVALUATIONS, "{}"),
        (model_card.EVALUATIONS, '[{"nam": 3}]'),
    ],
)
def test_a_card_of_an_edited_run_is_one_line(own_smoke_run, name, content):
    (own_smoke_run / name).write_text(content)
    with pytest.raises(UserError, match=str(own_smoke_run)) as error:
        model_card.write(own_smoke_run)
    assert "\n" not in str(error.value)


def test_names_in_a_card_are_text_and_no_html(own_smoke_run):
    path = own_smoke_run / run_folder.CONFIG
    content = json.loads(path.read_text())
    content["corpus"]["config"] = "<script>alert(1)</script>\x1b[31m"
    path.write_text(json.dumps(content))
    model_card.write(own_smoke_run)
    card = (own_smoke_run / model_card.CARD).read_text()
    body = card.split("---", 2)[2]
    assert "&lt;script>" in body and "<script" not in body and "\x1b" not in card


def test_files_may_be_read_by_whom_the_umask_allows(own_smoke_run):
    """safetensors writes files that nobody else can read."""
    trained = run_folder.read_trainable(own_smoke_run)
    before = os.umask(0o027)
    try:
        run_folder.write_trainable(own_smoke_run, *trained)
    finally:
        os.umask(before)
    mode = stat.S_IMODE((own_smoke_run / run_folder.TRAINABLE).stat().st_mode)
    assert mode == 0o640


def test_a_folder_in_a_file_s_place_is_one_line(own_smoke_run):
    shutil.rmtree(own_smoke_run / "checkpoints", ignore_errors=True)
    (own_smoke_run / model_card.CARD).unlink()
    (own_smoke_run / model_card.CARD).mkdir()
    with pytest.raises(UserError, match="Is a directory"):
        model_card.write(own_smoke_run)


@pytest.mark.parametrize("content", [b"", b"[]", b'{"seed": ', b"\xff\xfe\x00", b"\0"])
def test_a_damaged_config_is_to_be_copied_again(tmp_path, content):
    (tmp_path / run_folder.CONFIG).write_bytes(content)
    with pytest.raises(UserError, match=r"is damaged.*; copy the run folder again"):
        run_folder.read_config(tmp_path)


def test_a_baseline_is_not_to_be_trained_again(tmp_path):
    config = jobs.lfcc_config(CorpusSection())
    run_folder.write_config(tmp_path, config)
    for command in (["score", "RUN", "a.wav"], ["export", "RUN", "RUN/out"]):
        words = [word.replace("RUN", str(tmp_path)) for word in command]
        assert cli.main(words) == 2
    with pytest.raises(UserError, match=r"is an LFCC-GMM run.* cannot be scored"):
        load(tmp_path)
