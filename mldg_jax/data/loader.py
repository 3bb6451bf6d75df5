"""Prepares episodes ahead of the training step, with grain.

An episode depends on the step number alone, so there is no iterator state: a resumed
run asks for the remaining steps, and workers and hosts need no coordination.
"""

from collections.abc import Callable, Generator, Sequence
from typing import Any

import numpy as np

from mldg_jax.common.errors import UserError
from mldg_jax.data import episodes
from mldg_jax.data.corpus import Corpus
from mldg_jax.data.segment_labels import crop_labels

SAMPLED = ("num_meta_test", "examples_per_attack", "attacks_per_episode", "crop")
"""Options of ``episodes.sample_episode`` in the ``episode`` section of a config."""
AHEAD = 2  # episodes that each thread may prepare in advance


def shard_episode(drawn: Any, count: int, here: Sequence[int]) -> Any:
    """Splits a sampled episode among ``count`` devices.

    Args:
      drawn: from ``episodes.sample_episode``.
      count: number of devices that share the episode; 1 changes nothing.
      here: indices of the devices whose shards are returned.

    Returns:
      ``drawn`` with each (domains, examples) array as (len(here), domains,
      examples / count), spoof and bona fide split evenly, and each (domains,) array
      repeated as (len(here), domains).

    Raises:
      UserError: the examples per domain are not divisible by ``count``.
    """
    if count == 1:
        return drawn

    def shard(x):
        if x.ndim < 2:
            return np.broadcast_to(x, (len(here), *x.shape))
        if x.shape[1] % count:
            raise UserError(
                f"{x.shape[1]} examples per domain cannot be divided among {count} "
                f"devices: set episode.examples_per_attack to a multiple of {count}"
            )
        # Spoof comes before bona fide, so a strided split gives each device both.
        split = x.reshape(x.shape[0], -1, count)
        return np.moveaxis(split, 2, 0)[list(here)]

    return {
        half: {name: shard(column) for name, column in columns.items()}
        for half, columns in drawn.items()
    }


def sampler(
    domains: episodes.Domains,
    corpus: Corpus,
    *,
    seed: int,
    options: dict[str, Any],
    samples: int,
    augment: episodes.Augment | None = None,
    feature_cache: Callable[[np.ndarray], np.ndarray] | None = None,
    with_domain: bool = False,
    devices: tuple[int, list[int]] = (1, [0]),
    span: Callable[[int, np.random.Generator], int] = lambda samples, _: samples,
) -> Callable[[int], tuple[dict, dict]]:
    """Returns a function that samples and loads the episode of a step.

    Args:
      domains: ``corpus``, grouped by ``episodes.group``.
      corpus: the training corpus.
      seed: the run's seed, ≥ 0.
      options: arguments of ``episodes.sample_episode``, see ``SAMPLED``.
      samples: length of a crop.
      augment: see ``episodes.load_episode``.
      feature_cache, with_domain: see ``episodes.load_episode``.
      devices: ``count`` and ``here`` of ``shard_episode``; only the utterances of
        those devices are read.
      span: what ``augment`` makes a crop of, see ``augment.host.span_of``.

    Returns:
      ``step -> (drawn, episode)``: the whole sampled episode, and the loaded arrays of
      the devices ``here``. Each half of a corpus with segment labels also has
      ``frame_label`` (domains, examples, frames) int8, see ``frame_labels``.
    """

    def make(step: int) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, Any]]:
        drawn = episodes.sample_episode(domains, seed=seed, step=int(step), **options)
        local = shard_episode(drawn, *devices)
        episode = episodes.load_episode(
            local,
            corpus,
            samples=samples,
            augment=augment,
            feature_cache=feature_cache,
            with_domain=with_domain,
        )
        if corpus.segments is not None:
            for name, half in episode.items():
                half["frame_label"] = frame_labels(local[name], corpus, samples, span)
        return drawn, episode

    return make


def frame_labels(
    columns: dict[str, np.ndarray],
    corpus: Corpus,
    samples: int,
    span: Callable[[int, np.random.Generator], int],
) -> np.ndarray:
    """Labels the frames of crops, in step with ``episodes.load_episode``.

    Args:
      columns: half of a sampled episode, with row, start and seed (…).
      corpus: the training corpus.
      samples: length of a crop.
      span: see ``sampler``.

    Returns:
      (…, frames) int8, frames of 20 ms: 1 bona fide, 0 spoof, -1 not known.
    """

    def example(row, start, seed):
        return crop_labels(
            corpus.spoofed_parts(row),
            len(corpus.audio[row]),
            samples,
            start,
            span(samples, np.random.default_rng(seed)),
        )

    flat = (columns[name].ravel() for name in ("row", "start", "seed"))
    labels = np.stack([example(*x) for x in zip(*flat, strict=True)])
    return labels.reshape(*columns["row"].shape, -1)


def prefetch(
    make: Callable[[int], Any], steps: range, *, threads: int, workers: int
) -> Generator[Any, None, None]:
    """Yields ``make(step)`` for every step in order, prepared in advance.

    Args:
      make: from ``sampler``.
      steps: the remaining steps.
      threads: threads per process that make episodes; 0 makes each one on demand.
      workers: worker processes; 0 for none. They help where augmentation on the host
        is limited by Python's global interpreter lock.

    Yields:
      The results of ``make``, one per step.
    """
    import grain  # seconds to import; needed only here
    from absl import flags

    dataset = grain.MapDataset.range(steps.start, steps.stop).map(make)
    options = grain.ReadOptions(
        num_threads=threads, prefetch_buffer_size=AHEAD * threads
    )
    iterator = dataset.to_iter_dataset(options)
    if workers:
        # grain's workers read absl flags, which the command line here never parses.
        flags.FLAGS.mark_as_parsed()
        iterator = iterator.mp_prefetch(
            grain.MultiprocessingOptions(num_workers=workers)
        )
    yield from iterator
