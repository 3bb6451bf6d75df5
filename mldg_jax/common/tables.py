"""Tables as plain text and Markdown, and numbers as their cells show them."""

from collections.abc import Mapping

Table = tuple[list[str], list[list[str]]]  # header, rows


def aligned(one: Table) -> str:
    """A table as plain text for a terminal."""
    header, rows = one
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip()
        for line in (header, *rows)
    )


def markdown_table(one: Table) -> str:
    """A table in Markdown; all columns but the first are aligned right."""
    header, rows = one
    rule = ["---"] + ["---:"] * (len(header) - 1)
    return "\n".join(
        "| " + " | ".join(_markdown_cell(c) for c in row) + " |"
        for row in (header, rule, *rows)
    )


def rate(error: Mapping[str, float | None], digits: int = 1) -> str:
    """An error rate in per cent with its interval, where it has one.

    Args:
      error: ``eer`` and perhaps ``low`` and ``high``, fractions.
    """
    point = f"{100 * error['eer']:.{digits}f}"
    low, high = error.get("low"), error.get("high")
    if low is None or high is None:
        return point
    return f"{point} [{100 * low:.{digits}f}, {100 * high:.{digits}f}]"


def points(one: Mapping[str, float], digits: int = 1) -> str:
    """A difference (fractions: difference, low, high) in points with its interval."""
    signed = (
        # Adding zero keeps "-0.0" from being shown.
        f"{round(100 * one[k], digits) + 0.0:+.{digits}f}".replace("-", "−")
        for k in ("difference", "low", "high")
    )
    return "{} [{}, {}]".format(*signed)


def _markdown_cell(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*")
