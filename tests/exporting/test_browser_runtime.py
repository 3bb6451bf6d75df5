"""What is fetched, from where, and that nothing else is taken for it."""

import functools
import http.server
import threading

import pytest

from mldg_jax.common.errors import UserError
from mldg_jax.exporting import browser_runtime
from mldg_jax.exporting.browser_runtime import LOADER, WASM, read_runtime
from tests.exporting.fake_runtime import CONTENTS, PACKAGE, TARBALL, tarball


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache folder of the test's own, and no registry."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9")  # (discard)
    return tmp_path / "cache" / "mldg_jax" / "onnxruntime-web-9.9.9.tgz"


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """A registry on this machine: the folder of its one package, and what was asked."""
    folder = tmp_path / "registry" / "onnxruntime-web" / "-"
    folder.mkdir(parents=True)
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format, *args):
            asked.append(self.path)

    handler = functools.partial(Handler, directory=str(tmp_path / "registry"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_address[1]
        monkeypatch.setenv("npm_config_registry", f"http://127.0.0.1:{port}/")
        yield folder, asked
        server.shutdown()


def test_it_is_fetched_once(registry, cache):
    folder, asked = registry
    (folder / PACKAGE.tarball).write_bytes(TARBALL)
    assert read_runtime(package=PACKAGE) == CONTENTS
    assert cache.read_bytes() == TARBALL
    assert read_runtime(package=PACKAGE) == CONTENTS
    assert asked == ["/onnxruntime-web/-/onnxruntime-web-9.9.9.tgz"]


def test_a_damaged_cache_is_fetched_again(registry, cache):
    folder, _ = registry
    (folder / PACKAGE.tarball).write_bytes(TARBALL)
    cache.parent.mkdir(parents=True)
    cache.write_bytes(TARBALL[:100])
    assert read_runtime(package=PACKAGE) == CONTENTS
    assert cache.read_bytes() == TARBALL


def test_another_tarball_is_refused_and_not_kept(registry, cache):
    folder, _ = registry
    (folder / PACKAGE.tarball).write_bytes(tarball({**CONTENTS, WASM: b"else"}))
    with pytest.raises(UserError, match=r"is not onnxruntime-web 9\.9\.9.*SHA-512"):
        read_runtime(package=PACKAGE)
    assert not cache.exists()


@pytest.mark.parametrize("reason", ["Connection refused", "answers 404"])
def test_the_message_offline_says_the_way_out(request, reason):
    if "404" in reason:
        request.getfixturevalue("registry")
    with pytest.raises(UserError, match=reason) as error:
        read_runtime(package=PACKAGE)
    for hint in ("npm pack onnxruntime-web@9.9.9", "--runtime", "npm_config_registry"):
        assert hint in str(error.value)


def test_a_registry_must_be_an_address(monkeypatch):
    monkeypatch.setenv("npm_config_registry", "file:///etc")
    with pytest.raises(UserError, match="it must begin with https://"):
        read_runtime(package=PACKAGE)


@pytest.mark.parametrize("place", ["", "dist", "package/dist"])
def test_a_tarball_or_a_folder_needs_no_network(tmp_path, place):
    (tmp_path / "a.tgz").write_bytes(TARBALL)
    assert read_runtime(tmp_path / "a.tgz", PACKAGE) == CONTENTS
    folder = tmp_path / "folder"
    (folder / place).mkdir(parents=True)
    for name, content in CONTENTS.items():
        (folder / place / name).write_bytes(content)
    assert read_runtime(folder, PACKAGE) == CONTENTS
    (folder / place / WASM).write_bytes(b"another version")
    with pytest.raises(UserError, match=f"{WASM} is not that of onnxruntime-web 9"):
        read_runtime(folder, PACKAGE)
    (folder / place / WASM).unlink()
    with pytest.raises(UserError, match=f"{WASM} is not in"):
        read_runtime(folder, PACKAGE)
    (folder / place / LOADER).unlink()
    with pytest.raises(UserError, match=f"there is no {LOADER}"):
        read_runtime(folder, PACKAGE)


def test_what_is_not_there_or_not_it_is_said(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        read_runtime(tmp_path / "none.tgz", PACKAGE)
    (tmp_path / "a.tgz").write_bytes(b"")
    with pytest.raises(UserError, match=r"is not onnxruntime-web 9\.9\.9"):
        read_runtime(tmp_path / "a.tgz", PACKAGE)


def test_the_real_package_is_pinned():
    package = browser_runtime.ONNXRUNTIME_WEB
    assert package.integrity.startswith("sha512-") and len(package.integrity) == 95
    assert {len(x) for x in package.files.values()} == {64}
