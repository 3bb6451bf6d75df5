"""``mldg probe`` from the command to its files, and the probe in ``mldg compare``."""

import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from mldg_jax import cli
from mldg_jax.data.corpus import find_corpus, load_split
from mldg_jax.experiments.probing import probe_study
from mldg_jax.scoring import scorer
from mldg_jax.training.config_files import read_config_file
from tests.data import small_debspoof
from tests.experiments.probing.test_layer_means import SHAPE

SMALL = ("crop_samples=4_000", "model.weights=random", f"model.frontend={SHAPE}")
OPTIONS = [x for text in SMALL for x in ("--set", text)]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data directory with DebSpoof full in miniature."""
    folder = tmp_path_factory.mktemp("full") / "data"
    small_debspoof.make(folder, "full")
    return folder


def test_the_command_writes_its_report(data, tmp_path, capsys, monkeypatch):
    def refused(*arguments):
        raise AssertionError("the choice reads no test")

    command = ["probe", "--config", "configs/debspoof_full.py:mldg", *OPTIONS]
    command += ["--data-dir", str(data), "--output", str(tmp_path)]
    with monkeypatch.context() as patch:
        patch.setattr(probe_study, "load_test", refused)
        assert cli.main(command) == 0
    results = json.loads((tmp_path / "probe.json").read_text())
    assert results["unseen"] is None
    assert len(results["tried"]) == 4 + 6 + 1 and len(results["held_out"]) == 7
    rates = {tuple(x["layers"]): x["rate"] for x in results["tried"]}
    del rates[(0,)]  # not a detector
    assert results["chosen"] == list(min(rates, key=lambda x: rates[x]["eer"]))
    assert all(x["low"] <= x["eer"] <= x["high"] for x in rates.values())
    printed = capsys.readouterr().out
    assert f"--set '{results['set']}'" in printed
    # the line is valid, with every head that reads layers
    for head in ("linear", "pooling", "mhfa", "sls"):
        overrides = [*SMALL, results["set"], f"model.head={{kind: {head}}}"]
        config = read_config_file("configs/debspoof_full.py:mldg", overrides)
        assert list(config.model.frontend["layers"]) == results["chosen"]
    ET.fromstring((tmp_path / "probe.svg").read_text().replace("xlink:", ""))
    page = (tmp_path / "probe.html").read_text()
    assert results["set"].partition("=")[2] in page and "<svg" in page

    assert cli.main([*command, "--confirm"]) == 0
    confirmed = json.loads((tmp_path / "probe.json").read_text())
    assert confirmed["tried"] == results["tried"]  # the choice is the same
    unseen = confirmed["unseen"]["tried"]
    assert [x["layers"] for x in unseen] == [x["layers"] for x in results["tried"]]
    # families of which no attack is in the training split
    assert set(unseen[0]["by_group"]) == {
        "fest_clunits", "hmm", "kokoro", "phase_voc", "world_swap"
    }  # fmt: skip
    assert "On the unseen attacks of eval the choice has" in capsys.readouterr().out


def test_a_probe_is_a_method_of_compare_and_a_run(data, tmp_path):
    command = ["compare", "--config", "configs/debspoof_full.py", *OPTIONS]
    command += ["--set", "model.frontend.layers=[1, 3]", "--workers", "0"]
    command += ["--data-dir", str(data), "--workdir", str(tmp_path)]
    command += ["--methods", "probe,lfcc-gmm", "--seeds", "0:1"]
    command += ["--set", "components=2"]
    assert cli.main(command) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["rows"]["probe"]["parameters"] == 2 * 2 * 16 + 2
    assert results["rows"]["probe"]["steps"] == 0
    (run,) = tmp_path.glob("probe seed0*")
    rows = load_split(find_corpus("debspoof", "full", data), "eval")
    detector = scorer.load(run)
    assert detector.detector.read == (1, 3)
    lines = (run / "scores_debspoof_eval.txt").read_text().split("\n")
    written = dict((x.split()[0], float(x.split()[-1])) for x in lines if x)
    for i in (0, len(rows.label) - 1):
        score = detector.score(rows.waveform(i), 16_000)
        assert score == pytest.approx(written[str(rows.utterance[i])], abs=1e-4)
    assert np.ptp(list(written.values())) > 1e-3
