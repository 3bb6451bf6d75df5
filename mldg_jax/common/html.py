"""HTML pages: templates from ``templates/``, in which every value is escaped.

A page is one file that needs no network: pictures are inline SVG, fonts are the
reader's own.
"""

from typing import Any

import jinja2

from mldg_jax.common.tables import Table

_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("mldg_jax.common"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(template: str, **values: Any) -> str:
    """Fills a template.

    Args:
      template: a file of ``templates/``.
      **values: what it names, as plain text, tables and the like.

    Returns:
      The whole page.
    """
    return _TEMPLATES.get_template(template).render(values)


def html_table(table: Table) -> str:
    """Returns a table in HTML; the first cell of a row is its header."""
    page = '{% from "parts.html" import table %}{{ table(content) }}'
    return _TEMPLATES.from_string(page).render(content=table)
