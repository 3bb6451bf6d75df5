"""A comparison of methods as tables (text, Markdown, CSV, LaTeX) and as a picture.

``detailed`` tables are those of ``mldg compare``: with the standard deviation over
seeds and the p of a difference. The demo's go without.
"""

import csv
import io

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from mldg_jax.common import plots
from mldg_jax.common.error_rates import Difference
from mldg_jax.common.tables import Table, aligned, markdown_table
from mldg_jax.experiments.results import Comparison
from mldg_jax.experiments.statistics import SeedRate


def files(comparison: Comparison) -> dict[str, str]:
    """Every file by name: table.md, table.csv, table.tex, parameters.svg."""
    found = {
        "table.md": markdown(comparison),
        "table.csv": comma_separated(comparison),
        "table.tex": latex(comparison),
    }
    if any(row.parameters for row in comparison.rows.values()):
        found["parameters.svg"] = picture(comparison)
    return found


def text(comparison: Comparison, *, detailed: bool = True) -> str:
    """For a terminal."""
    parts = _parts(comparison, detailed)
    tables = [(aligned(table) if table[1] else "", note) for table, note in parts]
    return "\n\n".join("\n".join(filter(None, part)) for part in tables)


def markdown(comparison: Comparison, *, detailed: bool = True) -> str:
    """For a README."""
    parts = []
    for table, note in _parts(comparison, detailed):
        parts += [markdown_table(table) if table[1] else "", note.replace("*", "\\*")]
    return "\n\n".join(filter(None, parts)) + "\n"


def _parts(comparison: Comparison, detailed: bool) -> list[tuple[Table, str]]:
    options = {"detailed": detailed}
    tables = [rates(comparison, **options), differences(comparison, **options)]
    return list(zip(tables, notes(comparison, **options), strict=True))


def notes(comparison: Comparison, *, detailed: bool = True) -> tuple[str, str]:
    """What the numbers are: to stand under the rates, and under the differences."""
    seeds = f"{comparison.seeds} seed{'s' * (comparison.seeds > 1)}"
    scheme = comparison.scheme.sentence()
    if not detailed:
        over = f"mean over {seeds}" if comparison.seeds > 1 else seeds
        return (
            f"EER in %, {over} [95 % interval]; macro is the "
            "mean over pairs of speaker and attack; parameters are the trained ones. "
            f"{scheme}",
            "Differences of EER in points, paired over seeds and speakers [95 % "
            "interval]; * = the interval excludes zero, otherwise the two cannot be "
            "told apart.",
        )
    runs = f"{comparison.seeds} seeds"
    if comparison.folds:
        runs += f" × {comparison.folds} speaker folds"
    held_out = "the held-out training attacks"
    which = held_out if comparison.held_out else "the test"
    note = (
        f"EER in % on {which}, mean ± standard deviation over seeds [95 % "
        f"interval], {runs}; macro is the mean over pairs of speaker "
        "and attack. Differences in points, paired over seeds and speakers, with the "
        "two-sided p of no difference, not corrected for their number; * = the "
        "interval excludes zero. Every neural method took as many gradient "
        f"evaluations. {scheme}"
    )
    if comparison.chosen:
        chosen = ", ".join(comparison.chosen.values())
        note += f" Chosen of each method, by the lowest pooled EER: {chosen}."
    return "", note


def rates(comparison: Comparison, *, detailed: bool = True) -> Table:
    """Header and rows: parameters and error rates."""
    body = []
    for row in comparison.rows.values():
        count = "–" if row.parameters is None else f"{row.parameters:,}"
        cells = [_rate(row.eer[name], detailed) for name in comparison.columns]
        body.append([row.title, count, *cells])
    return ["method", "parameters", *comparison.columns.values()], body


def differences(comparison: Comparison, *, detailed: bool = True) -> Table:
    """Header and rows: paired differences, starred if their interval excludes zero."""
    body = [
        [
            f"{a} − {b}",
            *(_difference(one[name], detailed) for name in comparison.columns),
        ]
        for (a, b), one in comparison.differences.items()
    ]
    return ["difference", *comparison.columns.values()], body


def comma_separated(comparison: Comparison) -> str:
    """A line for every method and column; error rates and differences are fractions."""
    names = ["eer", "sd", "low", "high"]
    paired = ["difference", "low", "high", "p"]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    head = ["method", "parameters", "steps", "gradient_evaluations", "column", *names]
    writer.writerow([*head, "reference", "difference", "d_low", "d_high", "p"])
    pairs = {a: (b, found) for (a, b), found in comparison.differences.items()}
    for label, row in comparison.rows.items():
        about = [label, row.parameters, row.steps, row.evaluations]
        reference, found = pairs.get(label, (None, {}))
        for column in comparison.columns:
            one = row.eer[column]
            cells = [getattr(one, name) for name in names]
            other = [getattr(found.get(column), name, None) for name in paired]
            writer.writerow([*about, column, *cells, reference, *other])
    return out.getvalue()


def latex(comparison: Comparison) -> str:
    """A ``tabular`` for booktabs: mean ± sd, the lowest of a column bold."""
    names, rows = comparison.columns, comparison.rows.values()
    best = {name: min(row.eer[name].eer for row in rows) for name in names}
    lines = [
        rf"\begin{{tabular}}{{l r {'c ' * len(names)}}}",
        r"\toprule",
        " & ".join(["method", "parameters", *names.values()]) + r" \\",
        r"\midrule",
    ]
    for row in rows:
        count = "--" if row.parameters is None else f"{row.parameters:,}"
        cells = []
        for name in names:
            one = row.eer[name]
            cell = one.point(2)
            if one.eer == best[name]:
                cell = rf"\textbf{{{cell}}}"
            cells.append(cell + _sd(one, r" $\pm$ ", 2))
        lines.append(" & ".join([row.title, count, *cells]) + r" \\")
    text = "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])
    return text.replace("_", r"\_")


def picture(comparison: Comparison) -> str:
    """EER against trained parameters as SVG; rows of a method are joined."""
    names = list(comparison.columns)
    column = "average" if "average" in names else names[0]
    by_method: dict[str, list[tuple[int, SeedRate]]] = {}
    for row in comparison.rows.values():
        if row.parameters:
            entry = (row.parameters, row.eer[column])
            by_method.setdefault(row.method, []).append(entry)
    with matplotlib.rc_context(plots.OPTIONS):
        figure = Figure(figsize=(5.6, 3.8), layout="constrained")
        ax = figure.subplots()
        for place, (method, entries) in enumerate(by_method.items()):
            colour, marker = plots.style(place)
            entries.sort(key=lambda entry: entry[0])
            # Methods with as many parameters stand side by side.
            x = [n * 1.03 ** (place - len(by_method) / 2) for n, _ in entries]
            y = [100 * one.eer for _, one in entries]
            low, high = np.array([(one.low, one.high) for _, one in entries]).T
            ax.vlines(x, 100 * low, 100 * high, color=colour, lw=1.4)
            ax.plot(x, y, color=colour, marker=marker, mec="white", ms=7, label=method)
        ax.set_xscale("log")
        ax.set_ylim(bottom=0)
        ax.set_xlabel("trained parameters")
        title = comparison.columns[column]
        ax.set_ylabel(f"equal error rate, %, {title}, 95 % interval")
        ax.grid(color=plots.GRID, lw=0.8)
        ax.legend()
        return plots.svg("parameters", figure)


def _sd(one: SeedRate, between: str, digits: int) -> str:
    return "" if one.sd is None else f"{between}{100 * one.sd:.{digits}f}"


def _rate(one: SeedRate, detailed: bool) -> str:
    sd = _sd(one, " ± ", 1) if detailed else ""
    return one.point() + sd + one.interval()


def _difference(one: Difference, detailed: bool) -> str:
    p = f", p {one.p:.2g}" if detailed else ""
    return one.text() + p + " *" * one.excludes_zero
