"""Score files and keys in, every number of an evaluation out."""

import functools
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mldg_jax import metrics
from mldg_jax.common.errors import UserError
from mldg_jax.data.corpus import BONAFIDE
from mldg_jax.scoring import (
    bootstrap,
    bootstrap_statistics,
    diagnose,
    key_files,
    score_files,
)
from mldg_jax.scoring.calibration import min_cllr
from mldg_jax.scoring.key_files import UNKNOWN, Keys

CONDITIONS = ("attack", "codec", "language")  # shown where the keys have them
INTERVALS = {
    "eer": bootstrap_statistics.eer,
    "min_dcf": bootstrap_statistics.min_dcf,
    "act_dcf": bootstrap_statistics.act_dcf,
    "cllr": bootstrap_statistics.cllr,
}
LEVEL = 0.95
FEWEST = 5  # speakers of a class for an interval


class Evaluation(NamedTuple):
    """What was evaluated, and the numbers.

    Attributes:
      results: plain numbers, see `evaluate`.
      keys: the trials.
      scores: of each system, (trials,) float64.
    """

    results: dict[str, Any]
    keys: Keys
    scores: dict[str, np.ndarray]


def evaluate(
    systems: Mapping[str, str | Path],
    keys_path: str | Path | None = None,
    *,
    format: str = "auto",
    subset: str | None = None,
    by: Sequence[str] | None = None,
    asv: Mapping[str, float] | None = None,
    replicas: int = 1000,
    seed: int = 0,
) -> Evaluation:
    """Evaluates one or more systems on the same trials.

    Args:
      systems: score files by the systems' names.
      keys_path: the key file; None where a score file carries its keys (2019).
      format: of the score files, see `score_files.read`.
      subset: see `key_files.subset`.
      by: columns of the key file to break the EER down by, beside the attack;
        `CONDITIONS` by default.
      asv: the three rates of `metrics.min_tdcf`, for min t-DCF.
      replicas: of the bootstrap; 0 for no intervals.
      seed: of the bootstrap.

    Returns:
      `results` holds ``keys`` (file, format, n_bonafide, n_spoof), ``clusters`` (what
      was resampled), ``replicas``, ``systems`` and ``differences``. A system has
      ``metrics.detection_metrics``, ``min_cllr``, ``min_tdcf`` if there are rates,
      ``intervals`` ({metric: [low, high]}, 95 %), ``warnings``, and for each condition
      ``by_attack``, … ({value: {eer, low, high, n, n_bonafide, n_spoof}}; n are the
      trials that have the value; low and high need 5 speakers of each class).
      A difference is of two systems' EER, paired: {difference, low, high, p}.

    Raises:
      UserError: a file that cannot be read or does not fit the keys.
    """
    everything = _read_keys(systems, keys_path)
    keys = key_files.subset(everything, subset)
    real = keys.label == BONAFIDE
    if real.all() or not real.any():
        raise UserError(
            f"all {real.size:,} trials of the key file are "
            f"{'bona fide' if real.all() else 'spoof'}: error rates need both"
        )
    if replicas < 0:
        raise UserError(f"replicas is {replicas}, must be 0 or more; try 1000")
    scores = {k: _aligned(p, format, everything, keys) for k, p in systems.items()}
    columns = {name: keys.columns[name] for name in _conditions(keys, by)}
    groups = {name: metrics.groups(keys.label, x) for name, x in columns.items()}
    found = {name: _measure(x, keys, groups, asv) for name, x in scores.items()}
    trials_of = _described(keys_path or next(iter(systems.values())), keys)
    results = {"keys": trials_of, "systems": found, "differences": {}}
    ids, kind = cluster_ids(keys)
    if replicas and _enough(ids, real):
        results |= {"replicas": replicas, "clusters": kind}
        clusters = bootstrap.across_classes(keys.label, ids)
        _add_intervals(results, scores, keys, groups, clusters, asv, seed)
    return Evaluation(results, keys, scores)


def named(arguments: Sequence[str]) -> dict[str, str]:
    """Score files by name from ``NAME=FILE`` or ``FILE``, whose stem is its name.

    Raises:
      UserError: two have one name.
    """
    systems: dict[str, str] = {}
    for argument in arguments:
        name, equals, path = argument.partition("=")
        if not equals or Path(argument).exists():
            name, path = Path(argument).stem, argument
        if name in systems:
            raise UserError(
                f"two score files are called {name!r}: name them, --scores NAME=FILE"
            )
        systems[name] = path
    return systems


def plain(evaluation: Evaluation) -> dict[str, Any]:
    """What ``--json`` prints: of one system its numbers, of several the whole."""
    results = evaluation.results
    if len(results["systems"]) > 1:
        return results
    (one,) = results["systems"].values()
    rest = {k: v for k, v in results.items() if k not in ("systems", "differences")}
    return one | rest


def conditions(results: Mapping[str, Any]) -> list[str]:
    """The conditions that have at least one value to show, e.g. attack."""
    first = next(iter(results["systems"].values()))
    return [k.removeprefix("by_") for k, v in first.items() if k[:3] == "by_" and v]


def cluster_ids(keys: Keys) -> tuple[np.ndarray, str]:
    """What is resampled together: speakers, or utterances where none are known.

    Returns:
      (trials,) ids, and what they are in words. A class in which all trials have one
      speaker (a single synthetic voice) is resampled by utterance.
    """
    real, places = keys.label == BONAFIDE, np.arange(len(keys.label))
    if "speaker" not in keys.columns:
        return places, "utterances"
    names, ids = metrics.codes(keys.columns["speaker"])
    alone = keys.columns["speaker"] == UNKNOWN
    kinds = "speakers"
    for name, its in (("bona fide", real), ("spoof", ~real)):
        if np.all(ids[its] == ids[its][0]):
            alone = alone | its
            kinds += f" ({name}: utterances, of one voice)"
    return np.where(alone, len(names) + places, ids), kinds


def _read_keys(systems: Mapping[str, str | Path], keys_path: str | Path | None) -> Keys:
    if keys_path is not None:
        return key_files.read(keys_path)
    first = next(iter(systems.values()))
    if score_files.read(first).label is None:
        raise UserError(
            f"{first} has scores and no keys: give the key file with --keys"
        )
    return key_files.read(first)


def _described(path: str | Path, keys: Keys) -> dict[str, Any]:
    return {
        "file": str(path),
        "format": keys.format,
        "subset": " ".join(sorted(set(keys.columns.get("subset", [])))),
        "n_bonafide": int(np.sum(keys.label == BONAFIDE)),
        "n_spoof": int(np.sum(keys.label != BONAFIDE)),
    }


def _aligned(path: str | Path, format: str, everything: Keys, keys: Keys) -> np.ndarray:
    """The scores of the trials, in the order of the keys."""
    scores = score_files.read(path, format)
    rows, found = diagnose.match(scores, everything, keys)
    for one in found:
        if not one.note:
            raise UserError(f"{path}: {one} (`mldg check` names everything)")
    return scores.score[rows]


def _conditions(keys: Keys, by: Sequence[str] | None) -> list[str]:
    for name in by or ():
        if name not in keys.columns:
            raise UserError(
                f"the key file has no column {name!r}; it has "
                f"{', '.join(keys.columns) or 'only labels'}"
            )
    asked = by if by is not None else [n for n in CONDITIONS if n in keys.columns]
    return list(dict.fromkeys([n for n in ("attack",) if n in keys.columns] + [*asked]))


def _measure(
    scores: np.ndarray,
    keys: Keys,
    groups: dict[str, dict[str, np.ndarray]],
    asv: Mapping[str, float] | None,
) -> dict[str, Any]:
    real = keys.label == BONAFIDE
    both = scores[real], scores[~real]
    found: dict[str, Any] = metrics.detection_metrics(*both)
    found["min_cllr"] = min_cllr(*both)
    if asv is not None:
        try:
            found["min_tdcf"] = metrics.min_tdcf(*both, **asv)
        except ValueError as error:
            raise UserError(str(error)) from None
    found["warnings"] = [str(one) for one in diagnose.judge(scores, keys.label)]
    for condition, parts in groups.items():
        found[f"by_{condition}"] = {
            value: {
                "eer": metrics.eer(scores[its[real[its]]], scores[its[~real[its]]])[0],
                "n": int(np.sum(keys.columns[condition][its] == value)),
                "n_bonafide": int(np.sum(real[its])),
                "n_spoof": int(np.sum(~real[its])),
            }
            for value, its in parts.items()
        }
    return found


def _add_intervals(
    results: dict[str, Any],
    scores: dict[str, np.ndarray],
    keys: Keys,
    groups: dict[str, dict[str, np.ndarray]],
    clusters: bootstrap.Clusters,
    asv: Mapping[str, float] | None,
    seed: int,
) -> None:
    """Intervals of every system from the same replicas, and of their differences."""
    real, index, size = keys.label == BONAFIDE, clusters.index, sum(clusters.strata)
    makers = dict(INTERVALS)
    if asv is not None:
        cost = metrics.tandem_cost(**asv)
        makers["min_tdcf"] = functools.partial(bootstrap_statistics.min_dcf, cost=cost)
    found: dict[tuple[str, ...], bootstrap_statistics.Statistic] = {}
    for name, values in scores.items():
        for metric, make in makers.items():
            found[name, metric] = make(values, real, index, size)
        for condition, parts in groups.items():
            for value, its in parts.items():
                if _enough(index[its], real[its]):
                    one = bootstrap_statistics.eer(
                        values[its], real[its], index[its], size
                    )
                    found[name, f"by_{condition}", value] = one
    drawn = bootstrap.replicate(
        list(found.values()), clusters, results["replicas"], seed
    )
    for (name, *place), values in zip(found, drawn, strict=True):
        low, high = bootstrap.interval(values, LEVEL)
        one = results["systems"][name]
        if len(place) == 1:
            one.setdefault("intervals", {})[place[0]] = [low, high]
        else:
            one[place[0]][place[1]] |= {"low": low, "high": high}
    pooled = {key[0]: v for key, v in zip(found, drawn, strict=True) if key[1] == "eer"}
    for a, b in combinations(scores, 2):
        low, high = bootstrap.interval(pooled[a] - pooled[b], LEVEL)
        results["differences"][f"{a} - {b}"] = {
            "difference": results["systems"][a]["eer"] - results["systems"][b]["eer"],
            "low": low,
            "high": high,
            "p": bootstrap.p_value(pooled[a] - pooled[b]),
        }


def _enough(index: np.ndarray, real: np.ndarray) -> bool:
    """Whether both classes have clusters to speak of: two speakers tell little."""
    return all(len(np.unique(index[its])) >= FEWEST for its in (real, ~real))
