"""Templates escape their values and ship with the package."""

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
