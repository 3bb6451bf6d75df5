"""Shards are made of rows that were written before, by this process or another."""

import numpy as np
import soundfile

from mldg_jax.data.corpora import shards
from mldg_jax.data.schema import Row


def test_names_with_line_separators_are_one_row(tmp_path):
    """``str.splitlines`` cuts them, ``json.dumps`` does not escape them."""
    name = "a\u2028b\x85c"
    soundfile.write(tmp_path / "a.wav", np.sin(np.arange(16_000) / 9), 16_000)
    row = Row(name, "a.wav", "spoof", "A1", "s", "eval", "-", "-")
    (shard,) = shards.plan([tmp_path / "shard"], tmp_path, [row], ())
    assert shards.make(shard) == 1
    assert shard.read_note()["index"]["utterance"] == [name]
