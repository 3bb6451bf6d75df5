"""Sequences of recordings that read their items on access."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mldg_jax.data.audio import from_flac


class Joined(Sequence):
    """The items of several sequences, in order."""

    def __init__(self, parts: Sequence[Sequence[np.ndarray]]):
        self._parts = parts
        self._ends = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, i: int) -> np.ndarray:
        i = range(len(self))[i]  # resolves negative indices, raises IndexError
        part = int(np.searchsorted(self._ends, i, side="right"))
        return self._parts[part][i - int(self._ends[part])]


class Selected(Sequence):
    """Selected items of a sequence."""

    def __init__(self, items: Sequence[np.ndarray], rows: np.ndarray):
        self._items, self._rows = items, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, i: int) -> np.ndarray:
        return self._items[self._rows[i]]


class Recordings(Sequence):
    """The recordings of a split; each access decodes one, unless it is cached."""

    def __init__(self, records: Sequence[bytes], features: Any, keep: bool):
        self._records, self._features = records, features
        self._cache: dict[int, np.ndarray] | None = {} if keep else None

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, i: int) -> np.ndarray:
        i = range(len(self))[i]  # resolves negative indices, raises IndexError
        if self._cache is None:
            return self._read(i)
        if i not in self._cache:
            self._cache[i] = self._read(i)
        return self._cache[i]

    def _read(self, i: int) -> np.ndarray:
        example = self._features.deserialize_example_np(self._records[i])
        return from_flac(example["audio"])
