"""The report of `mldg evaluate`: its numbers, its pictures, and no network."""

import re
import shutil

import numpy as np
import pytest
from markupsafe import escape

from mldg_jax import cli
from mldg_jax.scoring import evaluate, figures, report, score_files
from tests import webpages

NASTY = '"><script>alert(1)</script>&$x_1$'
N = 240


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Keys with attacks and codecs; scores of two systems, one with a nasty name."""
    folder, rng = tmp_path_factory.mktemp("files"), np.random.default_rng(0)
    label = np.arange(N) % 4 == 0
    attack = np.where(label, "-", np.array([f"A{i % 3}&<b>" for i in range(N)]))
    keys = folder / "keys.csv"
    rows = [
        f"u{i},{'bonafide' if label[i] else 'spoof'},{attack[i]},s{i % 11},c{i % 2}\n"
        for i in range(N)
    ]
    keys.write_text("utterance,label,attack,speaker,codec\n" + "".join(rows))
    names = [f"u{i}" for i in range(N)]
    for name, gap in (("good", 4.0), ("weak", 1.5)):
        scores = gap * label + rng.normal(size=N)
        score_files.write(folder / f"{name}.txt", names, scores, "asvspoof2021")
    return {"good one": folder / "good.txt", NASTY: folder / "weak.txt"}, keys


@pytest.fixture(scope="module")
def evaluation(files):
    rates = {"asv_pfa": 0.02, "asv_pmiss": 0.02, "asv_pmiss_spoof": 0.5}
    return evaluate.evaluate(*files, asv=rates, replicas=100)


@pytest.fixture(scope="module")
def drawn(evaluation):
    return figures.draw(evaluation)


@pytest.fixture(scope="module")
def page(evaluation, drawn):
    return report.html(evaluation, drawn)


def test_page_needs_no_network_and_escapes_names(page):
    webpages.needs_no_network(page)
    webpages.ids_are_unique_and_found(page)
    assert "A0&<b>" not in page and "A0&amp;&lt;b&gt;" in page


def test_page_holds_every_number(page, evaluation):
    visible = re.sub(r"<svg.*?</svg>", "", page, flags=re.DOTALL)
    for one in evaluation.systems.values():
        low, high = one.intervals["eer"]
        rate = one.measures["eer"]
        assert f"{100 * rate:.2f} [{100 * low:.2f}, {100 * high:.2f}]" in visible
        for measure in ("min_dcf", "act_dcf", "cllr", "min_tdcf"):
            low, high = one.intervals[measure]
            assert f"{one.measures[measure]:.3f} [{low:.3f}, {high:.3f}]" in visible
        assert f"{one.measures['min_cllr']:.3f}" in visible
        for part in (*one.parts["attack"].values(), *one.parts["codec"].values()):
            interval = f"[{100 * part.low:.2f}, {100 * part.high:.2f}]"
            assert f"{100 * part.eer:.2f} {interval}" in visible
    (pair,) = evaluation.differences.values()
    assert f"{100 * pair.difference:+.2f}".replace("-", "−") in visible
    assert f"{pair.p:.3f}" in visible
    assert "100 bootstrap replicates of speakers, each drawn with" in visible
    assert "intervals hold for the 3 attacks of the keys" in " ".join(visible.split())
    for one in evaluation.systems.values():
        low, high = one.intervals["eer_new_attacks"]
        assert f"[{100 * low:.2f}, {100 * high:.2f}]" in visible
    assert pair.on_new_attacks.text(2) in visible


def test_pictures_are_a_function_of_the_numbers(evaluation, drawn):
    again = figures.draw(evaluation)
    assert again == drawn
    names = {"det", "scores", "reliability", "by_attack", "by_codec"}
    assert set(drawn) == names
    for svg, pdf in drawn.values():
        assert svg.startswith("<svg") and pdf.startswith(b"%PDF")
    picture = drawn["by_attack"][0]
    assert picture.index("A0&amp;") and "(60)" in picture and "good one" in picture


def test_command_writes_report_and_pictures(files, tmp_path, capsys):
    (systems, keys), out = files, tmp_path / "out"
    command = ["evaluate", "--keys", str(keys), "--replicas", "0"]
    for name, path in systems.items():
        command += ["--scores", f"{name}={path}"]
    command += ["--html", f"{out}/report.html", "--figures", f"{out}/figures"]
    assert cli.main(command) == 0
    assert "Without intervals" in capsys.readouterr().out
    webpages.needs_no_network((out / "report.html").read_text())
    found = {path.name for path in (out / "figures").iterdir()}
    assert {"det.svg", "det.pdf", "by_attack.pdf", "reliability.svg"} <= found
    assert cli.main([*command, "--html", "/dev/null/report.html"]) == 2
    assert "cannot write to /dev/null" in capsys.readouterr().err


def test_odd_scores_can_be_drawn(files, tmp_path):
    """Constant, inverted and perfect ones."""
    _, keys = files
    label = np.arange(N) % 4 == 0
    for scores in (np.full(N, 1e9), -3.0 * label, 1e-3 * label):
        path = tmp_path / "odd.txt"
        score_files.write(path, [f"u{i}" for i in range(N)], scores, "csv")
        found = evaluate.evaluate({"odd": path}, keys, replicas=40)
        page = report.html(found, figures.draw(found))
        webpages.needs_no_network(page)
        assert all(escape(w) in page for w in found.systems["odd"].warnings)


def test_of_many_conditions_the_hardest_are_drawn(files):
    found = evaluate.evaluate(*files, by=["speaker"], replicas=50)
    parts = found.systems["good one"].parts["speaker"]
    assert len(parts) == 11
    assert "low" not in parts["s0"].to_json()  # one speaker: nothing to resample
    svg, _ = figures.draw(found, rows=4)["by_speaker"]
    assert "the 4 hardest of 11" in svg


@pytest.mark.full
@pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium")
def test_chromium_opens_it_without_a_request_or_a_message(page, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(page)
    urls, said = webpages.opened_in_chromium(path, tmp_path / "profile")
    assert urls == [path.as_uri()]
    assert said == []
    path.write_text(page + '<script>console.error("x")</script><img src="http://a.b/">')
    urls, said = webpages.opened_in_chromium(path, tmp_path / "profile")
    assert len(urls) == 2 and said  # the check itself finds what it should
