"""The findings of ``mldg check``, and the words for their numbers and names."""

from collections.abc import Iterable
from typing import NamedTuple


class Finding(NamedTuple):
    """A problem, or a note on something that only looks like one.

    Attributes:
      name: a word or two, e.g. "missing".
      problem: the problem, with numbers.
      fix: what to do.
      note: true if it does not affect any result.
    """

    name: str
    problem: str
    fix: str
    note: bool = False

    def __str__(self) -> str:
        return f"{self.name}: {self.problem}. {self.fix}"


def count(number: int, singular: str, plural: str) -> str:
    """Returns a number with the singular or the plural of a phrase.

    Args:
      number: the number.
      singular: phrase for 1.
      plural: phrase for all other numbers.

    Returns:
      For example "2 lines repeat".
    """
    return f"{number:,} {singular if number == 1 else plural}"


def first(names: Iterable[str]) -> str:
    """Returns the first three names as text.

    Args:
      names: of utterances.

    Returns:
      The names, with an ellipsis if there are more.
    """
    shown = [str(name) for name, _ in zip(names, range(4), strict=False)]
    return ", ".join(shown[:3]) + (", …" if len(shown) > 3 else "")
