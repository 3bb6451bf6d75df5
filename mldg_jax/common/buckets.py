"""Files in object stores, gs:// and s3://, through TensorStore.

Credentials are those of the vendor's tools: the machine's service account, `gcloud auth
application-default login`, or AWS_ACCESS_KEY_ID and its like. AWS_ENDPOINT_URL names
another S3 server (MinIO, for example), TENSORSTORE_GCS_HTTP_URL another GCS.
"""

import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mldg_jax.common.errors import UserError
from mldg_jax.common.files import replacing

SCHEMES = ("gs://", "s3://", "file://")  # the last one for tests


def is_bucket(path: str | Path) -> bool:
    """Returns True if a path is the URL of a folder in an object store."""
    return str(path).startswith(SCHEMES)


class Bucket:
    """A folder of an object store. An object is written completely or not at all."""

    def __init__(self, url: str):
        """Opens the folder; it need not exist.

        Args:
          url: ``gs://BUCKET/PATH`` or ``s3://BUCKET/PATH``.

        Raises:
          UserError: the URL is not valid.
        """
        self.url = url.rstrip("/")
        self._store = self._do(f"open {url}", lambda ts: ts.KvStore.open(_spec(url)))

    def names(self, prefix: str = "") -> list[str]:
        """Lists the objects below the folder.

        Args:
          prefix: what their names begin with.

        Returns:
          Their names relative to the folder, sorted.

        Raises:
          UserError: the store refuses.
        """

        def names(ts):
            # The first name after all those with the prefix.
            end = prefix[:-1] + chr(ord(prefix[-1]) + 1) if prefix else ""
            return self._store.list(ts.KvStore.KeyRange(prefix, end))

        return sorted(x.decode() for x in self._do(f"list {self.url}", names))

    def read(self, name: str) -> bytes:
        """Reads an object.

        Args:
          name: relative to the folder.

        Returns:
          Its content.

        Raises:
          UserError: the store refuses, or there is no such object.
        """
        path = f"{self.url}/{name}"
        result = self._do(f"read {path}", lambda _: self._store.read(name))
        if result.state == "missing":
            raise UserError(f"{path} is not there any more; start the command again")
        return result.value

    def write(self, name: str, content: bytes) -> None:
        """Writes or replaces an object.

        Args:
          name: relative to the folder.
          content: its content.

        Raises:
          UserError: the store refuses.
        """
        path = f"{self.url}/{name}"
        self._do(f"write {path}", lambda _: self._store.write(name, content))

    def delete(self, name: str) -> None:
        """Deletes an object, if it exists.

        Args:
          name: relative to the folder.

        Raises:
          UserError: the store refuses.
        """
        path = f"{self.url}/{name}"
        # (writing nothing is how TensorStore deletes)
        self._do(f"delete {path}", lambda _: self._store.write(name, None))

    def download(self, name: str, path: Path) -> None:
        """Copies an object to a file; creates missing parent folders.

        Args:
          name: relative to the folder.
          path: the file to write or replace.

        Raises:
          UserError: the store or the file system refuses.
        """
        content = self.read(name)
        with replacing(path) as part:
            part.write_bytes(content)

    def _do(self, action: str, start: Any) -> Any:
        """Starts an operation and waits; turns the store's errors into ``UserError``.

        TensorStore itself tries again after errors that pass.
        """
        import tensorstore  # takes 0.1 s, and most commands need no bucket

        try:
            return start(tensorstore).result()
        except (ValueError, OSError, RuntimeError) as error:
            reason = str(error).splitlines()[0][:300]
            raise UserError(
                f"cannot {action}: {reason}. Check the name, your credentials and "
                "your rights; everything saved before is intact"
            ) from None


def _spec(url: str) -> Any:
    """Returns TensorStore's specification of a folder."""
    parts = urlsplit(url)
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    folder = parts.path.strip("/") + "/"
    if parts.scheme != "s3" or not endpoint:
        return url.rstrip("/") + "/"
    return {
        "driver": "s3",
        "bucket": parts.netloc,
        "path": folder.removeprefix("/"),
        "endpoint": endpoint,
        "aws_region": os.environ.get("AWS_REGION", "us-east-1"),
    }
