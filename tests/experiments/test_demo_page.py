"""The demo's report: its numbers, its verdict, and that the page is self-contained."""

import base64
import dataclasses
import io
import re
import wave

import matplotlib
import numpy as np
import pytest
from sklearn.metrics import roc_curve

from mldg_jax.common import plots
from mldg_jax.common.error_rates import Difference
from mldg_jax.data.corpus import Corpus
from mldg_jax.experiments import (
    demo,
    demo_figures,
    demo_page,
    demo_story,
    method_tables,
)
from mldg_jax.experiments.demo_story import Story
from mldg_jax.experiments.results import MethodResult, compare_scores
from mldg_jax.experiments.scored_tests import Scored
from mldg_jax.experiments.selection import Candidate, Selection
from mldg_jax.experiments.statistics import SCHEME
from tests import webpages

TRAINED = {"A01", "A02", "A03"}
SPANS_ZERO = Difference(-0.001, -0.02, 0.02, 0.9)
TWENTY = dataclasses.replace(SCHEME, replicates=20)
_MADE: dict[str, object] = {}  # once for all tests: `corpus` is the same for each
NASTY = '"><script>alert(1)</script>&$x_1$'


@pytest.fixture
def scored(corpus) -> Scored:
    """Three seeds of each method; each method separates better than the one before."""
    rng = np.random.default_rng(1)
    shift = dict(zip(demo.METHODS, (0.5, 1.0, 2.0, 2.0), strict=True))
    noise = rng.normal(size=(len(shift), 3, len(corpus.label)))
    scores = {
        method: shift[method] * corpus.label + own
        for method, own in zip(shift, noise, strict=True)
    }
    return Scored(corpus, scores)


@pytest.fixture
def story(scored) -> Story:
    """A story as from ``demo.run_demo``, with 20 bootstrap replicates."""
    if "story" not in _MADE:
        _MADE["story"] = _story(scored)
    return _MADE["story"]


@pytest.fixture
def page(story, scored) -> str:
    """The whole report."""
    if "page" not in _MADE:
        _MADE["page"] = demo_page.html(story, scored)
    return _MADE["page"]


def compare(scored, trained):
    rows = {
        method: MethodResult(method, title, None if method == "lfcc-gmm" else 12_345)
        for method, title in demo.METHODS.items()
    }
    return compare_scores(
        rows, {"eval": [scored]}, trained, demo.PAIRS, titles=demo.TITLES,
        by_attack=True, scheme=TWENTY,
    )  # fmt: skip


def _story(scored):
    return Story(
        compare(scored, TRAINED),
        training={
            method: [] if method == "lfcc-gmm" else [_log(method) for _ in range(3)]
            for method in demo.METHODS
        },
        config={
            "corpus": {"config": "small", "name": "debspoof"},
            "steps": 40,
            "episode": {"num_meta_test": 1, "examples_per_attack": 2},
            "selection": {"held_out": ["A01", "A02"]},
        },
        selection=Selection(
            {"mldg": {"optimizer.lr": 0.003, "objective.inner_lr": 0.03}},
            [
                Candidate("erm", {"optimizer.lr": 0.001}, (0.210, 0.218)),
                Candidate("mldg", {"objective.inner_lr": 0.03}, (0.187,)),
            ],
        ),
        corpus={
            "corpus_sha256": "abc123",
            "clips": 130,
            "split_attack": {"train/bonafide": 7, "train/A01": 6, "eval/A04": 9},
            "split_label_speaker": {"train/bonafide/v0": 3, "train/bonafide/v1": 4},
            "audit": {"eer": {"random forest": 0.391}, "by_attack": {"A01": 0.275}},
        },
        seconds=372.4,
    )


def _log(method):
    lines = [{"step": s, "loss": 1 / s} for s in range(5, 45, 5)]
    if method == "mldg":
        halves = {"meta_train_loss": 0.4, "meta_test_loss": 0.6, "gradient_cosine": 0.1}
        lines = [line | halves for line in lines]
    return lines


def test_page_needs_no_network(page):
    webpages.needs_no_network(page)


def test_page_says_everything(page, story, corpus):
    for title in demo.METHODS.values():
        assert page.count(title) > 2
    picture = page[page.index("<svg") : page.index("</svg>")]
    for attack in set(corpus.attack) - {"-"}:
        assert f"{attack} ({np.sum(corpus.attack == attack)})" in picture
    for text in (
        demo_story.verdict(story.comparison, corpus),
        SCHEME.sentence().replace("2,000", "20"),
        "debspoof small, split train (13 of 22 utterances)",
        "2 human speakers",
        "7 other human speakers",
        "40 steps of 6 utterances",
        "A01 and A02 held out",
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


def test_pictures_are_a_function_of_the_results(page, story, scored):
    first = demo_figures.figures(story, scored)
    assert all(svg in page for svg in first.values())  # drawn at another time
    assert set(first) == {"attacks", "det_unseen", "det_all", "loss", "cosine"}
    assert all(svg.startswith("<svg") for svg in first.values())


def test_hyper_parameters_are_a_table(page, story):
    (header, rows), note = demo_story.hyper_parameters(story)
    assert header == ["hyper-parameter", "in the config", "LoRA, MLDG"]
    assert rows == [
        ["learning rate of the adapters", "optimizer.lr", "0.003"],
        ["inner learning rate of MLDG", "objective.inner_lr", "0.03"],
    ]
    assert "<td>objective.inner_lr</td><td>0.03</td>" in page and note in page


def test_candidates_have_the_rates_of_their_seeds_in_per_cent(page):
    assert "<td>21.4</td><td>21.0, 21.8</td>" in page and "[0.21" not in page


def test_the_page_says_how_far_apart_the_curves_are(story, scored):
    logs = {
        "erm": [[{"step": s, "loss": 0.5} for s in range(5, 45, 5)]],
        "mldg": [_log("mldg")],  # the mean of its halves is 0.5
    }
    steps, values = demo_figures.loss_difference(
        dataclasses.replace(story, training=logs)
    )
    np.testing.assert_array_equal(steps, range(5, 45, 5))
    np.testing.assert_allclose(values, 0, atol=1e-12)
    logs["mldg"][0][3]["loss"] = 0  # which is not what is drawn
    logs["mldg"][0][3]["meta_test_loss"] = 1.6
    changed = dataclasses.replace(story, training=logs)
    _, values = demo_figures.loss_difference(changed)
    # at the second point, whose window is one shorter
    assert values.max() == pytest.approx(0.5 / (demo_figures.SMOOTHING - 1))
    page = demo_page.html(changed, scored)
    assert "LoRA MLDG and LoRA ERM: at most 0.125 nats" in " ".join(page.split())
    assert demo_figures.loss_difference(Story(story.comparison)) is None


def test_the_distance_of_two_det_curves(corpus):
    """Compares with scikit-learn's curves, read at every rate of accepted spoofs."""
    rng = np.random.default_rng(0)
    scores = {x: corpus.label + rng.normal(size=(1, len(corpus.label))) for x in "em"}
    test = Scored(corpus, {"erm": scores["e"], "mldg": scores["m"]})
    rejected = []
    for each in scores.values():
        accepted, detected, _ = roc_curve(
            corpus.label, each[0], drop_intermediate=False
        )
        # of the points with one rate of accepted spoofs, the last before it rises
        levels = np.unique(accepted)[1:]
        rejected.append([1 - detected[accepted < x].max() for x in levels])
    expected = np.abs(np.subtract(*rejected)).max()
    assert demo_figures.det_difference(test, None) == pytest.approx(expected)
    assert expected > 0
    assert demo_figures.det_difference(Scored(corpus, {}), None) is None


def test_no_legend_is_inside_the_axes(story, scored):
    """A legend on top of curves hid the name of a method."""
    with matplotlib.rc_context(plots.OPTIONS):
        figures = [
            demo_figures._loss(story),
            demo_figures._cosine(story),
            demo_figures._det(story.comparison, scored, None, "All"),
        ]
        for figure in figures:
            figure.draw_without_rendering()
            (legend,) = figure.legends
            box = legend.get_window_extent()
            assert not any(ax.get_legend() for ax in figure.axes)
            assert not any(box.overlaps(ax.get_window_extent()) for ax in figure.axes)
            assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1


def test_players_hold_the_clips(page, story, scored, corpus):
    rows = demo_page.chosen_clips(story.comparison, corpus)
    sources = re.findall(r'<audio[^>]* src="data:audio/wav;base64,([^"]+)"', page)
    assert len(sources) == len(rows) == 6
    for row, source in zip(rows, sources, strict=True):
        with wave.open(io.BytesIO(base64.b64decode(source))) as file:
            assert (file.getframerate(), file.getnchannels()) == (16_000, 1)
            clip = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        np.testing.assert_array_equal(clip, corpus.audio[row])
        assert corpus.utterance[row] in page
        for each in scored.scores.values():
            assert f"{each[:, row].mean():+.2f}".replace("-", "−") in page


def test_players_are_different_voices_and_unseen_attacks(story, corpus):
    rows = demo_page.chosen_clips(story.comparison, corpus)
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
def test_verdict_follows_the_intervals(story, corpus, low, high, says):
    differences = {
        pair: dict.fromkeys(found, SPANS_ZERO)
        for pair, found in story.comparison.differences.items()
    }
    one = Difference((low + high) / 2, low, high, 0.5)
    differences["mldg", "erm"] = dict.fromkeys(demo.TITLES, one)
    changed = dataclasses.replace(story.comparison, differences=differences)
    text = demo_story.verdict(changed, corpus)
    assert says in text
    assert text.count("has a lower EER") == (low * high > 0)
    assert "7 human speakers" in text
    assert "3 seeds" in text
    assert "not ASVspoof" in text
    interval = f"[{100 * low:+.1f}, {100 * high:+.1f}]".replace("-", "−")
    assert interval in text
    # Once it was one sentence of 90 words.
    assert max(len(x.split()) for x in text.split(". ")) <= 35


def test_verdict_names_where_it_holds(story, corpus):
    better = Difference(-0.03, -0.05, -0.01, 0.01)
    found = {
        "pooled": better, "seen": better, "unseen": SPANS_ZERO, "macro": better,
    }  # fmt: skip
    differences = {**story.comparison.differences, ("erm", "frozen"): found}
    changed = dataclasses.replace(story.comparison, differences=differences)
    assert (
        "LoRA ERM has a lower EER than frozen + head pooled over attacks and in macro "
        "EER, but LoRA ERM and frozen + head cannot be told apart on unseen families"
    ) in demo_story.verdict(changed, corpus)


def test_tables_hold_the_numbers(story):
    comparison = story.comparison
    text = method_tables.text(comparison, detailed=False)
    mark = method_tables.markdown(comparison, detailed=False)
    lines = text.splitlines()
    for place, method in enumerate(comparison.rows.values()):
        cells = re.split(r"\s{2,}", lines[1 + place])
        assert cells[:2] == [
            method.title,
            "–" if method.parameters is None else "12,345",
        ]
        for cell, name in zip(cells[2:], demo.TITLES, strict=True):
            rate = method.eer[name]
            numbers = [float(x) for x in re.findall(r"[\d.]+", cell)]
            expected = [100 * x for x in (rate.eer, rate.low, rate.high)]
            np.testing.assert_allclose(numbers, expected, atol=0.0501)
    pairs = [re.split(r"\s{2,}", line) for line in lines[-5:-1]]
    assert [tuple(p[0].split(" − ")) for p in pairs] == list(demo.PAIRS)
    for first, *cells in pairs:
        for cell, name in zip(cells, demo.TITLES, strict=True):
            one = comparison.differences[tuple(first.split(" − "))][name]
            found = re.findall(r"[+−][\d.]+", cell)
            numbers = [float(x.replace("−", "-")) for x in found]
            expected = [100 * x for x in (one.difference, one.low, one.high)]
            np.testing.assert_allclose(numbers, expected, atol=0.0501)
            assert cell.endswith("*") == (one.low > 0 or one.high < 0)

    def numbers(text):
        return re.findall(r"[+−]?\d+\.\d", text)

    assert numbers(mark) == numbers(text)


def test_markdown_is_two_tables(story):
    lines = method_tables.markdown(story.comparison, detailed=False).splitlines()
    rules = [i for i, line in enumerate(lines) if line.startswith("| --- | ---: |")]
    assert len(rules) == 2
    for rule in rules:
        columns = lines[rule].count("|")
        assert lines[rule - 1].count("|") == lines[rule + 1].count("|") == columns


def test_missing_intervals_and_extras(page, story, scored):
    """A point may lack its interval, and a story may be only a comparison."""

    def bare(row):
        by_attack = {**row.by_attack, "A04": unbounded(row.by_attack["A04"])}
        eer = {**row.eer, "seen": unbounded(row.eer["seen"])}
        return dataclasses.replace(row, parameters=None, by_attack=by_attack, eer=eer)

    def unbounded(rate):
        return dataclasses.replace(rate, low=None, high=None)

    rows = {method: bare(row) for method, row in story.comparison.rows.items()}
    comparison = dataclasses.replace(story.comparison, rows=rows)
    corpus = {"split_attack": {}, "audit": {}}
    less = demo_page.html(Story(comparison, corpus=corpus), scored)
    for text, lacking in (("A point without a line", page), ("Training loss", less)):
        assert text in less + page
        assert text not in lacking
    visible = re.sub(r"<svg.*?</svg>|base64,[^\"]*", "", less, flags=re.DOTALL)
    assert "None" not in visible + method_tables.text(comparison, detailed=False)


def test_strings_are_escaped(corpus, scored, story):
    nasty = corpus._replace(
        utterance=np.array([NASTY + name for name in corpus.utterance]),
        attack=np.array([NASTY + a if a == "A04" else a for a in corpus.attack]),
        language=np.full(len(corpus.label), NASTY),
    )
    test = Scored(nasty, scored.scores)
    comparison = compare(test, TRAINED)
    erm = dataclasses.replace(comparison.rows["erm"], title=NASTY)
    comparison = dataclasses.replace(comparison, rows=comparison.rows | {"erm": erm})
    facts = story.corpus | {
        "corpus_sha256": NASTY,
        "audit": {"eer": {NASTY: 0.4}, "by_attack": {NASTY: 0.4}, "best": NASTY},
        "split_attack": {f"train/{NASTY.replace('/', '')}": 1},
        "differs_from_readme": NASTY,
    }
    candidate = Candidate(NASTY, {NASTY: NASTY}, (0.1,))
    selection = Selection({}, [candidate])
    page = demo_page.html(Story(comparison, corpus=facts, selection=selection), test)
    assert "<script" not in page
    assert "script" not in webpages.Page(page).tags


def test_takes_a_corpus_of_one_unseen_family(corpus, scored):
    kept = np.isin(corpus.attack, ["-", "A01", "A04"])
    few: Corpus = corpus.take(kept)
    test = Scored(few, {method: one[:, kept] for method, one in scored.scores.items()})
    page = demo_page.html(Story(compare(test, {"A01"})), test)
    assert "1 unseen family (A04)" in page
    assert page.count("<audio") == 5
