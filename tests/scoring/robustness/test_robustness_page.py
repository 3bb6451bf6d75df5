"""The report of a robustness evaluation: its numbers, its picture, and no network."""

import re

import pytest

from mldg_jax.scoring.robustness import robustness_page
from mldg_jax.scoring.robustness.score_drops import measure
from mldg_jax.scoring.scheme import Scheme
from tests import webpages
from tests.scoring.robustness.test_score_drops import case


@pytest.fixture(scope="module")
def result():
    keys, scored = case(failed=(3,))
    return measure('<script>&"', keys, scored, Scheme("together", replicates=60))


def test_page_needs_no_network_and_holds_every_number(result, tmp_path):
    page_path, *_, pdf = robustness_page.write(result, tmp_path)
    page = page_path.read_text()
    webpages.needs_no_network(page)
    webpages.ids_are_unique_and_found(page)
    assert "<script>&" not in page and pdf.read_bytes().startswith(b"%PDF")
    header, rows = robustness_page.table(result, titles=True)
    assert len(rows) == 3 and all(len(row) == len(header) for row in rows)
    visible = re.sub(r"<svg.*?</svg>", "", page, flags=re.DOTALL)
    for row in rows:
        for cell in filter(None, row):
            assert f">{cell}</t" in visible
    assert "g722: no score for 1 of 240 recordings" in visible


def test_picture_is_grouped_and_repeatable(result):
    svg, _ = robustness_page.picture(result)
    assert svg == robustness_page.picture(result)[0]
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    for text in ("codec", "G.722, 64 kbit/s", "EER", "HTER at the clean threshold"):
        assert text in texts


def test_text_has_the_rates_of_clean_first(result):
    lines = robustness_page.text(result).splitlines()
    head = next(i for i, line in enumerate(lines) if line.startswith("name"))
    assert lines[head + 1].startswith("clean") and lines[head + 2].startswith("g722")
    assert "240 of 240" in lines[head + 2]
