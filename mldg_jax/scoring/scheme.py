"""How the trials of an evaluation are resampled, and the words for it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Resample = Literal["speakers", "speakers and attacks", "trials"]
CHOICES: dict[str, Resample] = {x.replace(" and ", "-"): x for x in get_args(Resample)}


@dataclass(frozen=True)
class Scheme:
    """How trials are resampled.

    Attributes:
      classes: "together": a speaker is drawn with the bona fide trials and the spoofs
        of that speaker, for corpora whose spoof trials name the speaker they imitate (a
        speaker is easy or hard in both classes). "apart": the speakers of the two
        classes are drawn independently, for corpora whose synthesisers have voices of
        their own.
      seeds: whether training seeds are drawn as well, see ``over_seeds``.
      replicates: number of bootstrap replicates; 0 for no intervals.
      seed: seed of the random numbers, ≥ 0.
      level: coverage of the percentile intervals, in (0, 1).
      clusters: what is drawn, and so what the intervals hold for. "speakers": new
        speakers and the same attacks. "speakers and attacks": new speakers and new
        attacks, see ``two_way``. "trials": new trials of the same speakers and attacks;
        too narrow for anything else.
      families: the family of an attack, for attacks that are settings of one engine: a
        family is drawn as a whole. An attack that is not listed is its own family.
    """

    classes: Literal["together", "apart"]
    seeds: bool = False
    replicates: int = 1000
    seed: int = 0
    level: float = 0.95
    clusters: Resample = "speakers"
    families: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def attacks(self) -> bool:
        """True if attacks are drawn."""
        return self.clusters == "speakers and attacks"

    def resampled(self, units: str = "speakers") -> str:
        """Describes what is drawn.

        Args:
          units: description of the units, as from ``units``.

        Returns:
          A phrase for "bootstrap replicates of …".
        """
        drawn = f"seeds and of {units}" if self.seeds else units
        crossed = ""
        if self.attacks:
            of = "attack families" if self.families else "attacks"
            crossed = f", crossed with replicates of {of}"
        if self.classes == "apart":
            return (
                f"{drawn}, those of bona fide and those of spoof drawn independently "
                f"(of a class with one speaker the utterances){crossed}"
            )
        if units in ("utterances", "trials"):
            return drawn + crossed
        return f"{drawn}, each drawn with the trials of both classes{crossed}"

    def sentence(self, units: str = "speakers") -> str:
        """Describes where the intervals of a table come from.

        Args:
          units: description of the units, as from ``units``.

        Returns:
          One sentence.
        """
        if not self.replicates:
            return "Without intervals."
        return (
            f"In brackets {100 * self.level:g} % {self._interval} intervals from "
            f"{self.replicates:,} bootstrap replicates of {self.resampled(units)}."
        )

    @property
    def _interval(self) -> str:
        """The kind of the intervals, see ``small_samples``."""
        return "expanded percentile" if self.attacks else "percentile"

    def to_json(self, units: str = "speakers") -> dict[str, Any]:
        """Returns the description of the intervals for a results file.

        Args:
          units: description of the units, as from ``units``.

        Returns:
          What is resampled, the number of replicates, the seed and the level.
        """
        return {
            "resampled": self.resampled(units),
            "replicates": self.replicates,
            "seed": self.seed,
            "level": self.level,
            "interval": self._interval,
        }
