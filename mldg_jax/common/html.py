"""HTML pages from the Jinja2 templates in ``templates/``, which escape every value.

A page is a single file that needs no network: pictures are inline SVG, and fonts are
those of the reader's system.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jinja2

from mldg_jax.common.errors import UserError
from mldg_jax.common.files import check_output
from mldg_jax.common.tables import Table
from mldg_jax.common.text_files import visible

_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("mldg_jax.common"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)

_BEGINNINGS = (b"<!doctype html", b"<html")


def check_page(path: str | Path, inputs: Iterable[str | Path] = ()) -> None:
    """Checks, before work starts, that a page can be put at a path.

    Args:
      path: of the page to be.
      inputs: paths of the files that it is made from.

    Raises:
      UserError: as ``files.check_output``, or another kind of file is there.
    """
    check_output(path, inputs)
    if not Path(path).exists():
        return
    with open(path, "rb") as file:
        start = file.read(1_000).removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start and not start.startswith(_BEGINNINGS):
        raise UserError(
            f"{path} is there and is not an HTML page, so it is not replaced; delete "
            "it or name another output"
        )


def render(template: str, **values: Any) -> str:
    """Renders a template.

    Args:
      template: name of a file in ``templates/``.
      **values: the template's variables; a missing one is an error.

    Returns:
      The HTML page.
    """
    return visible(_TEMPLATES.get_template(template).render(values))


def html_table(table: Table) -> str:
    """Renders a table as HTML.

    Args:
      table: header and rows; the first cell of a row becomes its row header.

    Returns:
      An HTML fragment.
    """
    page = '{% from "parts.html" import table %}{{ table(content) }}'
    return _TEMPLATES.from_string(page).render(content=table)
