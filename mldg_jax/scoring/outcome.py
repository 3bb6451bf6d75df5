"""The results of an evaluation, and the JSON that ``mldg evaluate`` prints."""

from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np

from mldg_jax.common.error_rates import Difference, ErrorRate
from mldg_jax.scoring.bootstrap import Scheme
from mldg_jax.scoring.fixed_threshold import FixedThresholds
from mldg_jax.scoring.key_files import Keys


class Trials(NamedTuple):
    """The trials of an evaluation.

    Attributes:
      file: the file of their keys.
      format: format of the file.
      subset: subset of the file; "" for all.
      n_bonafide, n_spoof: numbers of trials.
    """

    file: str
    format: str
    subset: str
    n_bonafide: int
    n_spoof: int


@dataclass(frozen=True)
class PartRate(ErrorRate):
    """The error rate of the trials with one value of a condition, such as one attack.

    Attributes:
      n: number of trials with the value.
      n_bonafide, n_spoof: numbers of trials behind the rate, see ``metrics.groups``.
    """

    n: int = 0
    n_bonafide: int = 0
    n_spoof: int = 0

    def to_json(self) -> dict[str, Any]:
        """Returns the attributes by name; low and high only if there is an interval."""
        return {k: v for k, v in asdict(self).items() if v is not None}


@dataclass(frozen=True)
class System:
    """The numbers of one system.

    Attributes:
      measures: those of ``metrics.detection_metrics``, min_cllr, and min_tdcf if the
        rates of a speaker verifier are given.
      warnings: signs that the scores are wrong.
      parts: error rates by condition and value, {"attack": {"A07": …}}.
      intervals: low and high by measure.
      fixed: errors at thresholds that were fixed on dev scores; None without them.
    """

    measures: dict[str, float]
    warnings: tuple[str, ...]
    parts: dict[str, dict[str, PartRate]]
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    fixed: FixedThresholds | None = None

    @property
    def eer(self) -> ErrorRate:
        """The EER of all trials."""
        return ErrorRate(self.measures["eer"], *self.intervals.get("eer", ()))

    def to_json(self) -> dict[str, Any]:
        """Returns measures, ``warnings``, ``intervals`` and ``by_attack``, ….

        With dev scores there is also ``fixed_threshold``.
        """
        numbers = {**self.measures, "warnings": list(self.warnings)}
        if self.intervals:
            numbers["intervals"] = {k: list(v) for k, v in self.intervals.items()}
        for condition, parts in self.parts.items():
            numbers[f"by_{condition}"] = {k: v.to_json() for k, v in parts.items()}
        if self.fixed is not None:
            numbers["fixed_threshold"] = self.fixed.to_json()
        return numbers


@dataclass(frozen=True)
class Evaluation:
    """An evaluation of one or more systems on the same trials.

    Attributes:
      trials: facts about the trials.
      systems: by name.
      differences: of the EER of two systems, paired.
      scheme: of the bootstrap; without replicates there are no intervals.
      units: description of the units that are resampled.
      keys: the trials.
      scores: of each system, (trials,) float64.
    """

    trials: Trials
    systems: dict[str, System]
    differences: dict[tuple[str, str], Difference]
    scheme: Scheme
    units: str
    keys: Keys
    scores: dict[str, np.ndarray]

    @property
    def conditions(self) -> list[str]:
        """The conditions with at least one value, e.g. attack."""
        first = next(iter(self.systems.values()))
        return [name for name, parts in first.parts.items() if parts]

    @property
    def fixed(self) -> dict[str, FixedThresholds]:
        """The errors at dev thresholds by system; empty without dev scores."""
        return {
            name: system.fixed
            for name, system in self.systems.items()
            if system.fixed is not None
        }

    def to_json(self) -> dict[str, Any]:
        """Returns the object that ``--json`` prints; a single system is not nested."""
        context: dict[str, Any] = {"keys": self.trials._asdict()}
        if self.scheme.replicates:
            context |= {"replicas": self.scheme.replicates, "clusters": self.units}
            context["bootstrap"] = self.scheme.to_json(self.units)
        systems = {name: system.to_json() for name, system in self.systems.items()}
        if len(systems) == 1:
            return next(iter(systems.values())) | context
        differences = {
            f"{a} - {b}": difference.to_json()
            for (a, b), difference in self.differences.items()
        }
        return context | {"systems": systems, "differences": differences}
