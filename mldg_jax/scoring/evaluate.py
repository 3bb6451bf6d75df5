"""Evaluates score files against keys."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np

from mldg_jax import metrics
from mldg_jax.common.errors import UserError
from mldg_jax.data.corpus import BONAFIDE
from mldg_jax.scoring import (
    bootstrap,
    bootstrap_statistics,
    dev_scores,
    diagnose,
    fixed_threshold,
    key_files,
    trial_scores,
)
from mldg_jax.scoring.bootstrap import Scheme
from mldg_jax.scoring.calibration import min_cllr
from mldg_jax.scoring.fixed_threshold import DevThresholds
from mldg_jax.scoring.key_files import UNKNOWN, Keys
from mldg_jax.scoring.outcome import Evaluation, PartRate, System, Trials

CONDITIONS = ("attack", "codec", "language")  # shown by default, if the keys have them
INTERVALS = {
    "eer": bootstrap_statistics.eer,
    "min_dcf": bootstrap_statistics.min_dcf,
    "act_dcf": bootstrap_statistics.act_dcf,
    "cllr": bootstrap_statistics.cllr,
}
FEWEST = 5  # fewest speakers of a class for an interval


def evaluate(
    systems: Mapping[str, str | Path],
    keys_path: str | Path | None = None,
    *,
    format: str = "auto",
    subset: str | None = None,
    by: Sequence[str] | None = None,
    asv: Mapping[str, float] | None = None,
    threshold_from: Mapping[str, str | Path] | None = None,
    threshold_keys: str | Path | None = None,
    threshold_subset: str | None = None,
    replicas: int = 1000,
    seed: int = 0,
) -> Evaluation:
    """Evaluates one or more systems on the same trials.

    Args:
      systems: score files by the systems' names.
      keys_path: the keys; None if a score file carries its keys (2019).
      format: of the score files, see ``score_files.read``.
      subset: see ``key_files.subset``.
      by: columns of the keys to break the EER down by, in addition to the attack;
        ``CONDITIONS`` if None.
      asv: the three rates of ``metrics.min_tdcf``, for min t-DCF.
      threshold_from: dev scores by the systems' names, for the error rates at dev
        thresholds, see ``fixed_threshold``; None for none.
      threshold_keys: keys of the dev scores; None if they carry their keys (2019).
      threshold_subset: subset of these keys, see ``key_files.subset``; "dev" if None
        and the keys have several.
      replicas: number of bootstrap replicates; 0 for no intervals.
      seed: of the bootstrap.

    Returns:
      The evaluation, with 95 % intervals. A part has one if each class has at least 5
      speakers.

    Raises:
      UserError: a file cannot be read or does not fit the keys.
    """
    everything = trial_scores.read_keys(systems, keys_path)
    keys = key_files.subset(everything, subset)
    real = keys.label == BONAFIDE
    trial_scores.require_both(real, "the keys")
    if replicas < 0:
        raise UserError(f"replicas is {replicas}, must be 0 or more; try 1000")
    dev = dev_scores.fit(
        systems,
        threshold_from,
        threshold_keys,
        keys,
        format=format,
        subset=threshold_subset,
    )
    scores = {
        name: trial_scores.read_scores(path, format, everything, keys)
        for name, path in systems.items()
    }
    columns = {name: keys.columns[name] for name in _conditions(keys, by)}
    groups = {name: metrics.groups(keys.label, x) for name, x in columns.items()}
    measured = {
        name: _measure(x, keys, groups, asv, dev.get(name))
        for name, x in scores.items()
    }
    trials = _described(keys_path or next(iter(systems.values())), keys)
    ids, units = cluster_ids(keys)
    scheme = Scheme("together", replicates=replicas, seed=seed)
    if not _enough(ids, real):
        scheme = replace(scheme, replicates=0)
    evaluation = Evaluation(trials, measured, {}, scheme, units, keys, scores)
    if not scheme.replicates:
        return evaluation
    return _with_intervals(evaluation, ids, groups, asv)


def named(arguments: Sequence[str], option: str = "--scores") -> dict[str, str]:
    """Parses the score files of a command line.

    Args:
      arguments: ``NAME=FILE``, or ``FILE``, which is named by its stem.
      option: that the arguments belong to, for the message.

    Returns:
      Files by name.

    Raises:
      UserError: two files have the same name.
    """
    systems: dict[str, str] = {}
    for argument in arguments:
        name, equals, path = argument.partition("=")
        if not equals or Path(argument).exists():
            name, path = Path(argument).stem, argument
        if name in systems:
            raise UserError(
                f"two score files are called {name!r}: tell them apart with "
                f"{option} NAME=FILE"
            )
        systems[name] = path
    return systems


def named_dev(systems: Iterable[str], arguments: Sequence[str]) -> dict[str, str]:
    """Parses the dev score files of a command line.

    Args:
      systems: names of the evaluated systems.
      arguments: as for ``named``. If there is only one system and one ``FILE`` without
        a name, it belongs to that system.

    Returns:
      Files by name.

    Raises:
      UserError: two files have the same name.
    """
    files, names = named(arguments, "--threshold-from"), list(systems)
    unnamed = list(files.values()) == list(arguments)
    if len(names) == len(files) == 1 and unnamed:
        return {names[0]: arguments[0]}
    return files


def cluster_ids(keys: Keys) -> tuple[np.ndarray, str]:
    """Returns the units that are resampled: speakers, or utterances if none are known.

    Args:
      keys: the trials.

    Returns:
      (trials,) ids and their description; see ``bootstrap.units``.
    """
    if "speaker" not in keys.columns:
        return np.arange(len(keys.label)), "utterances"
    speakers = keys.columns["speaker"]
    return bootstrap.units(keys.label, speakers, unknown=UNKNOWN)


def _described(path: str | Path, keys: Keys) -> Trials:
    """Returns the facts about the trials that a report shows."""
    return Trials(
        file=str(path),
        format=keys.format,
        subset=" ".join(sorted(set(keys.columns.get("subset", [])))),
        n_bonafide=int(np.sum(keys.label == BONAFIDE)),
        n_spoof=int(np.sum(keys.label != BONAFIDE)),
    )


def _conditions(keys: Keys, by: Sequence[str] | None) -> list[str]:
    """Returns the columns to break the EER down by, the attack first."""
    for name in by or ():
        if name not in keys.columns:
            fix = f"choose --by from {', '.join(keys.columns)}"
            fix = fix if keys.columns else "they hold only labels, so omit --by"
            raise UserError(f"the keys have no column {name!r}: {fix}")
    columns = by if by is not None else [n for n in CONDITIONS if n in keys.columns]
    attack = [n for n in ("attack",) if n in keys.columns]
    return list(dict.fromkeys([*attack, *columns]))


def _measure(
    scores: np.ndarray,
    keys: Keys,
    groups: dict[str, dict[str, np.ndarray]],
    asv: Mapping[str, float] | None,
    dev: DevThresholds | None,
) -> System:
    """Returns the numbers of one system, without intervals."""
    real = keys.label == BONAFIDE
    both = scores[real], scores[~real]
    measures = {**metrics.detection_metrics(*both), "min_cllr": min_cllr(*both)}
    if asv is not None:
        try:
            measures["min_tdcf"] = metrics.min_tdcf(*both, **asv)
        except ValueError as error:
            raise UserError(str(error)) from None
    parts = {
        condition: {
            value: PartRate(
                metrics.eer(scores[part[real[part]]], scores[part[~real[part]]])[0],
                n=int(np.sum(keys.columns[condition][part] == value)),
                n_bonafide=int(np.sum(real[part])),
                n_spoof=int(np.sum(~real[part])),
            )
            for value, part in trials.items()
        }
        for condition, trials in groups.items()
    }
    warnings = tuple(str(finding) for finding in diagnose.judge(scores, keys.label))
    if dev is None:
        return System(measures, warnings, parts)
    fixed = fixed_threshold.apply_thresholds(dev, scores, real, groups)
    return System(measures, warnings + dev.warnings, parts, fixed=fixed)


def _with_intervals(
    evaluation: Evaluation,
    ids: np.ndarray,
    groups: dict[str, dict[str, np.ndarray]],
    asv: Mapping[str, float] | None,
) -> Evaluation:
    """Adds intervals and differences, all from the same bootstrap replicates."""
    scheme, keys = evaluation.scheme, evaluation.keys
    clusters = bootstrap.cluster(keys.label, ids, scheme)
    real, index, size = keys.label == BONAFIDE, clusters.index, clusters.count
    makers = dict(INTERVALS)
    if asv is not None:
        cost = metrics.tandem_cost(**asv)
        makers["min_tdcf"] = functools.partial(bootstrap_statistics.min_dcf, cost=cost)
    statistics: dict[tuple[str, ...], bootstrap_statistics.Statistic] = {}
    for name, values in evaluation.scores.items():
        for measure, make in makers.items():
            statistics[name, measure] = make(values, real, index, size)
        for condition, parts in groups.items():
            for value, part in parts.items():
                if _enough(index[part], real[part]):
                    statistics[name, condition, value] = bootstrap_statistics.eer(
                        values[part], real[part], index[part], size
                    )
    drawn = bootstrap.replicate(list(statistics.values()), clusters, scheme)
    replicates = dict(zip(statistics, drawn, strict=True))
    ends = {k: bootstrap.interval(v, scheme.level) for k, v in replicates.items()}

    def bounded(name: str, system: System) -> System:
        parts = {
            condition: {
                value: replace(part, low=low, high=high)
                for value, part in values.items()
                for low, high in [ends.get((name, condition, value), (None, None))]
            }
            for condition, values in system.parts.items()
        }
        intervals = {measure: ends[name, measure] for measure in makers}
        return replace(system, parts=parts, intervals=intervals)

    systems = {
        name: bounded(name, system) for name, system in evaluation.systems.items()
    }
    differences = {
        (a, b): bootstrap.difference(
            systems[a].eer.eer - systems[b].eer.eer,
            replicates[a, "eer"] - replicates[b, "eer"],
            scheme.level,
        )
        for a, b in combinations(systems, 2)
    }
    return replace(evaluation, systems=systems, differences=differences)


def _enough(index: np.ndarray, real: np.ndarray) -> bool:
    """Returns whether both classes have enough clusters for an interval."""
    return all(len(np.unique(index[in_class])) >= FEWEST for in_class in (real, ~real))
