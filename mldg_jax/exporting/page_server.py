"""Serves an exported page to the browsers of this machine."""

import contextlib
import errno
import functools
import http.server
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mldg_jax.common.errors import UserError
from mldg_jax.common.run_folder import CONFIG
from mldg_jax.exporting.page_bundle import PAGE, folder_policy, page_files

HOST = "127.0.0.1"
HEADERS = {
    # both for threads in WebAssembly
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": f"{folder_policy()}; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # the next run's page has the same address
}


class PageHandler(http.server.SimpleHTTPRequestHandler):
    """Answers with a file of the page; keeps quiet on the terminal."""

    extensions_map = {  # noqa: RUF012 (as the base class has it)
        **http.server.SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript",  # Windows' registry may say otherwise
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
        ".gz": "application/octet-stream",
    }

    def end_headers(self) -> None:
        """Adds the headers of every answer."""
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


def open_server(folder: str | Path, port: int) -> http.server.ThreadingHTTPServer:
    """Opens a server on 127.0.0.1; ``serve_forever`` starts it.

    Args:
      folder: of the page.
      port: 0 for a free one, else 1 … 65,535.

    Returns:
      The server.

    Raises:
      UserError: the port is out of range, in use or not allowed.
    """
    if not 0 <= port <= 65_535:
        raise UserError(f"port {port}; it must be 0 (any free one) to 65535")
    handler = functools.partial(PageHandler, directory=str(folder))
    try:
        return http.server.ThreadingHTTPServer((HOST, port), handler)
    except OSError as error:
        reason = {errno.EADDRINUSE: "is in use", errno.EACCES: "needs root"}
        raise UserError(
            f"port {port} {reason.get(error.errno or 0, error.strerror)}: choose "
            "another with --port, or any free one with --port 0"
        ) from None


def serve_run(
    run: str | Path,
    port: int,
    *,
    opened: Callable[[str], None],
    runtime: str | Path | None = None,
) -> None:
    """Serves a run's page until Ctrl-C, or a page that was exported to a folder.

    The page of a run is written to a temporary folder.

    Args:
      run: a finished run, or the folder of a page.
      port: see ``open_server``.
      opened: called with the page's address before the first request.
      runtime: see ``browser_runtime.read_runtime``.

    Raises:
      UserError: as ``open_server`` and ``browser_page.export_run``.
    """
    if (Path(run) / PAGE).is_file() and not (Path(run) / CONFIG).exists():
        _check_page(Path(run), runtime)
        with _ended_by_signals(), open_server(run, port) as server:
            opened(f"http://{HOST}:{server.server_address[1]}/")
            server.serve_forever()
        return
    with (
        _ended_by_signals(),
        tempfile.TemporaryDirectory(prefix="mldg-serve-") as folder,
        open_server(folder, port) as server,  # before the export, which takes seconds
    ):
        from mldg_jax.exporting import browser_page

        browser_page.export_run(run, folder, "web", runtime=runtime)
        opened(f"http://{HOST}:{server.server_address[1]}/")
        server.serve_forever()


def _check_page(folder: Path, runtime: str | Path | None) -> None:
    """Refuses to serve a folder that is not an exported page, or another runtime."""
    missing = [name for name in page_files() if not (folder / name).is_file()]
    if missing:
        raise UserError(
            f"{folder} is neither a run nor a page of mldg export --format web: it has "
            f"{PAGE}, but not {missing[0]}; give a run folder, or export the page again"
        )
    if runtime is not None:
        raise UserError(
            f"--runtime does not apply to {folder}, a page that has its own runtime: "
            "leave it out, or give the run"
        )


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Ends its block quietly at Ctrl-C or SIGTERM, so that nothing is left behind."""

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)
