"""A folder and its copy in a bucket, which is a folder too."""

import pytest

from mldg_jax.common.errors import UserError
from mldg_jax.common.mirror import Mirror


class Killed(Exception):
    """Stands for the end of the process."""


def record(mirror, monkeypatch, limit=1_000):
    """Records what a mirror does to its bucket; ends it before action ``limit``."""
    actions = []
    for name in ("write", "delete"):
        original = getattr(mirror._bucket, name)

        def act(path, *content, name=name, original=original):
            if len(actions) == limit:
                raise Killed
            actions.append((name, path))
            original(path, *content)

        monkeypatch.setattr(mirror._bucket, name, act)
    return actions


def make(tmp_path, name, **options):
    folder = tmp_path / name
    folder.mkdir(exist_ok=True)
    return folder, Mirror(f"file://{tmp_path}/bucket/run", folder, **options)


def test_only_changes_are_written_in_order_and_deletions_reversed(
    tmp_path, monkeypatch
):
    folder, mirror = make(tmp_path, "one", rank=lambda name: name == "last")
    actions = record(mirror, monkeypatch)
    (folder / "a").mkdir()
    for name, text in {"last": "1", "a/x": "2", ".hidden": "3", "z": "4"}.items():
        (folder / name).write_text(text)
    mirror.push()
    assert actions == [("write", "a/x"), ("write", "z"), ("write", "last")]
    actions.clear()
    mirror.push()
    assert actions == []
    (folder / "z").write_text("5 more")
    mirror.push()
    assert actions == [("write", "z")]
    actions.clear()
    for name in ("z", "last"):
        (folder / name).unlink()
    mirror.push()
    assert actions == [("delete", "last"), ("delete", "z")]


def test_another_machine_gets_what_is_usable_and_tidies_up(tmp_path):
    folder, mirror = make(tmp_path, "one")
    for name in ("a", "b", "rest"):
        (folder / name).write_text(name)
    mirror.push()
    other, second = make(tmp_path, "two", usable=lambda names: names[:2])
    second.pull()
    assert {x.name: x.read_text() for x in other.iterdir()} == {"a": "a", "b": "b"}
    second.push()
    bucket = tmp_path / "bucket" / "run"
    assert {x.name for x in bucket.iterdir()} == {"a", "b"}


def test_a_store_that_refuses_is_an_error_for_the_user(tmp_path):
    (tmp_path / "bucket").write_text("a file where a folder should be")
    folder, mirror = make(tmp_path, "one")
    (folder / "a").write_text("a")
    with pytest.raises(UserError, match=r"cannot write file://.*intact"):
        mirror.push()
