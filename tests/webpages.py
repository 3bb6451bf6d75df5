"""Checks of HTML pages, shared by the tests of several reports."""

import fcntl
import json
import os
import re
import subprocess
import time
from html.parser import HTMLParser


class Page(HTMLParser):
    """Collects tags and attributes and checks that elements are closed in order.

    Attributes:
      open: tags that are not closed yet.
      attributes: (tag, name, value).
      tags: of all elements.
    """

    VOID = ("meta", "link", "br", "img", "input", "!doctype")

    def __init__(self, text: str):
        super().__init__()
        self.open, self.attributes, self.tags = [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *attr) for attr in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *attr) for attr in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def needs_no_network(text: str) -> None:
    """Asserts that a page fetches nothing and runs no script.

    Args:
      text: of the page.
    """
    parsed = Page(text)
    fetched = ("src", "href", "xlink:href", "srcset", "data", "action", "poster")
    for _, name, value in parsed.attributes:
        if name in fetched:
            assert value.startswith(("#", "data:")), value
    assert not re.search(r"@import|url\((?!#)", text)
    outside = {value for _, name, value in parsed.attributes if "xmlns" in name}
    assert set(re.findall(r"https?://[^\s\"'<]+", text)) <= outside
    assert not {"script", "iframe", "object", "embed"} & set(parsed.tags)


def ids_are_unique_and_found(text: str) -> None:
    """Asserts that every reference inside a page has exactly one target.

    Args:
      text: of the page.
    """
    parsed = Page(text)
    ids = [value for _, name, value in parsed.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    used = [v for _, name, v in parsed.attributes if name == "xlink:href"]
    used += [v[4:-1] for _, name, v in parsed.attributes if name == "clip-path"]
    assert used
    inside = {value for value in used if not value.startswith("data:")}
    assert {value.removeprefix("#") for value in inside} <= set(ids)


def opened_in_chromium(path, profile) -> tuple[list[str], list[dict]]:
    """Opens a file in headless Chromium, controlled through its DevTools pipe.

    Args:
      path: of the file.
      profile: a folder for Chromium's user data.

    Returns:
      The URLs that the page requested, and its console messages and errors.
    """
    reads, writes = os.pipe(), os.pipe()
    theirs = [fcntl.fcntl(fd, fcntl.F_DUPFD, 20) for fd in (writes[0], reads[1])]
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu"]
    command += ["--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"]

    def inherit():  # Chromium expects the pipe at file descriptors 3 and 4
        os.dup2(theirs[0], 3)
        os.dup2(theirs[1], 4)

    browser = subprocess.Popen(
        command, preexec_fn=inherit, close_fds=False, stderr=subprocess.DEVNULL
    )
    events, buffer, count = [], b"", 0

    def send(method, session=None, **params):
        nonlocal buffer, count
        count += 1
        message = {"id": count, "method": method, "params": params}
        message |= {"sessionId": session} if session else {}
        os.write(writes[1], json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in buffer:
                buffer += os.read(reads[0], 1 << 20)
            text, buffer = buffer.split(b"\0", 1)
            reply = json.loads(text)
            if reply.get("id") == count:
                return reply["result"]
            events.append(reply)

    try:
        targets = send("Target.getTargets")["targetInfos"]
        (page,) = (x["targetId"] for x in targets if x["type"] == "page")
        session = send("Target.attachToTarget", targetId=page, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Network", "Runtime", "Log"):
            send(f"{domain}.enable", session)
        send("Page.navigate", session, url=path.as_uri())
        time.sleep(3)  # time for requests that a page makes after loading
        send("Runtime.evaluate", session, expression="1")
    finally:
        browser.terminate()
        browser.wait()
        for fd in (*reads, *writes, *theirs):
            os.close(fd)
    requests = [x for x in events if x["method"] == "Network.requestWillBeSent"]
    logged = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
    urls = [x["params"]["request"]["url"] for x in requests]
    return urls, [x for x in events if x["method"] in logged]
