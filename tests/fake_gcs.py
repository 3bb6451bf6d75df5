"""A Google Cloud Storage server for tests, of the requests that TensorStore makes."""

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit


class _Handler(BaseHTTPRequestHandler):
    objects: dict[str, bytes]

    def log_message(self, *arguments):
        """Says nothing."""

    def answer(self, status, content=b"", **headers):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def answer_json(self, content):
        self.answer(200, json.dumps(content).encode(), **{"Content-Type": "text/json"})

    @property
    def query(self):
        return {k: v[0] for k, v in parse_qs(urlsplit(self.path).query).items()}

    @property
    def name(self):
        """The object's name; None in a request for the list."""
        _, _, name = urlsplit(self.path).path.partition("/o/")
        return unquote(name) or None

    def describe(self, name):
        size = str(len(self.objects[name]))
        return {"name": name, "size": size, "generation": "1"}

    def do_GET(self):
        name, query = self.name, self.query
        if name is None:
            names = sorted(
                x
                for x in self.objects
                if x.startswith(query.get("prefix", ""))
                and x >= query.get("startOffset", "")
                and x < query.get("endOffset", "\U0010ffff")
            )
            self.answer_json({"items": [self.describe(x) for x in names]})
        elif name not in self.objects:
            self.answer(404)
        else:
            self.answer(200, self.objects[name], **{"x-goog-generation": "1"})

    def do_POST(self):
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.objects[self.query["name"]] = content
        self.answer_json(self.describe(self.query["name"]))

    def do_DELETE(self):
        self.answer(204 if self.objects.pop(self.name or "", None) is not None else 404)


@contextlib.contextmanager
def serve(objects: dict[str, bytes]) -> Iterator[str]:
    """Serves one bucket, whatever its name.

    Args:
      objects: its content by name; changes while the server is in use.

    Yields:
      The value for TENSORSTORE_GCS_HTTP_URL.
    """
    handler = type("Handler", (_Handler,), {"objects": objects})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
