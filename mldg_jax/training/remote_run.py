"""Run folders in buckets.

Each process works in a temporary folder of its own, with checkpoints of its own; the
primary process copies its folder to the bucket at every checkpoint. All processes start
from what is there, so that a run can continue on other machines, in other numbers.

A checkpoint counts if the bucket has its ``_CHECKPOINT_METADATA``, which is written
after its other files and deleted before them. The log is written before the checkpoint,
and the result last. A run that is killed during a copy continues from the checkpoint
before.
"""

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from mldg_jax.common import run_folder
from mldg_jax.common.buckets import is_bucket
from mldg_jax.common.files import check_folder
from mldg_jax.common.mirror import Mirror
from mldg_jax.training.checkpoints import FOLDER

COMPLETE = "_CHECKPOINT_METADATA"  # Orbax writes one to every checkpoint


@contextlib.contextmanager
def local_folder(
    workdir: str,
) -> Iterator[tuple[Path, Callable[[], None] | None]]:
    """Provides a folder to train in.

    Args:
      workdir: the run folder: a path, or the URL of a folder in a bucket.

    Yields:
      The path and None; for a bucket, a temporary folder with the bucket's content and
      a function that copies its changes to the bucket, to be called by one process.

    Raises:
      UserError: the folder cannot be written to, or the store refuses.
    """
    if not is_bucket(workdir):
        check_folder(workdir)
        yield Path(workdir), None
        return
    with tempfile.TemporaryDirectory(prefix="mldg-run-") as temporary:
        # the folder's name is shown in messages and is in the model card
        folder = Path(temporary) / workdir.rstrip("/").rpartition("/")[2]
        folder.mkdir()
        mirror = Mirror(workdir, folder, rank=_rank, usable=_usable)
        mirror.pull()
        yield folder, mirror.push


def _rank(name: str) -> int:
    """Returns when a file of a run is written to the bucket, see ``Mirror``."""
    folder, *below = name.split("/")
    if folder == FOLDER:
        return 2 if below[-1] == COMPLETE else 1
    return 3 if name == run_folder.TRAINABLE else 0


def _usable(names: list[str]) -> list[str]:
    """Returns the files of a run without those of incomplete checkpoints."""
    there = set(names)
    return [
        name
        for name in names
        if not name.startswith(f"{FOLDER}/")
        or f"{FOLDER}/{name.split('/')[1]}/{COMPLETE}" in there
    ]
