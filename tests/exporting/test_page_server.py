"""The server of the page: headers, addresses, its end."""

import http.client
import os
import re
import signal
import subprocess
import sys
import threading

import pytest

from mldg_jax.common.errors import UserError
from mldg_jax.exporting.page_bundle import page_files
from mldg_jax.exporting.page_server import open_server, serve_run


@pytest.fixture
def server(tmp_path):
    (tmp_path / "site").mkdir()
    for name in ("index.html", "page.js", "ort.mjs", "ort.wasm.gz"):
        (tmp_path / "site" / name).write_text(name)
    (tmp_path / "secret.txt").write_text("secret")
    with open_server(tmp_path / "site", 0) as opened:
        threading.Thread(target=opened.serve_forever, daemon=True).start()
        yield opened
        opened.shutdown()


def ask(server, path, method="GET"):
    connection = http.client.HTTPConnection(*server.server_address, timeout=10)
    connection.request(method, path)
    answer = connection.getresponse()
    return answer, answer.read().decode()


def test_every_answer_has_the_headers_of_threads_and_a_policy(server, capfd):
    for path, status in (("/", 200), ("/none", 404)):
        answer, _ = ask(server, path)
        assert answer.status == status
        assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert capfd.readouterr() == ("", "")


def test_modules_are_javascript_and_packed_files_stay_packed(server):
    kinds = {"/page.js": "text/javascript", "/ort.mjs": "text/javascript"}
    kinds["/ort.wasm.gz"] = "application/octet-stream"
    for path, kind in kinds.items():
        answer, _ = ask(server, path)
        assert answer.headers["Content-Type"] == kind
        assert answer.headers["Content-Encoding"] is None


def test_nothing_outside_the_folder_is_served(server):
    for path in ("/../secret.txt", "/%2e%2e/secret.txt", "//secret.txt"):
        answer, text = ask(server, path)
        assert answer.status == 404 and "secret" not in text.replace(path, "")
    assert ask(server, "/page.js", "POST")[0].status == 501


def test_only_this_machine_is_answered(server):
    assert server.server_address[0] == "127.0.0.1"


def test_a_port_in_use_or_out_of_range_is_refused(server, tmp_path):
    port = server.server_address[1]
    with pytest.raises(UserError, match=f"port {port} is in use: .*--port 0"):
        open_server(tmp_path, port)
    with pytest.raises(UserError, match="port 70000; it must be 0"):
        open_server(tmp_path, 70_000)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_quietly(smoke_run, tmp_path, number):
    program = f"""
import functools, signal, sys
# as in a terminal, also where the tests run under nohup
signal.signal(signal.SIGINT, signal.default_int_handler)
from mldg_jax import cli
from mldg_jax.exporting import browser_page
from tests.exporting.fake_runtime import PACKAGE, TARBALL
export = functools.partial(browser_page.export_run, package=PACKAGE)
browser_page.export_run = export
open({str(tmp_path / "a.tgz")!r}, "wb").write(TARBALL)
sys.exit(cli.main(["serve", {str(smoke_run)!r}, "--port", "0", "--no-open",
                   "--runtime", {str(tmp_path / "a.tgz")!r}]))
"""
    (tmp_path / "tmp").mkdir()
    with subprocess.Popen(
        [sys.executable, "-u", "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
    ) as process:
        try:
            line = process.stdout.readline()
            port = int(re.findall(r"http://127\.0\.0\.1:(\d+)/", line)[0])
            connection = http.client.HTTPConnection("127.0.0.1", port)
            connection.request("GET", "/detector.json")
            assert connection.getresponse().status == 200
            connection.close()
            process.send_signal(number)
            output, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0 and not output and "Traceback" not in errors
    assert not list((tmp_path / "tmp").glob("mldg-*"))


def test_the_folder_of_a_page_is_served_as_it_is(tmp_path):
    for name in page_files():
        (tmp_path / name).write_text(f"mine: {name}")
    answers = []

    def opened(address):
        port = int(re.findall(r":(\d+)/", address)[0])

        def visit():
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", "/")
            answers.append(connection.getresponse().read())
            os.kill(os.getpid(), signal.SIGTERM)  # (nohup would ignore SIGINT)

        threading.Thread(target=visit, daemon=True).start()

    serve_run(tmp_path, 0, opened=opened)
    assert answers == [b"mine: index.html"]
    with pytest.raises(UserError, match="--runtime does not apply"):
        serve_run(tmp_path, 0, opened=opened, runtime="x.tgz")
    (tmp_path / "page.js").unlink()
    with pytest.raises(UserError, match=r"neither a run nor a page .* not page\.js"):
        serve_run(tmp_path, 0, opened=opened)
