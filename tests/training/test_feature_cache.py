"""The feature cache: the same numbers as from waveforms, and never stale."""

import json
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import pytest

from mldg_jax.common.errors import UserError
from mldg_jax.models import (
    hubert,
    pooling,
    unispeech_sat,
    wav2vec2,
    wav2vec2_bert,
    wavlm,
    whisper,
)
from mldg_jax.models.detector import DTYPES, Detector, create_detector, frontend_prefix
from mldg_jax.models.loss import cross_entropy
from mldg_jax.models.split import init_parameters
from mldg_jax.training import feature_cache, loop
from tests.signals import speech_like
from tests.training.test_loop import smoke

SMALL = {"dim": 32, "heads": 2, "hidden": 48, "layers": 2}
WAV2VEC2 = {**SMALL, "channels": (16,) * 7, "positional_groups": 4}
FRONT_ENDS = {
    "whisper": whisper.WhisperEncoder(**SMALL),
    "wav2vec 2.0 base": wav2vec2.Wav2Vec2(
        **WAV2VEC2, pre_norm=False, extractor_norm="group", conv_bias=False
    ),
    "XLS-R": wav2vec2.Wav2Vec2(**WAV2VEC2),
    "XLS-R, scan": wav2vec2.Wav2Vec2(**WAV2VEC2, scan=True),
    "HuBERT": hubert.HuBERT(**WAV2VEC2),
    "UniSpeech-SAT": unispeech_sat.UniSpeechSAT(**WAV2VEC2),
    "WavLM, scan": wavlm.WavLM(**WAV2VEC2, scan=True),
    "w2v-BERT": wav2vec2_bert.Wav2Vec2Bert(**SMALL, mels=6, taps=3, left=3, right=2),
}


@pytest.mark.parametrize("front_end", FRONT_ENDS)
def test_loss_and_gradient_are_those_of_the_waveforms(front_end, float64):
    made = Detector(FRONT_ENDS[front_end], pooling.PoolingHead(12))
    waveform = np.concatenate([speech_like(4_000, seed) for seed in range(2)]).astype(
        float
    )
    frontend = made.frontend.init(jax.random.key(0), waveform)["params"]
    trainable, batch_stats, frozen = init_parameters(
        jax.random.key(1), made, frontend, waveform, rank=2
    )
    trainable = jax.tree.map(lambda x: x + 0.05, trainable)
    label = np.arange(4).reshape(2, 2) % 2
    prefix = frontend_prefix(made, frontend, waveform)
    batches = [
        {"waveform": waveform.reshape(2, 2, -1), "label": label},
        {"prefix": prefix.reshape(2, 2, *prefix.shape[1:]), "label": label},
    ]
    loss_fn = cross_entropy(made, batch_stats, frozen)

    @jax.jit
    def evaluate(trainable, batch):
        key = jax.random.key(2)
        return jax.value_and_grad(loss_fn, has_aux=True)(trainable, batch, key)

    (one, _), gradient = evaluate(trainable, batches[0])
    (other, _), same = evaluate(trainable, batches[1])
    assert abs(one - other) < 1e-12
    for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(same), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


NEUTRAL = ("augment.speed=0.0", "augment.equaliser=0.0", "episode.crop=first")


def losses(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def test_training_has_the_same_losses(corpus, tmp_path):
    """In float32, to 1e-6, over four steps; two runs share the file."""
    kept = f"feature_cache={tmp_path / 'kept'}"
    for name, given in (("waveforms", []), ("one", [kept]), ("two", [kept, "seed=1"])):
        config = smoke("mldg", *NEUTRAL, *given)
        loop.train(config, tmp_path / name, corpus, progress=lambda step: None)
    assert len(list((tmp_path / "kept").iterdir())) == 1
    expected = losses(tmp_path / "waveforms")
    np.testing.assert_allclose(losses(tmp_path / "one"), expected, rtol=1e-6)
    assert not np.allclose(losses(tmp_path / "two"), expected, rtol=1e-3)


def test_it_goes_on_where_a_kill_left_it(corpus, tmp_path, monkeypatch):
    config = smoke("mldg", *NEUTRAL, f"feature_cache={tmp_path}")
    made, frontend = parts(config)
    corpus = corpus.take(np.arange(20))
    read = feature_cache.kept(config, made, frontend, corpus, fingerprint="x")
    rows = np.array([[0, 19], [7, 8]])
    whole = read(rows)
    assert whole.shape[:2] == (2, 2) and whole.dtype == np.float32
    expected = frontend_prefix(made, frontend, crops(corpus, rows, config.crop_samples))
    np.testing.assert_allclose(whole.reshape(expected.shape), expected, atol=1e-5)

    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    path.with_suffix(".part").write_bytes(content[: len(content) // 2 + 3])
    path.unlink()
    asked = []
    watched = corpus._replace(audio=Watched(corpus.audio, asked))
    read = feature_cache.kept(config, made, frontend, watched, fingerprint="x")
    assert min(asked) == 10 and path.read_bytes() == content
    np.testing.assert_array_equal(read(rows), whole)


def test_two_runs_that_begin_together_make_one_file(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(feature_cache, "BATCH", 1)  # many small writes to mix up
    made, frontend = parts(smoke("mldg", *NEUTRAL))
    corpus = corpus.take(np.arange(12))

    def keep(folder):
        config = smoke("mldg", *NEUTRAL, f"feature_cache={folder}")
        return feature_cache.kept(config, made, frontend, corpus, fingerprint="x")

    expected = keep(tmp_path / "alone")(np.arange(12))
    with ThreadPoolExecutor(3) as pool:
        readers = list(pool.map(keep, [tmp_path / "shared"] * 3))
    for read in readers:
        np.testing.assert_array_equal(read(np.arange(12)), expected)
    assert [x.suffix for x in (tmp_path / "shared").iterdir()] == [".bin"]


class Watched(list):
    """Recordings that note which of them are read."""

    def __init__(self, audio, asked):
        super().__init__(audio[i] for i in range(len(audio)))
        self.asked = asked

    def __getitem__(self, i):
        self.asked.append(int(i))
        return super().__getitem__(i)


def parts(config):
    made = create_detector(config.model)
    waveform = np.zeros((1, config.crop_samples), np.float32)
    return made, made.frontend.init(jax.random.key(0), waveform)["params"]


def crops(corpus, rows, samples):
    waveforms = [corpus.waveform(row) for row in rows.ravel()]
    return np.stack([np.resize(x, samples) for x in waveforms])


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("augment.speed=0.1", "augment.speed"),
        ("augment.rawboost=5", "augment.rawboost"),
        ("episode.crop=random", "episode.crop"),
        ("model.full=true", "model.full"),
    ],
)
def test_what_changes_every_step_is_refused(override, named, corpus, tmp_path):
    config = smoke("erm", *NEUTRAL, f"feature_cache={tmp_path / 'kept'}", override)
    with pytest.raises(UserError, match=named):
        loop.train(config, tmp_path / "run", corpus)
    assert not any(tmp_path.iterdir())


def test_a_disk_that_is_too_small_is_found_before(corpus, tmp_path, monkeypatch):
    config = smoke("erm", *NEUTRAL, f"feature_cache={tmp_path / 'kept'}")
    usage = feature_cache.shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(feature_cache.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(UserError, match="name another folder"):
        loop.train(config, tmp_path / "run", corpus)


def test_other_weights_and_another_dtype_have_a_file_of_their_own(corpus, tmp_path):
    config = smoke("mldg", *NEUTRAL, f"feature_cache={tmp_path}")
    made, frontend = parts(config)
    half = made.clone(frontend=made.frontend.clone(dtype=DTYPES["bfloat16"]))
    few = corpus.take(np.arange(2))
    for number, (its, fingerprint) in enumerate(
        ((made, "x"), (made, "x"), (made, "y"), (half, "x"))
    ):
        feature_cache.kept(config, its, frontend, few, fingerprint=fingerprint)
        assert len(list(tmp_path.iterdir())) == max(1, number)


def test_a_full_disk_is_one_message_and_what_is_there_is_kept(
    corpus, tmp_path, full_disk, monkeypatch
):
    """Another program fills the disk after the check for free space."""
    usage = feature_cache.shutil.disk_usage(tmp_path)._replace(free=1 << 40)
    monkeypatch.setattr(feature_cache.shutil, "disk_usage", lambda path: usage)
    config = smoke("mldg", *NEUTRAL, f"feature_cache={full_disk}")
    made, frontend = parts(config)
    with pytest.raises(UserError, match=r"cannot write to .*start the same command"):
        feature_cache.kept(config, made, frontend, corpus, fingerprint="x")
    (part,) = full_disk.iterdir()
    assert part.suffix == ".part"


def test_a_folder_that_cannot_be_written_is_one_message(corpus, tmp_path):
    """Nobody can write below a file, not even root."""
    (tmp_path / "file").touch()
    config = smoke("mldg", *NEUTRAL, f"feature_cache={tmp_path / 'file' / 'kept'}")
    made, frontend = parts(config)
    with pytest.raises(
        UserError, match=r"cannot write to .*file/kept: Not a directory"
    ):
        feature_cache.kept(config, made, frontend, corpus, fingerprint="x")
