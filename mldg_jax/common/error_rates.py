"""Error rates and their differences with intervals, and their form in tables."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class ErrorRate:
    """An equal error rate.

    Attributes:
      eer: the rate, a fraction in [0, 1].
      low, high: ends of its confidence interval, fractions; None without an interval.
    """

    eer: float
    low: float | None = None
    high: float | None = None

    def point(self, digits: int = 1) -> str:
        """Formats the rate in per cent.

        Args:
          digits: decimal places.

        Returns:
          The number without a unit, e.g. "12.5".
        """
        return f"{100 * self.eer:.{digits}f}"

    def interval(self, digits: int = 1) -> str:
        """Formats the interval in per cent.

        Args:
          digits: decimal places.

        Returns:
          A space and the interval, e.g. " [10.0, 20.0]"; empty without an interval.
        """
        if self.low is None or self.high is None:
            return ""
        return f" [{100 * self.low:.{digits}f}, {100 * self.high:.{digits}f}]"

    def text(self, digits: int = 1) -> str:
        """Formats the rate and its interval in per cent.

        Args:
          digits: decimal places.

        Returns:
          For example "12.5 [10.0, 20.0]"; the rate alone without an interval.
        """
        return self.point(digits) + self.interval(digits)

    def to_json(self) -> dict[str, Any]:
        """Returns the attributes by name."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Difference:
    """A paired difference of two error rates.

    Attributes:
      difference: the difference, a fraction.
      low, high: ends of its confidence interval, fractions.
      p: two-sided p-value of the hypothesis that there is no difference.
      p_adjusted: p adjusted for all differences of a table; None for a single one.
      on_new_attacks: the same difference with the interval and the p-values that hold
        for new attacks; None if they are not computed.
    """

    difference: float
    low: float
    high: float
    p: float
    p_adjusted: float | None = None
    on_new_attacks: "Difference | None" = None

    @property
    def excludes_zero(self) -> bool:
        """True if zero lies outside the interval."""
        return self.low > 0 or self.high < 0

    def text(self, digits: int = 1) -> str:
        """Formats the difference and its interval in percentage points.

        Args:
          digits: decimal places.

        Returns:
          Signed numbers, e.g. "−0.7 [−1.3, +0.9]".
        """
        signed = (
            # Adding zero turns -0.0 into 0.0, which is shown as "+0.0".
            f"{round(100 * value, digits) + 0.0:+.{digits}f}".replace("-", "−")
            for value in (self.difference, self.low, self.high)
        )
        return "{} [{}, {}]".format(*signed)

    def to_json(self) -> dict[str, Any]:
        """Returns the attributes by name, those that are None excluded."""
        values = {k: v for k, v in vars(self).items() if v is not None}
        if self.on_new_attacks is not None:
            values["on_new_attacks"] = self.on_new_attacks.to_json()
        return values
