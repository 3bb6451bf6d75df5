"""One HTML file from the page's modules: its policy fits it, and it needs no other."""

import base64
import hashlib
import re

import pytest

from mldg_jax.exporting.page_bundle import (
    PAGE,
    bundle,
    folder_policy,
    page_files,
    single_page,
    with_policy,
)
from tests.exporting.fake_runtime import CONTENTS, LOADER
from tests.webpages import Page

FILES = page_files()


def policy_of(page: str) -> dict[str, str]:
    text = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    return dict(part.strip().split(" ", 1) for part in text.split(";"))


@pytest.fixture(scope="module")
def page() -> str:
    return single_page({"a.bin": b"\0\xff"}, CONTENTS[LOADER].decode(), "MIT -- text")


def test_modules_come_before_those_that_import_them():
    text = bundle("worker.js", FILES)
    assert not re.search(r"^(import|export)\b", text, re.MULTILINE)
    places = [
        text.index(x) for x in ("function resample(", "function prepare(", "onmess")
    ]
    assert places == sorted(places)
    assert text.count("function resample(") == 1  # though two modules import it


def test_no_two_declarations_of_a_bundle_have_one_name():
    for name in ("page.js", "worker.js"):
        declared = re.findall(
            r"^(?:async )?(?:function|const|let|class) (\w+)", bundle(name, FILES), re.M
        )
        assert len(declared) == len(set(declared)) > 5


def test_every_module_is_used():
    modules = {x for x in FILES if x.endswith(".js")}
    text = "".join(FILES.values())
    assert all(f'"./{x}"' in text or f'"{x}"' in text for x in modules)


def test_the_policy_allows_the_inline_code_alone(page):
    policy = policy_of(page)
    for tag, directive in (("script", "script-src"), ("style", "style-src")):
        text = re.search(rf"<{tag}(?: type=\"module\")?>(.*?)</{tag}>", page, re.S)[1]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy[directive]
    assert policy["default-src"] == policy["connect-src"] == "'none'"
    assert "'unsafe-inline'" not in str(policy) and "'unsafe-eval'" not in str(policy)
    assert "http" not in str(policy) and "*" not in str(policy)


def test_one_file_refers_to_no_other(page):
    parsed = Page(page)
    links = [(t, v) for t, n, v in parsed.attributes if n in ("src", "href", "action")]
    assert links == [("link", "data:,")]
    assert "url(" not in page and "@import" not in page
    assert "<!--\nMIT - - text-->" in page


def test_one_file_has_the_assets(page):
    blocks = dict(
        re.findall(r'<script type="text/plain" id="asset:(.*?)">(.*?)</', page)
    )
    assert base64.b64decode(blocks["a.bin"]) == b"\0\xff"
    worker = base64.b64decode(blocks["worker.js"]).decode()
    # a worker of a page on disk is a script: it cannot import, nor be imported
    assert "import.meta" not in worker and not re.search(r"export\s*\{", worker)
    assert 'return {"Tensor":a,"InferenceSession":b};' in worker
    assert "registerProcessor" in base64.b64decode(blocks["capture.js"]).decode()


def test_a_folder_refers_to_its_own_files():
    page = with_policy(FILES[PAGE], folder_policy())
    assert policy_of(page)["connect-src"] == "'self'"
    links = {v for _, n, v in Page(page).attributes if n in ("src", "href")}
    assert links == {"data:,", "style.css", "page.js"} and links - {"data:,"} < set(
        FILES
    )
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", "".join(FILES.values()))


def test_every_control_has_a_name():
    page = FILES[PAGE]
    for text in re.findall(r"<(?:audio|progress|section)\b[^>]*>", page):
        assert "aria-label" in text or "<section>" in text
    assert '<label for="file"' in page and 'role="slider"' in page
    assert 'lang="en"' in page and 'aria-live="polite"' in page
