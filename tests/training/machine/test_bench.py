"""``mldg bench`` measures each program; its counts are checked where they can be."""

import json

import jax
import pytest

from mldg_jax import cli, lora
from mldg_jax.common.errors import UserError
from mldg_jax.models.detector import create_detector
from mldg_jax.models.split import parameter_shapes
from mldg_jax.training.machine import bench, bench_text, noise_corpus
from tests import small

CONFIG = "configs/debspoof.py:mldg,smoke"


@pytest.fixture(scope="module")
def measured():
    config = small.smoke_config("model.frontend.layers=1")
    return bench.run(
        config, devices=jax.devices()[:1], programs=["score", "erm"], seconds=0.05
    )


def test_every_program_is_measured(measured):
    score, erm = measured.speeds
    assert [x.program for x in measured.speeds] == ["score", "erm"]
    assert measured.peak is None and erm.utilisation is None  # of a CPU
    for speed in measured.speeds:
        assert speed.clips_per_second == pytest.approx(speed.clips / speed.step_seconds)
        rate = speed.flops / speed.step_seconds
        product = measured.score_product if speed is score else measured.product
        assert speed.of_product == pytest.approx(rate / product)
        seconds = measured.samples / 16_000
        assert speed.times_real_time == pytest.approx(speed.clips_per_second * seconds)
        assert speed.memory > 1e6 and speed.compile_seconds > 0
    assert score.loader_share is None and 0 <= erm.loader_share < 1
    # Per clip, a step runs the encoder about twice as often as scoring does.
    assert 1 < erm.flops / erm.clips / (score.flops / score.clips) < 4


def test_parameters_are_those_of_the_config(measured):
    config = small.smoke_config("model.frontend.layers=1")
    shapes = parameter_shapes(
        create_detector(config.model), config.model, config.crop_samples
    )
    assert measured.parameters["trained"] == lora.count(shapes[0])


def test_the_table(measured):
    text = bench_text.text(measured)
    assert "no published peak" in text and "random weights" in text
    header, rows = bench_text.table(measured)
    assert len(rows) == 2 and all(len(row) == len(header) for row in rows)


def test_noise_is_enough_for_an_episode_and_decoded_when_read():
    episode = small.smoke_config().episode
    corpus = noise_corpus.make(episode, 1_000, attacks=3)
    spoof = corpus.attack[corpus.label == 0]
    assert sorted(set(spoof)) == ["A01", "A02", "A03"]
    assert corpus.waveform(0).shape == (1_500,)
    assert (corpus.waveform(0) != corpus.waveform(1)).any()


def test_wrong_input_is_refused(capsys):
    with pytest.raises(UserError, match="program 'sgd'; it must be of score, erm"):
        bench.run(small.config(), devices=jax.devices()[:1], programs=["sgd"])
    assert cli.main(["bench", "--config", CONFIG, "--devices", "99"]) == 2
    assert "99 devices asked for" in capsys.readouterr().err


@pytest.mark.full
def test_the_command_measures_all_programs(capsys):
    options = ["--set", "model.frontend.layers=1", "--seconds", "0.1", "--json"]
    assert cli.main(["bench", "--config", CONFIG, *options]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [x["program"] for x in result["speeds"]] == list(bench.PROGRAMS)
    by_name = {x["program"]: x for x in result["speeds"]}
    assert by_name["mldg2"]["flops"] > by_name["mldg"]["flops"]
