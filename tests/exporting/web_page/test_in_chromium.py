"""The page in headless Chromium: its scores are those of ``mldg score``, and nothing
leaves the machine."""

import os
import shutil
import threading

import numpy as np
import pytest
import soundfile

from mldg_jax.data import audio
from mldg_jax.exporting import browser_page
from mldg_jax.exporting.page_server import open_server
from mldg_jax.scoring import scorer
from tests.exporting.web_page import recordings

pytestmark = pytest.mark.browser

FLAGS = (
    *("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
    *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),
)
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium of this machine."""
    from playwright.sync_api import sync_playwright

    path = os.environ.get("CHROMIUM") or next(
        filter(None, map(shutil.which, NAMES)), ""
    )
    assert path, "Chromium is not installed: apt-get install chromium, or set CHROMIUM"
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=path, args=[*FLAGS, *root], headless=True
        )
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def exports(smoke_run, tmp_path_factory):
    """The page as a folder and as one file."""
    folder = tmp_path_factory.mktemp("page")
    browser_page.export_run(smoke_run, folder / "site", "web")
    browser_page.export_run(smoke_run, folder / "a.html", "web", single_file=True)
    return folder


@pytest.fixture(scope="module")
def address(exports):
    """Where the folder is served."""
    with open_server(exports / "site", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


class Visit:
    """A page that has been opened, and what it requested and complained of."""

    def __init__(self, browser, address, **options):
        self.requests, self.errors = [], []
        self.context = browser.new_context(permissions=["microphone"], **options)
        self.page = self.context.new_page()
        self.page.on("request", lambda x: self.requests.append(x.url))
        self.page.on("pageerror", lambda x: self.errors.append(str(x)))
        self.page.on("console", lambda x: self.errors.append(x.text))
        self.page.goto(address)
        self.page.wait_for_selector("html[data-ready]", timeout=60_000)

    def score(self, path) -> float:
        """Gives it a file and returns the score that it shows."""
        return self.result(lambda: self.page.set_input_files("#file", path))

    def result(self, act) -> float:
        """Does something, waits for the score that it leads to, and returns it."""
        self.wait_for(act)
        problem = self.page.inner_text("#problem")
        assert not problem, problem
        return float(self.page.get_attribute("#score", "data-value"))

    def wait_for(self, act) -> None:
        """Does something and waits for its end."""
        before = int(self.page.get_attribute("html", "data-finished") or 0)
        act()
        self.page.wait_for_selector(f'html[data-finished="{before + 1}"]')


@pytest.fixture(scope="module")
def visit(browser, address):
    opened = Visit(browser, address)
    yield opened
    assert not opened.errors
    own = (address, f"blob:{address}")
    assert not [x for x in opened.requests if not x.startswith(own)]


@pytest.fixture(scope="module")
def detector(smoke_run):
    return scorer.load(smoke_run)


def expected(detector, path) -> float:
    return float(scorer.score_waveforms(detector, [audio.read(path)])[0])


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "m4a", "opus", "webm", "ogg"])
def test_scores_are_those_of_mldg_score(visit, detector, tmp_path, suffix, rate):
    path = recordings.write(tmp_path, suffix, rate)
    score = visit.score(path)
    assert score == pytest.approx(expected(detector, path), abs=1e-3)
    notes = visit.page.inner_text("#notes") if suffix == "ogg" else ""
    assert bool(notes) == (suffix == "ogg" and rate < 16_000)


def test_the_scores_differ_or_the_others_could_not_fail(detector, tmp_path):
    paths = [recordings.write(tmp_path, "wav", x) for x in (8_000, 16_000, 44_100)]
    assert np.ptp([expected(detector, x) for x in paths]) > 0.01


def test_opus_of_a_low_rate_is_said_to_differ(visit, tmp_path):
    path = tmp_path / "a.opus"
    soundfile.write(path, recordings.speech(16_000), 16_000, "OPUS", format="OGG")
    visit.score(path)
    assert "recorded at 24 kHz or less" in visit.page.inner_text("#notes")


def test_one_file_scores_from_disk_without_a_request(
    browser, exports, detector, tmp_path
):
    own = (exports / "a.html").as_uri()
    opened = Visit(browser, own)
    path = recordings.write(tmp_path, "wav", 44_100)
    score = opened.score(path)
    assert score == pytest.approx(expected(detector, path), abs=1e-3)
    assert not opened.errors
    others = [x for x in opened.requests if not x.startswith(("blob:", "data:"))]
    assert others == [own]
    opened.context.close()


def test_the_policy_stops_a_request_to_elsewhere(visit, address):
    elsewhere = "http://localhost:9/"
    code = f"fetch('{elsewhere}').then(() => 'sent', (x) => x.name)"
    page = visit.context.new_page()
    page.goto(address)
    blocked = []
    page.on("console", lambda x: blocked.append(x.text))
    assert page.evaluate(code) == "TypeError"
    assert any("Content Security Policy" in x for x in blocked)
    page.close()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "The file is empty."),
        (b"this is a text and no recording " * 50, "cannot decode"),
        (0.0, "Every sample is zero"),
        (np.nan, "NaN or infinite"),
    ],
)
def test_refusals_are_alerts(visit, tmp_path, content, message):
    path = tmp_path / "bad.wav"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        samples = np.full(16_000, content, np.float32)
        soundfile.write(path, samples, 16_000, "FLOAT")
    visit.wait_for(lambda: visit.page.set_input_files("#file", path))
    alert = visit.page.get_by_role("alert")
    assert "bad.wav: " in alert.inner_text() and message in alert.inner_text()
    assert not visit.page.is_visible("#result")


def test_a_drop_a_microphone_and_the_keyboard(visit, detector, tmp_path):
    page = visit.page
    path = recordings.write(tmp_path, "wav", 16_000)
    drop = """(bytes) => {
          const data = new DataTransfer();
          data.items.add(new File([new Uint8Array(bytes)], "dropped.wav"));
          document.getElementById("drop").dispatchEvent(
            new DragEvent("drop", { dataTransfer: data, bubbles: true }));
        }"""
    score = visit.result(lambda: page.evaluate(drop, list(path.read_bytes())))
    assert score == pytest.approx(expected(detector, path), abs=1e-3)
    assert page.get_by_role("heading", name="dropped.wav").is_visible()
    slider = page.get_by_role("slider", name="Score over time")
    slider.focus()
    page.keyboard.press("End")
    count = int(slider.get_attribute("aria-valuemax"))
    assert slider.get_attribute("aria-valuenow") == str(count) and count > 1
    page.keyboard.press("ArrowLeft")
    assert f"Segment {count - 1} of {count}" in slider.get_attribute("aria-valuetext")
    page.get_by_role("button", name="Record").click()
    page.get_by_role("button", name="Stop").wait_for()
    page.wait_for_timeout(1_500)  # the fake microphone beeps once a second
    score = visit.result(page.get_by_role("button", name="Stop").click)
    assert page.get_by_role("heading", name="Recording of").is_visible()
    assert np.isfinite(score)


def test_segment_scores_are_those_of_the_table(visit, detector, tmp_path):
    path = recordings.write(tmp_path, "wav", 16_000)
    visit.score(path)
    visit.page.get_by_text("Segment scores").first.click()
    with visit.page.expect_download() as download:
        visit.page.get_by_role("button", name="Save as a table").click()
    lines = download.value.path().read_text().splitlines()
    assert lines[:2] == ["# wav_16000.wav", "start\tend\tscore"]
    table = np.array([x.split("\t") for x in lines[2:]], float)
    found = next(scorer.stream(detector, [audio.read(path)]))
    windows = np.stack([found.start, found.end, found.score], 1)
    np.testing.assert_allclose(table, windows, atol=1e-3)


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_screen(browser, address, tmp_path, width):
    opened = Visit(browser, address, viewport={"width": width, "height": 800})
    long = tmp_path / ("a_long_name_without_any_space" * 5 + ".wav")
    recordings.write(tmp_path, "wav", 16_000).rename(long)
    opened.score(long)
    size = opened.page.evaluate("document.documentElement.scrollWidth")
    assert size == width
    opened.context.close()
