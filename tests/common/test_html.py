"""Templates escape their values and ship with the package."""

import re
import shutil
import subprocess

import jinja2
import pytest

from mldg_jax.common import html

NASTY = '"><script>alert(1)</script>&'


def test_tables_are_escaped():
    text = html.html_table(([NASTY, NASTY], [[NASTY, NASTY], ["plain", "1"]]))
    assert "<script" not in text and text.count("&lt;script&gt;") == 4
    assert '<tr><th scope="row">plain</th><td>1</td></tr>' in text


def test_a_title_is_escaped_and_a_missing_value_is_an_error():
    assert "<title>&#34;&gt;&lt;script" in html.render("page.html", title=NASTY)
    with pytest.raises(jinja2.UndefinedError, match="title"):
        html.render("page.html")


def test_only_the_pictures_of_matplotlib_are_not_escaped():
    loader = jinja2.PackageLoader("mldg_jax.common")
    sources = {x: loader.get_source(None, x)[0] for x in loader.list_templates()}
    unescaped = {x: n for x, text in sources.items() if (n := text.count("safe"))}
    assert unescaped == {"parts.html": 1}
    assert not any("autoescape" in text for text in sources.values())


def test_every_table_and_picture_is_in_a_container_that_scrolls():
    container = '<div class="scroll" tabindex="0" role="region" aria-label="'
    loader = jinja2.PackageLoader("mldg_jax.common")
    for name in loader.list_templates():
        text = loader.get_source(None, name)[0]
        assert text.count("<table") == text.count(f'{container}table"><table'), name
        assert text.count("| safe") == text.count(f'{container}picture"'), name


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium")
def test_a_wide_table_does_not_widen_the_page(tmp_path):
    wide = html.html_table((["quantity"] * 40, [["a long value"] * 40]))
    script = (
        "<script>const e = document.documentElement, s = document.querySelector("
        "'.scroll'); document.title = [e.scrollWidth, e.clientWidth, s.scrollWidth, "
        "s.clientWidth, s.offsetHeight - s.clientHeight].join(' ')</script>"
    )
    page = tmp_path / "page.html"
    text = html.render("page.html", title="x")
    page.write_text(text.replace("</body>", wide + script + "</body>"))
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu"]
    command += [f"--user-data-dir={tmp_path}", "--window-size=600,800", "--dump-dom"]
    dom = subprocess.run(
        [*command, page.as_uri()], capture_output=True, text=True, check=True
    ).stdout
    title = re.findall(r"<title>([\d .]+)</title>", dom)[0]
    page_width, window, content, shown, bar = map(float, title.split())
    assert page_width == window
    assert content > 3 * shown  # so it scrolls,
    assert bar >= 8  # and its scroll bar takes up room, so it is seen
