"""Error rates and their differences with intervals, and how tables show them."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class ErrorRate:
    """An equal error rate.

    Attributes:
      eer: a fraction.
      low, high: the ends of its interval, fractions; None without one.
    """

    eer: float
    low: float | None = None
    high: float | None = None

    def point(self, digits: int = 1) -> str:
        """Returns the rate in per cent."""
        return f"{100 * self.eer:.{digits}f}"

    def interval(self, digits: int = 1) -> str:
        """Returns the interval in per cent, after a space; empty without one."""
        if self.low is None or self.high is None:
            return ""
        return f" [{100 * self.low:.{digits}f}, {100 * self.high:.{digits}f}]"

    def text(self, digits: int = 1) -> str:
        """Returns the rate in per cent and its interval, where it has one."""
        return self.point(digits) + self.interval(digits)

    def to_json(self) -> dict[str, Any]:
        """Returns the attributes by name."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Difference:
    """A paired difference of two error rates.

    Attributes:
      difference: a fraction.
      low, high: the ends of its interval, fractions.
      p: two-sided, of no difference.
    """

    difference: float
    low: float
    high: float
    p: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0

    def text(self, digits: int = 1) -> str:
        """Returns the difference in percentage points and its interval."""
        signed = (
            # Adding zero keeps "-0.0" from being shown.
            f"{round(100 * value, digits) + 0.0:+.{digits}f}".replace("-", "−")
            for value in (self.difference, self.low, self.high)
        )
        return "{} [{}, {}]".format(*signed)

    def to_json(self) -> dict[str, float]:
        """Returns the attributes by name."""
        return dataclasses.asdict(self)
