"""What ``mldg compare`` found, as tables (Markdown, CSV, LaTeX) and a picture."""

import csv
import io
from collections.abc import Mapping
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from mldg_jax.common import plots
from mldg_jax.common.tables import Table, aligned, markdown_table, points

TITLES = {
    "pooled": "pooled",
    "seen": "seen attacks",
    "unseen": "unseen attacks",
    "macro": "macro",
    "macro_unseen": "macro, unseen",
}


def files(results: Mapping[str, Any]) -> dict[str, str]:
    """Every file by name: table.md, table.csv, table.tex, parameters.svg."""
    found = {
        "table.md": markdown(results),
        "table.csv": comma_separated(results),
        "table.tex": latex(results),
    }
    if any(row["parameters"] for row in results["rows"].values()):
        found["parameters.svg"] = picture(results)
    return found


def text(results: Mapping[str, Any]) -> str:
    """For a terminal."""
    tables = [aligned(rates(results))]
    if differences(results)[1]:
        tables.append(aligned(differences(results)))
    return "\n\n".join([*tables, note(results)])


def markdown(results: Mapping[str, Any]) -> str:
    """For a README."""
    tables = [markdown_table(rates(results))]
    if differences(results)[1]:
        tables.append(markdown_table(differences(results)))
    return "\n\n".join([*tables, note(results).replace("*", "\\*")]) + "\n"


def note(results: Mapping[str, Any]) -> str:
    """What the numbers are."""
    runs = f"{results['seeds']} seeds"
    if results["folds"]:
        runs += f" × {results['folds']} speaker folds"
    which = "the held-out training attacks" if results["choose"] else "the test"
    return (
        f"EER in % on {which}, mean ± standard deviation over seeds [95 % interval "
        f"over seeds and speakers], {runs}; macro is the mean over pairs of speaker "
        "and attack. Differences in points, paired over seeds and speakers, with the "
        "two-sided p of no difference, not corrected for their number; * = the "
        "interval excludes zero. Every neural arm took as many gradient evaluations."
    )


def rates(results: Mapping[str, Any]) -> Table:
    """Header and rows: parameters and error rates."""
    names = results["columns"]
    body = []
    for label, row in results["rows"].items():
        count = "–" if row["parameters"] is None else f"{row['parameters']:,}"
        body.append([label, count, *(_rate(row["eer"][name]) for name in names)])
    return ["arm", "parameters", *map(_title, names)], body


def differences(results: Mapping[str, Any]) -> Table:
    """Header and rows: differences to the reference."""
    names = results["columns"]
    body = [
        [f"{label} − {row['reference']}"]
        + [_difference(row["difference"][name]) for name in names]
        for label, row in results["rows"].items()
        if row["difference"]
    ]
    return ["difference", *map(_title, names)], body


def comma_separated(results: Mapping[str, Any]) -> str:
    """A line for every arm and column; error rates and differences are fractions."""
    names = ["eer", "sd", "low", "high"]
    paired = ["difference", "low", "high", "p"]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    head = ["arm", "parameters", "steps", "gradient_evaluations", "column", *names]
    writer.writerow([*head, "reference", "difference", "d_low", "d_high", "p"])
    for label, row in results["rows"].items():
        about = [label, row["parameters"], row["steps"], row["evaluations"]]
        for column in results["columns"]:
            other = row["difference"].get(column, {})
            writer.writerow(
                [
                    *about,
                    column,
                    *(row["eer"][column][k] for k in names),
                    row.get("reference"),
                    *(other.get(k) for k in paired),
                ]
            )
    return out.getvalue()


def latex(results: Mapping[str, Any]) -> str:
    """A ``tabular`` for booktabs: mean ± sd, the lowest of a column bold."""
    names = results["columns"]
    best = {
        name: min(row["eer"][name]["eer"] for row in results["rows"].values())
        for name in names
    }
    lines = [
        rf"\begin{{tabular}}{{l r {'c ' * len(names)}}}",
        r"\toprule",
        " & ".join(["arm", "parameters", *map(_title, names)]) + r" \\",
        r"\midrule",
    ]
    for label, row in results["rows"].items():
        count = "--" if row["parameters"] is None else f"{row['parameters']:,}"
        cells = []
        for name in names:
            one = row["eer"][name]
            cell = f"{100 * one['eer']:.2f}"
            if one["eer"] == best[name]:
                cell = rf"\textbf{{{cell}}}"
            cells.append(cell + (_sd(one, r" $\pm$ ", 2)))
        lines.append(" & ".join([label, count, *cells]) + r" \\")
    text = "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])
    return text.replace("_", r"\_")


def picture(results: Mapping[str, Any]) -> str:
    """EER against trained parameters as SVG; rows of an arm are joined."""
    column = "average" if "average" in results["columns"] else results["columns"][0]
    by_arm: dict[str, list] = {}
    for row in results["rows"].values():
        if row["parameters"]:
            entry = (row["parameters"], row["eer"][column])
            by_arm.setdefault(row["arm"], []).append(entry)
    with matplotlib.rc_context(plots.OPTIONS):
        figure = Figure(figsize=(5.6, 3.8), layout="constrained")
        ax = figure.subplots()
        for place, (arm, entries) in enumerate(by_arm.items()):
            colour, marker = plots.style(place)
            entries.sort(key=lambda entry: entry[0])
            # Arms with as many parameters stand side by side.
            x = [n * 1.03 ** (place - len(by_arm) / 2) for n, _ in entries]
            y = [100 * one["eer"] for _, one in entries]
            ends = [[100 * one[k] for _, one in entries] for k in ("low", "high")]
            ax.vlines(x, *ends, color=colour, lw=1.4)
            ax.plot(x, y, color=colour, marker=marker, mec="white", ms=7, label=arm)
        ax.set_xscale("log")
        ax.set_ylim(bottom=0)
        ax.set_xlabel("trained parameters")
        ax.set_ylabel(f"equal error rate, %, {_title(column)}, 95 % interval")
        ax.grid(color=plots.GRID, lw=0.8)
        ax.legend()
        return plots.svg("parameters", figure)


def _title(column: str) -> str:
    return TITLES.get(column, column)


def _sd(one: Mapping[str, Any], between: str, digits: int) -> str:
    return "" if one["sd"] is None else f"{between}{100 * one['sd']:.{digits}f}"


def _rate(one: Mapping[str, Any]) -> str:
    interval = f" [{100 * one['low']:.1f}, {100 * one['high']:.1f}]"
    return f"{100 * one['eer']:.1f}{_sd(one, ' ± ', 1)}{interval}"


def _difference(one: Mapping[str, float]) -> str:
    star = " *" if one["low"] > 0 or one["high"] < 0 else ""
    return f"{points(one)}, p {one['p']:.2g}{star}"
