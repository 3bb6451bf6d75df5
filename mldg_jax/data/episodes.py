"""The sampler of attack domains: a pure function of (seed, step).

An episode has two halves, ``meta_train`` and ``meta_test``, of several attacks each
(domains) with the same number of examples: half spoof of the attack, half bona fide.
The halves share neither attacks nor bona fide utterances.

Every step splits the attacks between the halves at random. By default all attacks take
part in each step; otherwise the weights determine how often each one does. Bona fide is
drawn by speaker first, then by utterance, so that speakers count alike. No state is
kept: resuming needs only the step number.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mldg_jax.common.errors import UserError
from mldg_jax.data.corpus import BONAFIDE, NO_ATTACK, SPOOF, Corpus

Augment = Callable[[np.ndarray, int, float, np.random.Generator], np.ndarray]


class Domains(NamedTuple):
    """Utterances of a corpus, grouped for sampling.

    Attributes:
      attacks: names of the domains, sorted; a domain's number is its index here.
      spoof: for each domain, the row numbers of its utterances.
      bonafide: for each speaker, the row numbers of their bona fide utterances.
      weights: (attacks,) float64 > 0, relative frequencies of the domains in steps that
        do not use all of them.
    """

    attacks: tuple[str, ...]
    spoof: tuple[np.ndarray, ...]
    bonafide: tuple[np.ndarray, ...]
    weights: np.ndarray


def group(
    corpus: Corpus,
    *,
    exclude: Sequence[str] = (),
    weights: Mapping[str, float] | None = None,
    by: str = "attack",
) -> Domains:
    """Groups a corpus by attack and bona fide speaker.

    Args:
      corpus: the training corpus.
      exclude: attacks to hold out of training.
      weights: weights of domains by name; 1 for those not named.
      by: "attack", or "speaker" to make each speaker of an attack a domain, named
        "attack/speaker".

    Returns:
      The domains that remain.

    Raises:
      UserError: the corpus has no attack of a given name, a weight is not positive,
        fewer than two attacks remain, or there is no bona fide utterance.
    """
    if by not in ("attack", "speaker"):
        raise UserError(f"episode.domains is {by!r}; it must be attack or speaker")
    spoof = corpus.label == SPOOF
    attacks, weights = set(corpus.attack[spoof]), dict(weights or {})
    _check_names("episode.exclude", exclude, attacks)
    domain = corpus.attack
    if by == "speaker":
        pairs = zip(corpus.attack.tolist(), corpus.speaker.tolist(), strict=True)
        domain = np.array([f"{attack}/{speaker}" for attack, speaker in pairs])
    _check_names("episode.weights", weights, set(domain[spoof]))
    for name, weight in weights.items():
        if not 0 < weight < np.inf:
            raise UserError(
                f"episode.weights.{name} is {weight}; a weight must be above 0 and "
                "finite; to hold an attack out, use episode.exclude"
            )
    spoof &= ~np.isin(corpus.attack, [*exclude, NO_ATTACK])
    attacks = sorted(set(domain[spoof].tolist()))
    bonafide = corpus.label == BONAFIDE
    if len(attacks) < 2 or not bonafide.any():
        raise UserError(
            f"attacks to train on: {len(attacks)}, bona fide utterances: "
            f"{bonafide.sum()}; it takes at least 2 attacks and 1 bona fide utterance"
        )
    speakers = sorted(set(corpus.speaker[bonafide]))
    return Domains(
        attacks=tuple(attacks),
        spoof=tuple(np.flatnonzero(spoof & (domain == name)) for name in attacks),
        bonafide=tuple(
            np.flatnonzero(bonafide & (corpus.speaker == s)) for s in speakers
        ),
        weights=np.array([weights.get(a, 1.0) for a in attacks]),
    )


def _check_names(entry: str, names: Iterable[str], known: set[str]) -> None:
    for name in sorted(set(names) - known):
        raise UserError(
            f"{entry} names {name!r}, which is not in the training data, and so not "
            f"trained on anyway: remove it, or choose from {', '.join(sorted(known))}"
        )


def leave_attacks_out(
    attacks: Sequence[str], *, folds: int, seed: int
) -> tuple[tuple[str, ...], ...]:
    """Splits attacks into folds for validation on attacks unseen in training.

    Args:
      attacks: names of the attacks.
      folds: number of folds, 2 … number of attacks.
      seed: seed of the split, ≥ 0.

    Returns:
      For each fold, the attacks to hold out (``episode.exclude``). Every attack is in
      one fold; the sizes differ by at most one.

    Raises:
      UserError: the number of folds is out of range.
    """
    if not 2 <= folds <= len(attacks):
        raise UserError(
            f"{folds} folds of {len(attacks)} attacks; choose 2 … {len(attacks)} folds"
        )
    order: list[int] = np.random.default_rng(seed).permutation(len(attacks)).tolist()
    return tuple(
        tuple(sorted(attacks[i] for i in order[fold::folds])) for fold in range(folds)
    )


def sample_episode(
    domains: Domains,
    *,
    seed: int,
    step: int,
    num_meta_test: int,
    examples_per_attack: int,
    attacks_per_episode: int = 0,
    crop: str = "random",
) -> dict[str, dict[str, np.ndarray]]:
    """Chooses the utterances of one episode.

    Args:
      domains: the grouped corpus.
      seed: the run's seed, ≥ 0.
      step: the training step, ≥ 0.
      num_meta_test: number of attacks in meta-test; the others are in meta-train.
      examples_per_attack: utterances per domain, even.
      attacks_per_episode: number of attacks in a step; 0 for all.
      crop: start of the crops: "random", or "first" for that of the utterance.

    Returns:
      For each half ``domain`` (domains,) int32, ``label`` and ``row`` (domains,
      examples) int32, ``start`` (domains, examples) float64 in [0, 1), the start of the
      crop as a fraction of the possible starts, and ``seed`` (domains, examples) int64
      in [0, 2³²), for its augmentation.

    Raises:
      UserError: the number of attacks or examples is out of range, or there are too few
        bona fide utterances.
    """
    total = attacks_per_episode or len(domains.attacks)
    _check_sizes(domains, total, num_meta_test, examples_per_attack)
    if crop not in ("random", "first"):
        raise UserError(f"episode.crop is {crop!r}; it must be random or first")
    rng = np.random.default_rng((seed, step))
    order = _choose(rng, domains.weights, total)
    half = examples_per_attack // 2
    bonafide = _draw_bonafide(rng, domains.bonafide, total * half)
    spoof = [
        rng.choice(rows, half, replace=len(rows) < half)
        for rows in (domains.spoof[d] for d in order)
    ]
    row = np.concatenate([np.stack(spoof), bonafide.reshape(total, half)], axis=1)
    label = np.repeat(np.array([[SPOOF, BONAFIDE]]), half, axis=1)
    columns = {
        "domain": order.astype(np.int32),
        "label": np.repeat(label, total, axis=0).astype(np.int32),
        "row": row.astype(np.int32),
        "start": rng.random((total, examples_per_attack)) * (crop == "random"),
        "seed": rng.integers(2**32, size=(total, examples_per_attack)),
    }
    split = total - num_meta_test
    return {
        "meta_train": {k: v[:split] for k, v in columns.items()},
        "meta_test": {k: v[split:] for k, v in columns.items()},
    }


def _choose(rng: np.random.Generator, weights: np.ndarray, count: int) -> np.ndarray:
    """Draws ``count`` distinct attacks in random order (systematic sampling).

    Each is drawn with a probability proportional to its weight, at most 1.
    """
    order = rng.permutation(len(weights))
    if count == len(weights):
        return order
    share = _shares(weights, count)[order]
    points = rng.random() + np.arange(count)
    index = np.searchsorted(np.cumsum(share), points, side="right")
    # Rounding may leave the last point above the cumulative sum.
    return rng.permutation(order[np.minimum(index, len(order) - 1)])


def _shares(weights: np.ndarray, count: int) -> np.ndarray:
    """Returns probabilities up to 1 that sum to ``count``, proportional to weights."""
    share = np.zeros(len(weights))
    while True:
        free = share < 1
        share[free] = weights[free] * (count - (~free).sum()) / weights[free].sum()
        if (share <= 1).all():
            return share
        share = np.minimum(share, 1)


def _check_sizes(domains: Domains, total: int, meta_test: int, examples: int) -> None:
    if not 2 <= total <= len(domains.attacks):
        raise UserError(
            f"{total} attacks per step of {len(domains.attacks)}: set "
            f"episode.attacks_per_episode to 2 … {len(domains.attacks)}, or 0 for all"
        )
    if not 0 < meta_test < total:
        raise UserError(
            f"episode.num_meta_test is {meta_test} of {total} attacks; every method, "
            "erm too, draws a step in two halves, and each needs an attack: --set "
            f"episode.num_meta_test=1 (at most {total - 1})"
        )
    if examples < 2 or examples % 2:
        raise UserError(
            f"examples_per_attack is {examples}; half of the examples are spoof and "
            "half bona fide: set episode.examples_per_attack to an even number"
        )
    have, need = sum(map(len, domains.bonafide)), total * examples // 2
    if have < need:
        raise UserError(
            f"an episode needs {need} different bona fide utterances, but the corpus "
            f"has {have}: lower episode.examples_per_attack"
        )


def _draw_bonafide(rng, speakers: tuple[np.ndarray, ...], count: int) -> np.ndarray:
    """Draws distinct utterances in rounds of one utterance per speaker."""
    shuffled = [rng.permutation(rows) for rows in speakers]
    rounds = []
    for depth in range(max(map(len, shuffled))):
        current = [rows[depth] for rows in shuffled if len(rows) > depth]
        rounds.append(rng.permutation(current))
        if sum(map(len, rounds)) >= count:
            break
    return rng.permutation(np.concatenate(rounds)[:count])


def load_episode(
    drawn: dict[str, dict[str, np.ndarray]],
    corpus: Corpus,
    *,
    samples: int,
    augment: Augment | None = None,
    feature_cache: Callable[[np.ndarray], np.ndarray] | None = None,
    with_domain: bool = False,
) -> dict[str, dict[str, Any]]:
    """Loads, crops and augments the utterances of an episode.

    Args:
      drawn: from ``sample_episode``, or sharded by ``loader.shard_episode``.
      corpus, samples: the corpus that was sampled; length of a crop.
      augment: ``(waveform, samples, start, rng) -> (samples,)``; ``crop`` if None.
      feature_cache: maps row numbers to cached features of the front-end, see
        ``training.feature_cache``.
      with_domain: whether to give the numbers of the domains too.

    Returns:
      For each half ``waveform`` (domains, examples, samples) float32 in [-1, 1], or
      with ``feature_cache`` instead ``prefix`` (domains, examples, frames, dim), and
      ``label`` int32 and ``seed`` uint32 (domains, examples); ``with_domain`` also
      ``domain`` (domains,) int32. Arrays of sharded episodes have an axis of devices.
    """

    def example(row, start, seed):
        waveform = corpus.waveform(row)
        if augment is None:
            return crop(waveform, samples, start)
        return augment(waveform, samples, start, np.random.default_rng(seed))

    def speech(columns):
        if feature_cache is not None:
            return {"prefix": feature_cache(columns["row"])}
        flat = [columns[name].ravel() for name in ("row", "start", "seed")]
        waveforms = np.stack([example(*x) for x in zip(*flat, strict=True)])
        return {"waveform": waveforms.reshape(*columns["row"].shape, samples)}

    def half(columns):
        return {
            **speech(columns),
            "label": columns["label"],
            "seed": columns["seed"].astype(np.uint32),
            **{name: columns[name] for name in ["domain"] if with_domain},
        }

    return {name: half(columns) for name, columns in drawn.items()}


def crop(waveform: np.ndarray, samples: int, start: float) -> np.ndarray:
    """Crops a waveform; one that is too short is repeated first.

    Args:
      waveform: (n,), n ≥ 1.
      samples: length of the result.
      start: in [0, 1), as a fraction of the possible starts.

    Returns:
      (samples,), of the same dtype.
    """
    if len(waveform) < samples:
        waveform = np.tile(waveform, -(-samples // len(waveform)))[:samples]
    first = int(start * (len(waveform) - samples + 1))
    return waveform[first : first + samples]
