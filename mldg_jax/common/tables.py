"""Tables as plain text and Markdown."""

Table = tuple[list[str], list[list[str]]]  # header, rows


def aligned(one: Table) -> str:
    """Formats a table as plain text for a terminal.

    Args:
      one: header and rows.

    Returns:
      Lines of left-aligned columns, two spaces apart.
    """
    header, rows = one
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip()
        for line in (header, *rows)
    )


def markdown_table(one: Table) -> str:
    """Formats a table as Markdown.

    Args:
      one: header and rows.

    Returns:
      A Markdown table; all columns but the first are right-aligned.
    """
    header, rows = one
    rule = ["---"] + ["---:"] * (len(header) - 1)
    return "\n".join(
        "| " + " | ".join(_markdown_cell(c) for c in row) + " |"
        for row in (header, rule, *rows)
    )


def _markdown_cell(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*")
