"""What an evaluation found: types, and the JSON that ``mldg evaluate`` prints."""

from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np

from mldg_jax.common.error_rates import Difference, ErrorRate
from mldg_jax.scoring.bootstrap import Scheme
from mldg_jax.scoring.key_files import Keys


class Trials(NamedTuple):
    """The trials of an evaluation.

    Attributes:
      file: that has their keys.
      format: of the file.
      subset: of the file; "" for all.
      n_bonafide, n_spoof: how many.
    """

    file: str
    format: str
    subset: str
    n_bonafide: int
    n_spoof: int


@dataclass(frozen=True)
class PartRate(ErrorRate):
    """The error rate of the trials that have a condition's value, such as an attack.

    Attributes:
      n: trials with the value.
      n_bonafide, n_spoof: trials that the rate is of, see `metrics.groups`.
    """

    n: int = 0
    n_bonafide: int = 0
    n_spoof: int = 0

    def to_json(self) -> dict[str, Any]:
        """Returns the attributes by name, low and high if there is an interval."""
        return {k: v for k, v in asdict(self).items() if v is not None}


@dataclass(frozen=True)
class System:
    """The numbers of one system.

    Attributes:
      measures: `metrics.detection_metrics`, min_cllr, and min_tdcf if there are rates.
      warnings: what is odd about the scores.
      parts: by condition and value, {"attack": {"A07": …}}.
      intervals: low and high by measure.
    """

    measures: dict[str, float]
    warnings: tuple[str, ...]
    parts: dict[str, dict[str, PartRate]]
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def eer(self) -> ErrorRate:
        """The EER of all trials."""
        return ErrorRate(self.measures["eer"], *self.intervals.get("eer", ()))

    def to_json(self) -> dict[str, Any]:
        """Returns measures, ``warnings``, ``intervals`` and ``by_attack``, …."""
        found = {**self.measures, "warnings": list(self.warnings)}
        if self.intervals:
            found["intervals"] = {k: list(v) for k, v in self.intervals.items()}
        for condition, parts in self.parts.items():
            found[f"by_{condition}"] = {k: v.to_json() for k, v in parts.items()}
        return found


@dataclass(frozen=True)
class Evaluation:
    """What was evaluated, and the numbers.

    Attributes:
      trials: about them.
      systems: by name.
      differences: of the EER of two systems, paired.
      scheme: of the bootstrap; without replicates there are no intervals.
      units: what it draws, in words.
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
        """The conditions that have at least one value to show, e.g. attack."""
        first = next(iter(self.systems.values()))
        return [name for name, parts in first.parts.items() if parts]

    def to_json(self) -> dict[str, Any]:
        """Returns what ``--json`` prints: one system's numbers are not nested."""
        found: dict[str, Any] = {"keys": self.trials._asdict()}
        if self.scheme.replicates:
            found |= {"replicas": self.scheme.replicates, "clusters": self.units}
            found["bootstrap"] = self.scheme.to_json(self.units)
        systems = {name: one.to_json() for name, one in self.systems.items()}
        if len(systems) == 1:
            return next(iter(systems.values())) | found
        pairs = {
            f"{a} - {b}": one.to_json() for (a, b), one in self.differences.items()
        }
        return found | {"systems": systems, "differences": pairs}
