"""The mean of every layer of a frozen front-end over each recording, computed once.

A recording is cut into windows as ``mldg score`` does, and its mean is that of all
windows: a linear layer on it gives the score that the head ``linear`` gives. A few
kilobytes a recording are kept in one file for each front-end, window and corpus; what
is missing there is added, so that splits, folds and interrupted runs share it.
"""

import dataclasses
import fcntl
import functools
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mldg_jax.common.config import Config, ModelSection
from mldg_jax.common.errors import UserError
from mldg_jax.common.files import replacing, writing
from mldg_jax.common.provenance import fingerprint
from mldg_jax.data.corpus import Corpus
from mldg_jax.data.mixdown import Waveform
from mldg_jax.models import pretrained
from mldg_jax.models.detector import Detector, create_detector
from mldg_jax.scoring.windows import windows_of

BATCH = 16  # windows
KEEP_EVERY = 512  # recordings, after which what is computed is written


class FrozenFrontEnd(NamedTuple):
    """A pretrained front-end, every layer of it.

    Attributes:
      detector: with the front-end; its head is not used.
      params: of the front-end.
      samples: length of a window.
      corpus: what a config says about the corpus.
    """

    detector: Detector
    params: Any
    samples: int
    corpus: Any

    @property
    def depth(self) -> int:
        """The number of layers; there is one more state than layers."""
        return self.detector.frontend.layers  # pyright: ignore[reportAttributeAccessIssue]


def open_front_end(config: Config, *, whole: bool = True) -> FrozenFrontEnd:
    """Loads the front-end of a config.

    Args:
      config: of a run.
      whole: whether to load all layers of the weights, whatever
        ``model.frontend.layers`` says; else those it says.

    Returns:
      The front-end.

    Raises:
      UserError: the model is not valid, or the weights are unavailable.
    """
    model = config.model
    # The head is never applied; this one may read any layers.
    frozen = ModelSection(model.weights, model.frontend, {"kind": "linear"})
    detector = create_detector(frozen)
    if whole:
        kind = model.frontend["kind"]
        depth = pretrained.depth(model.weights, kind, detector.frontend)
        frontend = {**model.frontend, "layers": depth}
        frozen = dataclasses.replace(frozen, frontend=frontend)
        detector = create_detector(frozen)
    params = pretrained.load_frontend(frozen)
    return FrozenFrontEnd(detector, params, config.crop_samples, config.corpus)


def read(
    front_end: FrozenFrontEnd,
    rows: Corpus,
    folder: str | Path,
    *,
    progress: Callable[[int], Any] = lambda count: None,
) -> np.ndarray:
    """Returns the means of recordings; computes and keeps those that are missing.

    Args:
      front_end: from ``open_front_end``.
      rows: n recordings of its corpus.
      folder: of the file; created if it does not exist.
      progress: called with the number of recordings that are done since the last call.

    Returns:
      (n, layers + 1, dim) float32: the input of the transformer, then every layer.

    Raises:
      UserError: the file cannot be written, or was damaged.
    """
    path = Path(folder) / f"layer-means-{_name(front_end)}.npz"
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # other runs may need the same file
            kept = _read(path)
            missing = [
                i for i, x in enumerate(rows.utterance.tolist()) if x not in kept
            ]
            progress(len(rows.label) - len(missing))
            for first in range(0, len(missing), KEEP_EVERY):
                part = missing[first : first + KEEP_EVERY]
                means = _means(front_end, map(rows.waveform, part))
                for i, mean in zip(part, means, strict=True):
                    kept[str(rows.utterance[i])] = mean
                    progress(1)
                with replacing(path) as new, new.open("wb") as file:
                    np.savez(
                        file, utterance=list(kept), mean=np.stack([*kept.values()])
                    )
    return np.stack([kept[x] for x in rows.utterance.tolist()])


def _read(path: Path) -> dict[str, np.ndarray]:
    """Returns what is kept, by utterance."""
    if not path.exists():
        return {}
    try:
        with np.load(path) as arrays:
            names, means = arrays["utterance"].tolist(), arrays["mean"]
        return dict(zip(names, means, strict=True))
    except (ValueError, KeyError, OSError, EOFError) as error:
        raise UserError(
            f"{path} cannot be read ({error}); delete it, and it is computed again"
        ) from error


def _name(front_end: FrozenFrontEnd) -> str:
    """Returns a hash of everything that the means depend on."""
    corpus = front_end.corpus
    parts = {
        "frontend": fingerprint(_flat(front_end.params)),
        "module": repr(front_end.detector.frontend),
        "samples": front_end.samples,
        "corpus": [corpus.name, corpus.config, corpus.sha256],
    }
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _flat(params: Any) -> dict[str, np.ndarray]:
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {jax.tree_util.keystr(path): np.asarray(x) for path, x in leaves}


def _means(
    front_end: FrozenFrontEnd, waveforms: Iterator[Waveform]
) -> Iterator[np.ndarray]:
    """Yields the means of recordings, (layers + 1, dim) each, in order."""
    sizes: list[int] = []

    def windows() -> Iterator[np.ndarray]:
        for waveform in waveforms:
            cut = list(windows_of(waveform, front_end.samples))
            sizes.append(len(cut))
            yield from cut

    means: list[np.ndarray] = []
    stream = windows()
    variables = {"params": {"frontend": front_end.params}}
    done = 0
    while batch := list(itertools.islice(stream, BATCH)):
        padded = np.zeros((BATCH, front_end.samples), np.float32)
        padded[: len(batch)] = batch
        states = _window_means(variables, padded, detector=front_end.detector)
        means += list(np.asarray(states).swapaxes(0, 1)[: len(batch)])
        while done < len(sizes) and len(means) >= sizes[done]:
            yield np.mean(means[: sizes[done]], axis=0)
            del means[: sizes[done]]
            done += 1


@functools.partial(jax.jit, static_argnames="detector")
def _window_means(variables: Any, waveform: jax.Array, *, detector: Detector) -> Any:
    """Returns (layers + 1, batch, dim), the means over the frames of windows."""

    def means(module: Detector, x: jax.Array) -> jax.Array:
        return jnp.stack([state.mean(axis=1) for state in module.layers(x)])

    with jax.default_matmul_precision("highest"):
        return detector.apply(variables, waveform, method=means)
