"""The demo's report: its numbers, its verdict, and that the page needs nobody."""

import base64
import copy
import io
import re
import wave

import numpy as np
import pytest

from mldg_jax.data.corpus import Corpus
from mldg_jax.experiments import demo, demo_figures, demo_page, demo_tables, statistics
from tests import webpages

TRAINED = {"A01", "A02", "A03"}
SPANS_ZERO = {"difference": -0.001, "low": -0.02, "high": 0.02}
_MADE: dict[str, object] = {}  # once for all tests: `corpus` is the same for each
NASTY = '"><script>alert(1)</script>&$x_1$'


@pytest.fixture
def scores(corpus) -> dict[str, np.ndarray]:
    """Three seeds of each arm; each arm separates better than the one before."""
    rng = np.random.default_rng(1)
    shift = dict(zip(demo.ARMS, (0.5, 1.0, 2.0, 2.0), strict=True))
    noise = rng.normal(size=(len(shift), 3, len(corpus.label)))
    return {
        arm: shift[arm] * corpus.label + own
        for arm, own in zip(shift, noise, strict=True)
    }


@pytest.fixture
def results(corpus, scores, monkeypatch) -> dict:
    """As of `demo.run_demo`, with 20 replicas."""
    monkeypatch.setattr(statistics, "REPLICAS", 20)
    if "results" not in _MADE:
        _MADE["results"] = _results(corpus, scores)
    return copy.deepcopy(_MADE["results"])


@pytest.fixture
def page(results, corpus, scores) -> str:
    """The whole report."""
    if "page" not in _MADE:
        _MADE["page"] = demo_page.html(results, corpus, scores)
    return _MADE["page"]


def _results(corpus, scores):
    results = demo.summarise(corpus, TRAINED, scores)
    for arm, one in results["arms"].items():
        one["trained_parameters"] = None if arm == "lfcc-gmm" else 12_345
        one["training"] = [] if arm == "lfcc-gmm" else [_log(arm) for _ in range(3)]
    results["config"] = {
        "corpus": {"config": "small", "name": "debspoof"},
        "steps": 40,
        "episode": {"meta_test": 1, "examples": 2},
        "selection": {"without": ["A01", "A02"]},
    }
    results["selection"] = {
        "chosen": {"mldg": {"optimizer.lr": 0.003, "objective.inner_lr": 0.03}},
        "candidates": [
            {"arm": "erm", "optimizer.lr": 0.001, "eer": 0.214},
            {"arm": "mldg", "objective.inner_lr": 0.03, "eer": 0.187},
        ],
    }
    results["corpus"] = {
        "corpus_sha256": "abc123",
        "clips": 130,
        "split_attack": {"train/bonafide": 7, "train/A01": 6, "eval/A04": 9},
        "split_label_speaker": {"train/bonafide/v0": 3, "train/bonafide/v1": 4},
        "audit": {"eer": {"random forest": 0.391}, "by_attack": {"A01": 0.275}},
    }
    results["seconds"] = 372.4
    return results


def _log(arm):
    lines = [{"step": s, "loss": 1 / s} for s in range(5, 45, 5)]
    if arm == "mldg":
        halves = {"meta_train_loss": 0.4, "meta_test_loss": 0.6, "gradient_cosine": 0.1}
        lines = [line | halves for line in lines]
    return lines


def test_page_needs_no_network(page):
    webpages.needs_no_network(page)


def test_page_says_everything(page, results, corpus):
    for title in demo.ARMS.values():
        assert page.count(title) > 2
    picture = page[page.index("<svg") : page.index("</svg>")]
    for attack in set(corpus.attack) - {"-"}:
        assert f"{attack} ({np.sum(corpus.attack == attack)})" in picture
    for text in (
        demo_tables.verdict(results, corpus),
        "debspoof small, split train (13 of 22 clips)",
        "2 human voices",
        "7 other human voices",
        "40 steps of 6 clips",
        "A01 and A02 held out",
        "objective.inner_lr 0.03",
        "<code>make demo</code>",
        "6 min 12 s",
        "abc123",
        "ATTRIBUTION.md",
        "21.4",
        "39.1",
        "27.5",
    ):
        assert text in page, text


def test_ids_are_unique_and_found(page):
    webpages.ids_are_unique_and_found(page)


def test_pictures_are_a_function_of_the_results(page, results, corpus, scores):
    first = demo_figures.figures(results, corpus, scores)
    assert all(svg in page for svg in first.values())  # drawn at another time
    assert set(first) == {"attacks", "det_unseen", "det_all", "loss", "cosine"}
    assert all(svg.startswith("<svg") for svg in first.values())


def test_players_hold_the_clips(page, results, corpus, scores):
    rows = demo_page.chosen_clips(results, corpus)
    sources = re.findall(r'<audio[^>]* src="data:audio/wav;base64,([^"]+)"', page)
    assert len(sources) == len(rows) == 6
    for row, source in zip(rows, sources, strict=True):
        with wave.open(io.BytesIO(base64.b64decode(source))) as file:
            assert (file.getframerate(), file.getnchannels()) == (16_000, 1)
            clip = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        np.testing.assert_array_equal(clip, corpus.audio[row])
        assert corpus.utterance[row] in page
        for each in scores.values():
            assert f"{each[:, row].mean():+.2f}".replace("-", "−") in page


def test_players_are_different_voices_and_unseen_attacks(results, corpus):
    rows = demo_page.chosen_clips(results, corpus)
    assert corpus.label[rows].tolist() == [1, 1, 1, 0, 0, 0]
    assert len(set(corpus.speaker[rows])) == 6
    assert set(corpus.attack[rows[3:]]) == {"A04", "A05", "A06"}


@pytest.mark.parametrize(
    ("low", "high", "says"),
    [
        (-0.02, 0.02, "LoRA MLDG and LoRA ERM cannot be told apart"),
        (-0.04, -0.02, "LoRA MLDG has a lower EER than LoRA ERM"),
        (0.02, 0.04, "LoRA ERM has a lower EER than LoRA MLDG"),
    ],
)
def test_verdict_follows_the_intervals(results, corpus, low, high, says):
    for pair in results["differences"].values():
        pair.update({name: dict(SPANS_ZERO) for name in pair})
    one = {"difference": (low + high) / 2, "low": low, "high": high}
    results["differences"]["mldg - erm"] = dict.fromkeys(demo_tables.SETS, one)
    text = demo_tables.verdict(results, corpus)
    assert says in text
    assert text.count("has a lower EER") == (low * high > 0)
    assert "7 human voices" in text
    assert "3 seeds" in text
    assert "not ASVspoof" in text
    interval = f"[{100 * low:+.1f}, {100 * high:+.1f}]".replace("-", "−")
    assert interval in text
    assert text.count(". ") == 0  # one sentence


def test_verdict_names_where_it_holds(results, corpus):
    better = {"difference": -0.03, "low": -0.05, "high": -0.01}
    results["differences"]["erm - frozen"] = {
        "pooled": better, "seen": better, "unseen": SPANS_ZERO, "macro": better,
    }  # fmt: skip
    assert (
        "LoRA ERM has a lower EER than frozen + head pooled over attacks and in macro "
        "EER, but LoRA ERM and frozen + head cannot be told apart on unseen families"
    ) in demo_tables.verdict(results, corpus)


def test_tables_hold_the_numbers(results):
    text, mark = demo_tables.table(results), demo_tables.markdown(results)
    lines = text.splitlines()
    for place, arm in enumerate(results["arms"].values()):
        cells = re.split(r"\s{2,}", lines[1 + place])
        assert cells[:2] == [
            arm["title"],
            "–" if arm["trained_parameters"] is None else "12,345",
        ]
        for cell, name in zip(cells[2:], demo_tables.SETS, strict=True):
            rate = arm["eer"][name]
            numbers = [float(x) for x in re.findall(r"[\d.]+", cell)]
            expected = [100 * rate[k] for k in ("eer", "low", "high")]
            np.testing.assert_allclose(numbers, expected, atol=0.0501)
    pairs = [re.split(r"\s{2,}", line) for line in lines[-5:-1]]
    assert [p[0].replace("−", "-") for p in pairs] == list(demo_tables.DIFFERENCES)
    for first, *cells in pairs:
        for cell, name in zip(cells, demo_tables.SETS, strict=True):
            one = results["differences"][first.replace("−", "-")][name]
            found = re.findall(r"[+−][\d.]+", cell)
            numbers = [float(x.replace("−", "-")) for x in found]
            expected = [100 * one[k] for k in ("difference", "low", "high")]
            np.testing.assert_allclose(numbers, expected, atol=0.0501)
            assert cell.endswith("*") == (one["low"] > 0 or one["high"] < 0)

    def numbers(text):
        return re.findall(r"[+−]?\d+\.\d", text)

    assert numbers(mark) == numbers(text)


def test_markdown_is_two_tables(results):
    lines = demo_tables.markdown(results).splitlines()
    rules = [i for i, line in enumerate(lines) if line.startswith("| --- | ---: |")]
    assert len(rules) == 2
    for rule in rules:
        columns = lines[rule].count("|")
        assert lines[rule - 1].count("|") == lines[rule + 1].count("|") == columns


def test_missing_intervals_and_extras(page, results, corpus, scores):
    """A point without an interval, and no more than `demo.summarise` gives."""
    bare = copy.deepcopy({k: results[k] for k in ("attacks", "arms", "differences")})
    for arm in bare["arms"].values():
        arm.pop("training")
        arm.pop("trained_parameters")
        arm["by_attack"]["A04"] |= {"low": None, "high": None}
        arm["eer"]["seen"] |= {"low": None, "high": None}
    bare["corpus"] = {"split_attack": {}, "audit": {}}
    less = demo_page.html(bare, corpus, scores)
    for text, lacking in (("A point without a line", page), ("Training loss", less)):
        assert text in less + page
        assert text not in lacking
    visible = re.sub(r"<svg.*?</svg>|base64,[^\"]*", "", less, flags=re.DOTALL)
    assert "None" not in visible + demo_tables.table(bare)


def test_strings_are_escaped(corpus, scores, results):
    nasty = corpus._replace(
        utterance=np.array([NASTY + name for name in corpus.utterance]),
        attack=np.array([NASTY + a if a == "A04" else a for a in corpus.attack]),
        language=np.full(len(corpus.label), NASTY),
    )
    fresh = demo.summarise(nasty, TRAINED, scores)
    fresh["arms"]["erm"]["title"] = NASTY
    fresh["corpus"] = results["corpus"] | {
        "corpus_sha256": NASTY,
        "audit": {"eer": {NASTY: 0.4}, "by_attack": {NASTY: 0.4}, "best": NASTY},
        "split_attack": {f"train/{NASTY.replace('/', '')}": 1},
        "differs_from_readme": NASTY,
    }
    fresh["selection"] = {"candidates": [{NASTY: NASTY, "eer": 0.1}], "chosen": {}}
    page = demo_page.html(fresh, nasty, scores)
    assert "<script" not in page
    assert "script" not in webpages.Page(page).tags


def test_takes_a_corpus_of_one_unseen_family(corpus, scores, monkeypatch):
    monkeypatch.setattr(statistics, "REPLICAS", 20)
    few: Corpus = corpus.take(np.isin(corpus.attack, ["-", "A01", "A04"]))
    kept = np.isin(corpus.attack, ["-", "A01", "A04"])
    own = {arm: one[:, kept] for arm, one in scores.items()}
    results = demo.summarise(few, {"A01"}, own)
    page = demo_page.html(results, few, own)
    assert "1 unseen family (A04)" in page
    assert page.count("<audio") == 5
