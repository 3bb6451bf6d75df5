"""A comparison of methods as tables (text, Markdown, CSV, LaTeX) and as a picture.

``detailed`` tables, as in ``mldg compare``, include the standard deviation over seeds
and the p-value of each difference. The demo's tables do not.
"""

import csv
import io

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from mldg_jax.common import plots
from mldg_jax.common.error_rates import Difference
from mldg_jax.common.tables import Table, aligned, markdown_table
from mldg_jax.experiments import difference_plot, side_tables
from mldg_jax.experiments.results import Comparison
from mldg_jax.experiments.statistics import SeedRate


def files(comparison: Comparison) -> dict[str, str]:
    """Returns the content of every file of a comparison.

    Args:
      comparison: the results.

    Returns:
      Text by file name: table.md, table.csv, table.tex; differences.svg, if there are
      any; and, if methods differ in trained parameters, parameters.svg.
    """
    contents = {
        "table.md": markdown(comparison),
        "table.csv": comma_separated(comparison),
        "table.tex": latex(comparison),
    }
    if comparison.differences:
        contents["differences.svg"] = difference_plot.picture(comparison)
    if len({row.parameters for row in comparison.rows.values()} - {0, None}) > 1:
        contents["parameters.svg"] = picture(comparison)
    return contents


def text(comparison: Comparison, *, detailed: bool = True) -> str:
    """Formats the tables for a terminal.

    Args:
      comparison: the results.
      detailed: see the module's docstring.

    Returns:
      Aligned tables, each with its note.
    """
    parts = _parts(comparison, detailed)
    tables = [(aligned(table) if table[1] else "", note) for table, note in parts]
    return "\n\n".join("\n".join(filter(None, part)) for part in tables if any(part))


def markdown(comparison: Comparison, *, detailed: bool = True) -> str:
    """Formats the tables as Markdown.

    Args:
      comparison: the results.
      detailed: see the module's docstring.

    Returns:
      Markdown tables, each with its note.
    """
    parts = []
    for table, note in _parts(comparison, detailed):
        parts += [markdown_table(table) if table[1] else "", note.replace("*", "\\*")]
    return "\n\n".join(filter(None, parts)) + "\n"


def _parts(comparison: Comparison, detailed: bool) -> list[tuple[Table, str]]:
    options = {"detailed": detailed}
    tables = [rates(comparison, **options), differences(comparison, **options)]
    parts = list(zip(tables, notes(comparison, **options), strict=True))
    if detailed:
        parts += [side_tables.decisions(comparison), side_tables.schemes(comparison)]
    return parts


def notes(comparison: Comparison, *, detailed: bool = True) -> tuple[str, str]:
    """Returns the notes that explain the numbers.

    Args:
      comparison: the results.
      detailed: see the module's docstring.

    Returns:
      ``(below the rates, below the differences)``; the first may be empty.
    """
    seeds = f"{comparison.seeds} seed{'s' * (comparison.seeds > 1)}"
    scheme = comparison.scheme.sentence()
    if not detailed:
        over = f"mean over {seeds}" if comparison.seeds > 1 else seeds
        return (
            f"EER in %, {over} [95 % interval]; macro is the "
            "mean over pairs of speaker and attack; parameters are the trained ones. "
            f"{scheme}",
            "Differences in EER, in percentage points, paired over seeds and speakers "
            "[95 % interval]; * marks an interval that excludes zero: otherwise the "
            "two methods cannot be told apart.",
        )
    runs = seeds
    if comparison.folds:
        runs += f" × {comparison.folds} speaker folds"
    tested_on = "the test set"
    if comparison.attack_folds:
        runs += f" × {comparison.attack_folds} groups of attacks"
        tested_on = "the attacks of each group, by detectors trained without them"
    if comparison.held_out:
        tested_on = "held-out training attacks"
    drawn = comparison.scheme.clusters
    drawn = f", {drawn}" if comparison.scheme.attacks else f" and {drawn}"
    corrected = ""
    if len(comparison.differences) > 1:
        corrected = " (in brackets adjusted for all differences of the column, max-T)"
    note = (
        f"EER in % on {tested_on}, mean ± standard deviation over seeds [95 % "
        f"interval], {runs}; macro is the mean over pairs of speaker and attack. "
        f"Differences in percentage points, paired over seeds{drawn}, with "
        f"two-sided p-values{corrected}; * marks an "
        "interval that excludes zero. All neural methods took the same number of "
        f"gradient evaluations. {scheme}"
    )
    if comparison.chosen:
        chosen = ", ".join(comparison.chosen.values())
        note += f" Chosen for each method by the lowest pooled EER: {chosen}."
    return "", note


def rates(comparison: Comparison, *, detailed: bool = True) -> Table:
    """Returns the table of trained parameters and error rates.

    Args:
      comparison: the results.
      detailed: see the module's docstring.

    Returns:
      Header and rows, one per method; error rates in per cent.
    """
    body = []
    for row in comparison.rows.values():
        count = "–" if row.parameters is None else f"{row.parameters:,}"
        cells = [_rate(row.eer[name], detailed) for name in comparison.columns]
        body.append([row.title, count, *cells])
    return ["method", "parameters", *comparison.columns.values()], body


def differences(comparison: Comparison, *, detailed: bool = True) -> Table:
    """Returns the table of paired differences.

    Args:
      comparison: the results.
      detailed: see the module's docstring.

    Returns:
      Header and rows, one per pair of methods, in percentage points; starred if the
      interval excludes zero.
    """
    body = [
        [
            f"{a} − {b}",
            *(_difference(by_column[name], detailed) for name in comparison.columns),
        ]
        for (a, b), by_column in comparison.differences.items()
    ]
    return ["difference", *comparison.columns.values()], body


def comma_separated(comparison: Comparison) -> str:
    """Formats the results as CSV.

    Args:
      comparison: the results.

    Returns:
      One line per method and column; error rates and differences are fractions.
    """
    names = ["eer", "sd", "low", "high"]
    paired = ["difference", "low", "high", "p", "p_adjusted"]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    head = ["method", "parameters", "steps", "gradient_evaluations", "column", *names]
    writer.writerow([*head, "reference", "difference", "d_low", "d_high", *paired[3:]])
    pairs = {a: (b, by_column) for (a, b), by_column in comparison.differences.items()}
    for label, row in comparison.rows.items():
        about = [label, row.parameters, row.steps, row.evaluations]
        reference, by_column = pairs.get(label, (None, {}))
        for column in comparison.columns:
            rate = row.eer[column]
            cells = [getattr(rate, name) for name in names]
            gaps = [getattr(by_column.get(column), name, None) for name in paired]
            writer.writerow([*about, column, *cells, reference, *gaps])
    return out.getvalue()


def latex(comparison: Comparison) -> str:
    """Formats the error rates as a LaTeX ``tabular`` for booktabs.

    Args:
      comparison: the results.

    Returns:
      LaTeX source: mean ± standard deviation, the lowest mean of each column in bold.
    """
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
            rate = row.eer[name]
            cell = rate.point(2)
            if rate.eer == best[name]:
                cell = rf"\textbf{{{cell}}}"
            cells.append(cell + _sd(rate, r" $\pm$ ", 2))
        lines.append(" & ".join([row.title, count, *cells]) + r" \\")
    text = "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])
    return text.replace("_", r"\_")


def picture(comparison: Comparison) -> str:
    """Plots EER against the number of trained parameters.

    Args:
      comparison: the results; at least one row has trained parameters.

    Returns:
      An SVG element; the rows of a method are joined by a line.
    """
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
        for index, (method, entries) in enumerate(by_method.items()):
            colour, marker = plots.style(index)
            entries.sort(key=lambda entry: entry[0])
            # Methods with the same number of parameters stand side by side.
            x = [n * 1.03 ** (index - len(by_method) / 2) for n, _ in entries]
            y = [100 * rate.eer for _, rate in entries]
            low, high = np.array([(rate.low, rate.high) for _, rate in entries]).T
            ax.vlines(x, 100 * low, 100 * high, color=colour, lw=1.4)
            ax.plot(x, y, color=colour, marker=marker, mec="white", ms=7, label=method)
        ax.set_xscale("log")
        plots.plain_ticks(ax.xaxis)
        ax.set_ylim(bottom=0)
        ax.set_xlabel("trained parameters")
        title = comparison.columns[column]
        ax.set_ylabel(f"EER, %, {title}, 95 % interval")
        ax.grid(color=plots.GRID, lw=0.8)
        plots.legend(figure, ax)
        return plots.svg("parameters", figure)


def _sd(rate: SeedRate, separator: str, digits: int) -> str:
    return "" if rate.sd is None else f"{separator}{100 * rate.sd:.{digits}f}"


def _rate(rate: SeedRate, detailed: bool) -> str:
    sd = _sd(rate, " ± ", 1) if detailed else ""
    return rate.point() + sd + rate.interval()


def _difference(difference: Difference, detailed: bool) -> str:
    p = f", p {difference.p:.2g}" if detailed else ""
    if detailed and difference.p_adjusted is not None:
        p += f" ({difference.p_adjusted:.2g})"
    return difference.text() + p + " *" * difference.excludes_zero
