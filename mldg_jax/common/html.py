"""HTML for reports: tables, pictures, whole pages.

A page is one file that needs no network: pictures are inline SVG, fonts are the
reader's own.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from mldg_jax.common.tables import Table


def html_table(one: Table) -> str:
    """A table in HTML; the first cell of a row is its header."""
    header, rows = one
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    lines = [
        f'<tr><th scope="row">{escape(first)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in rest)
        + "</tr>"
        for first, *rest in rows
    ]
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def picture(
    drawn: Mapping[str, str], names: Sequence[str], kind: str, note: str
) -> str:
    """Those of some SVG pictures that were drawn, with a caption.

    Args:
      drawn: SVG text by name.
      names: which to show.
      kind: their class in the style sheet: attacks, pair.
      note: the caption, plain text.
    """
    pictures = "".join(
        f'<div class="scroll">{drawn[name]}</div>' for name in names if name in drawn
    )
    return (
        f'<figure><div class="{kind}">{pictures}</div>'
        f"<figcaption>{escape(note)}</figcaption></figure>"
    )


def render_page(title: str, body: Iterable[str]) -> str:
    """A whole HTML page; `body` holds HTML, the title plain text."""
    filled = PAGE.replace("{title}", escape(title))
    return filled.replace("{body}", "\n".join(body))


PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { max-width: 56rem; margin: 0 auto; padding: 2rem 1rem 4rem; background: #fff;
  color: #1b1b1b; font: 1rem/1.55 system-ui, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 1rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .75rem; }
h3 { font-size: 1rem; margin: 1.25rem 0 .4rem; }
p { margin: .6rem 0; overflow-wrap: anywhere; }
.verdict { border-left: 4px solid #0072b2; background: #f0f6fa; padding: .8rem 1rem; }
.note, figcaption { color: #555; font-size: .875rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; margin: .5rem 0;
  font-variant-numeric: tabular-nums; }
th, td { padding: .35rem 1.1rem .35rem 0; text-align: left; white-space: nowrap;
  border-bottom: 1px solid #ddd; }
thead th { border-bottom: 2px solid #888; }
tbody th { font-weight: 500; }
figure { margin: 1.25rem 0; }
figcaption { margin-top: .6rem; }
svg { display: block; width: 100%; height: auto; }
.attacks svg { max-width: 44rem; }
.pair { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr)); }
.players { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(17rem, 100%), 1fr)); }
article { border: 1px solid #ddd; border-top: 4px solid #009e73; padding: .6rem .8rem; }
article.fake { border-top-color: #d55e00; }
article h3 { margin: 0; }
article p { font-size: .875rem; color: #555; margin: .2rem 0 .5rem; }
article table { width: 100%; margin-bottom: 0; }
article th, article td { padding-right: .4rem; font-size: .82rem; }
audio { width: 100%; }
code { background: #f3f3f3; padding: .1em .3em; overflow-wrap: anywhere; }
summary { cursor: pointer; margin: .5rem 0; }
@media print { body { max-width: none; padding: 0; font-size: 10pt; }
  figure, article, tr { break-inside: avoid; } h2, h3 { break-after: avoid; }
  audio { display: none; } * { print-color-adjust: exact; } }
</style>
</head>
<body>
{body}
</body>
</html>
"""
