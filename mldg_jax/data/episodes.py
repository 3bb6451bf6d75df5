"""The attack-domain sampler: a pure function of (seed, step).

An episode holds two halves, ``meta_train`` and ``meta_test``. Each has some attacks
(domains), and of every attack the same number of examples: half the attack's spoof,
half bona fide. The halves share no attack and no bona fide utterance.

Every step deals the attacks anew between the halves. By default all of them take part,
so each is met once a step; with fewer a step, each is met as often as its weight says.
Bona fide is drawn speaker first, then utterance: a speaker with many recordings weighs
no more than one with few. Nothing is stored between steps: resuming needs the step
number and nothing else.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mldg_jax.common.errors import UserError
from mldg_jax.data.corpus import BONAFIDE, NO_ATTACK, SPOOF, Corpus

Augment = Callable[[np.ndarray, int, float, np.random.Generator], np.ndarray]


class Domains(NamedTuple):
    """Rows of a corpus, grouped for sampling.

    Attributes:
      attacks: names, sorted; a domain's number is its place here.
      spoof: for each attack, the rows of its utterances.
      bonafide: for each speaker, the rows of its bona fide utterances.
      weights: (attacks,) float64 > 0, how often an attack is met relative to others
        where a step does not take all.
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
      exclude: attacks that training must not meet.
      weights: of some domains; 1 for the others.
      by: what a domain is: an "attack", or a "speaker" of an attack, named
        "attack/speaker".

    Raises:
      UserError: an attack that is named is not there, a weight is not positive, fewer
        than two attacks remain, or there is no bona fide utterance.
    """
    if by not in ("attack", "speaker"):
        raise UserError(f"episode.domains is {by!r}; it must be attack or speaker")
    spoof = corpus.label == SPOOF
    attacks, weights = set(corpus.attack[spoof]), dict(weights or {})
    _known("exclude", exclude, attacks)
    domain = corpus.attack
    if by == "speaker":
        pairs = zip(corpus.attack.tolist(), corpus.speaker.tolist(), strict=True)
        domain = np.array([f"{attack}/{speaker}" for attack, speaker in pairs])
    _known("weigh", weights, set(domain[spoof]))
    for name, weight in weights.items():
        if not 0 < weight < np.inf:
            raise UserError(
                f"episode.weights.{name} is {weight}; a weight must be above 0: leave "
                "an attack out with episode.exclude"
            )
    spoof &= ~np.isin(corpus.attack, [*exclude, NO_ATTACK])
    attacks = sorted(set(domain[spoof].tolist()))
    bonafide = corpus.label == BONAFIDE
    if len(attacks) < 2 or not bonafide.any():
        raise UserError(
            f"{len(attacks)} attacks and {bonafide.sum()} bona fide utterances to "
            "train on; meta-learning needs at least 2 attacks and some bona fide"
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


def _known(what: str, names: Iterable[str], there: set[str]) -> None:
    for name in sorted(set(names) - there):
        raise UserError(
            f"cannot {what} attack {name!r}: the corpus has {', '.join(sorted(there))}"
        )


def leave_attacks_out(
    attacks: Sequence[str], *, folds: int, seed: int
) -> tuple[tuple[str, ...], ...]:
    """Deals attacks into folds for validation on attacks that training never met.

    Args:
      attacks: names.
      folds: how many, 2 … number of attacks.
      seed: of the deal, ≥ 0.

    Returns:
      For each fold the attacks to hold out (``episode.exclude``); every attack is in
      one fold, and folds differ in size by one at most.

    Raises:
      UserError: an impossible number of folds.
    """
    if not 2 <= folds <= len(attacks):
        raise UserError(
            f"{folds} folds of {len(attacks)} attacks; choose 2 … {len(attacks)}"
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
    """Decides one episode.

    Args:
      domains: the grouped corpus.
      seed: the run's seed, ≥ 0.
      step: the training step, ≥ 0.
      num_meta_test: attacks in the meta-test half; the others are meta-train.
      examples_per_attack: utterances of each domain, even.
      attacks_per_episode: how many take part in a step; 0 for all.
      crop: where crops start: "random", or "first": with the utterance.

    Returns:
      For each half ``domain`` (domains,) int32, ``label`` and ``row`` (domains,
      examples) int32, ``start`` (domains, examples) float64 in [0, 1): where in the
      utterance the crop starts, as a share of the possible starts, and ``seed``
      (domains, examples) for its augmentation.

    Raises:
      UserError: an impossible number of attacks, examples or bona fide utterances.
    """
    total = attacks_per_episode or len(domains.attacks)
    _check(domains, total, num_meta_test, examples_per_attack)
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
    """``count`` different attacks in random order (systematic sampling).

    Each is among them with a probability proportional to its weight, at most 1.
    """
    order = rng.permutation(len(weights))
    if count == len(weights):
        return order
    share = _shares(weights, count)[order]
    points = rng.random() + np.arange(count)
    found = np.searchsorted(np.cumsum(share), points, side="right")
    return rng.permutation(order[np.minimum(found, len(order) - 1)])


def _shares(weights: np.ndarray, count: int) -> np.ndarray:
    """Probabilities that sum to ``count``, proportional to weights, none above 1."""
    share = np.zeros(len(weights))
    while True:
        free = share < 1
        share[free] = weights[free] * (count - (~free).sum()) / weights[free].sum()
        if (share <= 1).all():
            return share
        share = np.minimum(share, 1)


def _check(domains: Domains, total: int, meta_test: int, examples: int) -> None:
    if not 2 <= total <= len(domains.attacks):
        raise UserError(
            f"{total} attacks a step of {len(domains.attacks)}: set "
            "episode.attacks_per_episode to "
            f"2 … {len(domains.attacks)}, or 0 for all"
        )
    if not 0 < meta_test < total:
        raise UserError(
            f"num_meta_test is {meta_test} of {total} attacks; both halves need one: "
            f"set episode.num_meta_test to 1 … {total - 1}"
        )
    if examples < 2 or examples % 2:
        raise UserError(
            f"examples_per_attack is {examples}; half of a domain's examples are spoof "
            "and half bona fide: set episode.examples_per_attack to an even number"
        )
    have, need = sum(map(len, domains.bonafide)), total * examples // 2
    if have < need:
        raise UserError(
            f"an episode takes {need} different bona fide utterances and the corpus "
            f"has {have}: lower episode.examples_per_attack"
        )


def _draw_bonafide(rng, speakers: tuple[np.ndarray, ...], count: int) -> np.ndarray:
    """Distinct utterances, dealt round by round over randomly ordered speakers."""
    shuffled = [rng.permutation(rows) for rows in speakers]
    rounds = []
    for depth in range(max(map(len, shuffled))):
        this = [rows[depth] for rows in shuffled if len(rows) > depth]
        rounds.append(rng.permutation(this))
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
) -> dict[str, dict[str, Any]]:
    """Turns decisions into arrays.

    Args:
      drawn: from ``sample_episode``.
      corpus: the corpus whose rows were drawn.
      samples: length of a crop.
      augment: ``(waveform, samples, start, rng) -> (samples,)``; ``crop`` if None.
      feature_cache: rows → what the front-end makes of them, see
        ``training.feature_cache``.

    Returns:
      The episode: for each half ``waveform`` (domains, examples, samples) float32 in
      [-1, 1], or with ``feature_cache`` instead ``prefix`` (domains, examples, frames,
      dim); ``label`` and ``seed`` (domains, examples) int32 and uint32; with a leading
      axis of devices if ``loader.shard_episode`` made one.
    """

    def example(row, start, seed):
        waveform = corpus.waveform(row)
        if augment is None:
            return crop(waveform, samples, start)
        return augment(waveform, samples, start, np.random.default_rng(seed))

    def speech(one):
        if feature_cache is not None:
            return {"prefix": feature_cache(one["row"])}
        examples = zip(*(one[k].ravel() for k in ("row", "start", "seed")), strict=True)
        waveforms = np.stack([example(*x) for x in examples])
        return {"waveform": waveforms.reshape(*one["row"].shape, samples)}

    def half(one):
        return {
            **speech(one),
            "label": one["label"],
            "seed": one["seed"].astype(np.uint32),
        }

    return {name: half(one) for name, one in drawn.items()}


def crop(waveform: np.ndarray, samples: int, start: float) -> np.ndarray:
    """Cuts ``samples`` out of a waveform; a shorter one is repeated to that length.

    Args:
      waveform: (n,), n ≥ 1.
      samples: length of the result.
      start: in [0, 1), as a share of the possible starts.
    """
    if len(waveform) < samples:
        waveform = np.tile(waveform, -(-samples // len(waveform)))[:samples]
    first = int(start * (len(waveform) - samples + 1))
    return waveform[first : first + samples]
