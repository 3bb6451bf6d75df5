"""An evaluation in words and tables: for the terminal, and as one HTML page."""

from pathlib import Path
from typing import Any

from mldg_jax import __version__
from mldg_jax.common.errors import UserError
from mldg_jax.common.files import replacing
from mldg_jax.common.html import render
from mldg_jax.common.tables import Table, aligned, points, rate
from mldg_jax.scoring.evaluate import Evaluation, conditions

MEASURES = {
    "eer": "EER, %",
    "min_dcf": "min DCF",
    "act_dcf": "act DCF",
    "min_tdcf": "min t-DCF",
    "cllr": "Cllr, bits",
    "min_cllr": "min Cllr, bits",
}


def text(evaluation: Evaluation) -> str:
    """The tables of an evaluation for a terminal."""
    results = evaluation.results
    parts = [aligned(systems_table(results)), "", _intervals_sentence(results)]
    if results["differences"]:
        parts += ["", aligned(differences_table(results))]
    for name in conditions(results):
        parts += ["", aligned(condition_table(results, name))]
    return "\n".join(parts)


def write(
    evaluation: Evaluation, page: str | Path | None, folder: str | Path | None
) -> None:
    """Writes the report to a file and its pictures to a folder, where they are given.

    Raises:
      UserError: a place that cannot be written to.
    """
    from mldg_jax.scoring import figures  # two seconds to import; needed only here

    drawn = figures.draw(evaluation)
    try:
        if page:
            with replacing(page) as part:
                part.write_text(html(evaluation, drawn), encoding="utf-8")
        if folder:
            figures.write(folder, drawn)
    except OSError as error:
        raise UserError(f"the report cannot be written ({error})") from None


def html(evaluation: Evaluation, drawn: dict[str, tuple[str, bytes]]) -> str:
    """The report: one page that needs no network.

    Args:
      evaluation: of ``evaluate.evaluate``.
      drawn: of ``figures.draw``.
    """
    results = evaluation.results
    systems = results["systems"]
    return render(
        "evaluation.html",
        version=__version__,
        title="Evaluation of " + ", ".join(systems),
        summary=_summary(results),
        warnings=[f"{k}: {text}" for k, x in systems.items() for text in x["warnings"]],
        systems=systems_table(results),
        tandem=any("min_tdcf" in one for one in systems.values()),
        differences=differences_table(results) if results["differences"] else None,
        drawn={name: svg for name, (svg, _) in drawn.items()},
        conditions={
            name: (condition_table(results, name), _note(results, name))
            for name in conditions(results)
        },
    )


def systems_table(results: dict[str, Any]) -> Table:
    """A row a measure, a column a system."""
    systems = results["systems"]
    rows = [
        [title, *(_value(one, measure) for one in systems.values())]
        for measure, title in MEASURES.items()
        if all(measure in one for one in systems.values())
    ]
    for count in ("bonafide", "spoof"):
        title = "bona fide trials" if count == "bonafide" else "spoof trials"
        rows.append([title, *(f"{one[f'n_{count}']:,}" for one in systems.values())])
    return ["", *systems], rows


def differences_table(results: dict[str, Any]) -> Table:
    """A row a pair of systems: the difference of EER in points, and p."""
    rows = [
        [pair.replace(" - ", " − "), points(one, 2), f"{one['p']:.3f}"]
        for pair, one in results["differences"].items()
    ]
    return ["difference", "EER, points", "p"], rows


def condition_table(results: dict[str, Any], name: str) -> Table:
    """A row a value of a condition, with its trials and each system's EER."""
    parts = [one[f"by_{name}"] for one in results["systems"].values()]
    rows = [
        [value, f"{parts[0][value]['n']:,}", *(rate(part[value], 2) for part in parts)]
        for value in parts[0]
    ]
    return [name, "trials", *(f"{x}: EER, %" for x in results["systems"])], rows


def _value(one: dict[str, Any], measure: str) -> str:
    low, high = one.get("intervals", {}).get(measure, (None, None))
    if measure == "eer":
        return rate({"eer": one["eer"], "low": low, "high": high}, 2)
    return f"{one[measure]:.3f}" + ("" if low is None else f" [{low:.3f}, {high:.3f}]")


def _summary(results: dict[str, Any]) -> str:
    keys = results["keys"]
    n, m = keys["n_bonafide"], keys["n_spoof"]
    subset = f", subset {keys['subset']}" if keys["subset"] else ""
    return (
        f"{n + m:,} trials, {n:,} bona fide and {m:,} spoof, of {keys['file']} "
        f"({keys['format']}{subset}). A score is higher for bona fide. "
        f"{_intervals_sentence(results)}"
    )


def _intervals_sentence(results: dict[str, Any]) -> str:
    if "clusters" not in results:
        return "Without intervals."
    return (
        f"In brackets 95 % intervals from {results['replicas']:,} bootstrap replicas "
        f"of {results['clusters']}."
    )


def _note(results: dict[str, Any], name: str) -> str:
    first = next(iter(results["systems"].values()))
    parts = first[f"by_{name}"].values()
    shared = any(one["n_bonafide"] < first["n_bonafide"] for one in parts)
    against = "its own bona fide trials" if shared else "all bona fide trials"
    bare = "clusters" in results and any("low" not in one for one in parts)
    return (
        f"Each {name} against {against}, hardest first; in brackets the number of its "
        "trials." + (" A point without a line: too few speakers." if bare else "")
    )
