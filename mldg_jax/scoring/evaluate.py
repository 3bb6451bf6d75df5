"""Evaluates score files against keys."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from mldg_jax import metrics
from mldg_jax.common.errors import UserError
from mldg_jax.data.corpus import BONAFIDE
from mldg_jax.data.protocols import ALIASES
from mldg_jax.scoring import (
    dev_scores,
    diagnose,
    fixed_threshold,
    intervals,
    key_files,
    trial_scores,
)
from mldg_jax.scoring.calibration import min_cllr
from mldg_jax.scoring.fixed_threshold import DevThresholds
from mldg_jax.scoring.key_files import Keys
from mldg_jax.scoring.outcome import Evaluation, PartRate, System, Trials
from mldg_jax.scoring.scheme import Resample, Scheme

log = logging.getLogger(__name__)

FEWEST_REPLICAS = 40  # with one beyond each end of a 95 % interval: 2.5 % of them
CONDITIONS = ("attack", "codec", "language")  # shown by default, if the keys have them


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
    resample: Resample = "speakers",
    families: Mapping[str, str] | None = None,
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
      replicas: number of bootstrap replicates, at least ``FEWEST_REPLICAS``; 0 for no
        intervals.
      seed: of the bootstrap.
      resample: see ``Scheme.clusters``. If attacks are known, the EERs and their
        differences have an interval for new attacks in any case.
      families: see ``Scheme.families``.

    Returns:
      The evaluation, with 95 % intervals. A part has one if each class has at least 5
      speakers.

    Raises:
      UserError: a file cannot be read or does not fit the keys, or there are too few
        attacks to resample.
    """
    everything = trial_scores.read_keys(systems, keys_path)
    keys = key_files.subset(everything, subset)
    if len(available := set(everything.columns.get("subset", []))) > 1:
        log.info(
            "evaluating subset %s; the keys have %s (choose with --subset)",
            subset or "eval",
            ", ".join(sorted(available)),
        )
    real = keys.label == BONAFIDE
    trial_scores.require_both(real, "the keys")
    check_replicas(replicas)
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
    scheme = Scheme(
        "together",
        replicates=replicas,
        seed=seed,
        clusters=resample,
        families=families or {},
    )
    evaluation = Evaluation(trials, measured, {}, scheme, "", keys, scores)
    return intervals.add(evaluation, groups, asv)


def check_replicas(replicas: int) -> None:
    """Checks the number of bootstrap replicates.

    Args:
      replicas: see ``evaluate``.

    Raises:
      UserError: it is too small for intervals, and not 0.
    """
    if replicas < 0 or 0 < replicas < FEWEST_REPLICAS:
        raise UserError(
            f"replicas is {replicas}, must be 0 for no intervals or at least "
            f"{FEWEST_REPLICAS}, or nothing is outside a 95 % interval; try 1000"
        )


def named(arguments: Sequence[str], option: str = "--scores") -> dict[str, str]:
    """Parses the score files of a command line.

    Args:
      arguments: ``NAME=FILE``, or ``FILE``, which is named by its stem.
      option: that the arguments belong to, for the message.

    Returns:
      Files by name.

    Raises:
      UserError: two files have the same name, or one has none.
    """
    systems: dict[str, str] = {}
    for argument in arguments:
        name, equals, path = argument.partition("=")
        if not equals or Path(argument).exists():
            name, path = Path(argument).stem, argument
        if not name.strip() or not path:
            raise UserError(
                f"{option} is {argument!r}, which lacks the name or the file: write "
                "NAME=FILE, or FILE alone"
            )
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
    if by is not None:
        by = [ALIASES.get(name, name) for name in by]
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
