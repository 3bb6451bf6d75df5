"""Serves episodes ahead of the training step, through grain.

An episode is a function of the step number alone, so there is no iterator state: a
resumed run asks for the steps that are left, and several workers or hosts need no
agreement.
"""

from collections.abc import Callable, Generator, Sequence
from typing import Any

import numpy as np

from mldg_jax.common.errors import UserError
from mldg_jax.data import episodes
from mldg_jax.data.corpus import Corpus

SAMPLED = ("num_meta_test", "examples_per_attack", "attacks_per_episode", "crop")
"""The options of ``episodes.sample_episode`` in a config's episode section."""
AHEAD = 2  # episodes that each thread may be ahead of the step


def shard_episode(drawn: Any, count: int, here: Sequence[int]) -> Any:
    """Deals an episode's decisions out to ``count`` devices.

    Args:
      drawn: from ``episodes.sample_episode``.
      count: how many devices share the episode; 1 changes nothing.
      here: the numbers of those whose share is wanted.

    Returns:
      (domains, examples) becomes (len(here), domains, examples / count): every device
      has the same share of every domain's spoof and bona fide. (domains,) is repeated.

    Raises:
      UserError: the examples a domain cannot be divided by the devices.
    """
    if count == 1:
        return drawn

    def deal(x):
        if x.ndim < 2:
            return np.broadcast_to(x, (len(here), *x.shape))
        if x.shape[1] % count:
            raise UserError(
                f"{x.shape[1]} examples a domain cannot be divided by {count} devices: "
                f"set episode.examples_per_attack to a multiple of {count}"
            )
        # Example i goes to device i mod count, which spreads spoof and bona fide.
        split = x.reshape(x.shape[0], -1, count)
        return np.moveaxis(split, 2, 0)[list(here)]

    return {half: {k: deal(v) for k, v in one.items()} for half, one in drawn.items()}


def sampler(
    domains: episodes.Domains,
    corpus: Corpus,
    *,
    seed: int,
    options: dict[str, Any],
    samples: int,
    augment: episodes.Augment | None = None,
    feature_cache: Callable[[np.ndarray], np.ndarray] | None = None,
    devices: tuple[int, list[int]] = (1, [0]),
) -> Callable[[int], tuple[dict, dict]]:
    """Returns ``step -> (drawn, episode)``.

    Args:
      domains, corpus: grouped, and the corpus itself.
      seed: the run's.
      options: of ``episodes.sample_episode``, see ``SAMPLED``.
      samples, augment, feature_cache: see ``episodes.load_episode``.
      devices: ``count`` and ``here`` of ``shard_episode``: only what those devices
        take is read from the corpus.
    """

    def make(step: int) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, Any]]:
        drawn = episodes.sample_episode(domains, seed=seed, step=int(step), **options)
        ours = shard_episode(drawn, *devices)
        episode = episodes.load_episode(
            ours,
            corpus,
            samples=samples,
            augment=augment,
            feature_cache=feature_cache,
        )
        return drawn, episode

    return make


def prefetch(
    make: Callable[[int], Any], steps: range, *, threads: int, workers: int
) -> Generator[Any, None, None]:
    """Yields ``make(step)`` for every step in order, made ahead of time.

    Args:
      make: from ``sampler``.
      steps: the steps that are left.
      threads: threads that make episodes, in each process; 0 makes each episode when
        it is asked for.
      workers: processes beside this one; 0 for none. They pay where augmentation on
        the host keeps Python busy.
    """
    import grain  # seconds to import; needed only here
    from absl import flags

    dataset = grain.MapDataset.range(steps.start, steps.stop).map(make)
    options = grain.ReadOptions(
        num_threads=threads, prefetch_buffer_size=AHEAD * threads
    )
    iterator = dataset.to_iter_dataset(options)
    if workers:
        # grain's workers read absl flags, which nobody has parsed here
        flags.FLAGS.mark_as_parsed()
        iterator = iterator.mp_prefetch(
            grain.MultiprocessingOptions(num_workers=workers)
        )
    yield from iterator
