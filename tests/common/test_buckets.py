"""Objects in a fake Google Cloud Storage, through TensorStore's own client."""

import pytest

from mldg_jax.common import buckets
from mldg_jax.common.errors import UserError
from tests import fake_gcs


@pytest.fixture
def objects(monkeypatch):
    """Serves a bucket; returns its content by name."""
    content: dict[str, bytes] = {}
    with fake_gcs.serve(content) as url:
        monkeypatch.setenv("TENSORSTORE_GCS_HTTP_URL", url)
        monkeypatch.setenv("GOOGLE_AUTH_TOKEN_FOR_TESTING", "token")
        yield content


def test_objects_are_written_listed_read_and_deleted(objects, tmp_path):
    objects |= {"runs/xy": b"a neighbour", "runs/x/0": b"zero"}
    bucket = buckets.Bucket("gs://bucket/runs/x/")
    bucket.write("a/ü b", b"one")
    bucket.write("a/c", b"")
    bucket.write("b", b"two")
    assert objects["runs/x/a/ü b"] == b"one"
    assert bucket.names() == ["0", "a/c", "a/ü b", "b"]
    assert bucket.names("a/") == ["a/c", "a/ü b"]
    assert bucket.read("a/ü b") == b"one" and bucket.read("a/c") == b""
    bucket.download("b", tmp_path / "new" / "b")
    assert (tmp_path / "new" / "b").read_bytes() == b"two"
    for _ in range(2):  # it may be gone already
        bucket.delete("a/c")
    assert set(objects) == {"runs/xy", "runs/x/0", "runs/x/a/ü b", "runs/x/b"}


def test_what_is_not_there_is_named(objects):
    with pytest.raises(UserError, match="gs://bucket/runs/x/nothing is not there"):
        buckets.Bucket("gs://bucket/runs/x").read("nothing")


def test_a_wrong_url_is_named():
    with pytest.raises(UserError, match=r"gs://B!.*bucket name.*Check the name"):
        buckets.Bucket("gs://B!/x")


@pytest.mark.parametrize(
    ("path", "expected"),
    [("gs://b/x", True), ("s3://b", True), ("runs/x", False), ("/gs:/x", False)],
)
def test_buckets_are_told_from_paths(path, expected):
    assert buckets.is_bucket(path) is expected


def test_another_s3_server_can_be_named(monkeypatch):
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    assert buckets._spec("s3://bucket/a/b") == "s3://bucket/a/b/"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://minio:9000")
    spec = buckets._spec("s3://bucket/a/b/")
    assert (spec["bucket"], spec["path"]) == ("bucket", "a/b/")
    assert spec["endpoint"] == "http://minio:9000"
    assert buckets._spec("s3://bucket")["path"] == ""
