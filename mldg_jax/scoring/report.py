"""An evaluation in words and tables: for the terminal, and as one HTML page."""

from html import escape
from pathlib import Path
from typing import Any

from mldg_jax import __version__
from mldg_jax.common.errors import UserError
from mldg_jax.common.files import replacing
from mldg_jax.common.html import html_table, picture, render_page
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
    pictures = {name: svg for name, (svg, _) in drawn.items()}
    title = "Evaluation of " + ", ".join(results["systems"])
    body = [f"<h1>{escape(title)}</h1>", f"<p>{escape(_summary(results))}</p>"]
    for name, one in results["systems"].items():
        for warning in one["warnings"]:
            body.append(f'<p class="verdict">{escape(f"{name}: {warning}.")}</p>')
    body += ["<h2>Error rates and costs</h2>", html_table(systems_table(results))]
    body.append(f'<p class="note">{escape(_measures_note(results))}</p>')
    if results["differences"]:
        body.append(html_table(differences_table(results)))
        body.append(f'<p class="note">{escape(DIFFERENCES_NOTE)}</p>')
    body += ["<h2>Detection and calibration</h2>"]
    body.append(picture(pictures, ["det", "reliability"], "pair", CURVES_NOTE))
    body.append(picture(pictures, ["scores"], "attacks", SCORES_NOTE))
    for name in conditions(results):
        body += [f"<h2>By {escape(name)}</h2>"]
        body.append(picture(pictures, [f"by_{name}"], "attacks", _note(results, name)))
        table = html_table(condition_table(results, name))
        body.append(f"<details><summary>The numbers</summary>{table}</details>")
    body.append(f'<p class="note">mldg_jax {__version__}, mldg evaluate.</p>')
    return render_page(title, body)


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


def _measures_note(results: dict[str, Any]) -> str:
    tandem = any("min_tdcf" in one for one in results["systems"].values())
    return MEASURES_NOTE + (TANDEM_NOTE if tandem else "")


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


MEASURES_NOTE = (
    "EER: as many bona fide trials are rejected as spoofs accepted (ASVspoof's "
    "definition, nothing interpolated). min DCF: the smallest detection cost of all "
    "thresholds, for a spoof prior of 0.05, cost 1 of a rejected bona fide trial and "
    "10 of an accepted spoof, over that of the better trivial decision. act DCF: that "
    "cost where scores are taken for log-likelihood ratios. Cllr: the cost of scores "
    "as log-likelihood ratios over all priors; min Cllr: after the best monotonic "
    "calibration, so the difference of the two is calibration."
)
TANDEM_NOTE = (
    " min t-DCF: the smallest cost in tandem with the given speaker verifier (model of "
    "ASVspoof 2021)."
)
DIFFERENCES_NOTE = (
    "Differences of EER on the same replicas, with 95 % interval and two-sided p of no "
    "difference (at least 2 over the number of replicas; not corrected for the number "
    "of pairs)."
)
CURVES_NOTE = (
    "Left: detection error trade-off on probit axes, lower left is better; the marker "
    "is the EER. Right: scores as log-likelihood ratios; on the dotted line a score "
    "claims what is the case, below it it is too sure of bona fide (isotonic "
    "regression)."
)
SCORES_NOTE = (
    "Densities of the scores of either class. If scores are log-likelihood ratios, the "
    "Bayes threshold is the one that the costs of act DCF ask for; the EER threshold "
    "can only be known with the keys."
)
