"""An evaluation in words and tables: for the terminal, and as one HTML page."""

from html import escape
from pathlib import Path

from mldg_jax import __version__
from mldg_jax.common.errors import UserError
from mldg_jax.common.files import replacing
from mldg_jax.common.html import html_table, picture, render_page
from mldg_jax.common.tables import Table, aligned
from mldg_jax.scoring.outcome import Evaluation, System

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
    intervals = evaluation.scheme.sentence(evaluation.units)
    parts = [aligned(systems_table(evaluation)), "", intervals]
    if evaluation.differences:
        parts += ["", aligned(differences_table(evaluation))]
    for name in evaluation.conditions:
        parts += ["", aligned(condition_table(evaluation, name))]
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
    pictures = {name: svg for name, (svg, _) in drawn.items()}
    title = "Evaluation of " + ", ".join(evaluation.systems)
    body = [f"<h1>{escape(title)}</h1>", f"<p>{escape(_summary(evaluation))}</p>"]
    for name, one in evaluation.systems.items():
        for warning in one.warnings:
            body.append(f'<p class="verdict">{escape(f"{name}: {warning}.")}</p>')
    body += ["<h2>Error rates and costs</h2>", html_table(systems_table(evaluation))]
    body.append(f'<p class="note">{escape(_measures_note(evaluation))}</p>')
    if evaluation.differences:
        body.append(html_table(differences_table(evaluation)))
        body.append(f'<p class="note">{escape(DIFFERENCES_NOTE)}</p>')
    body += ["<h2>Detection and calibration</h2>"]
    body.append(picture(pictures, ["det", "reliability"], "pair", CURVES_NOTE))
    body.append(picture(pictures, ["scores"], "attacks", SCORES_NOTE))
    for name in evaluation.conditions:
        body += [f"<h2>By {escape(name)}</h2>"]
        body.append(
            picture(pictures, [f"by_{name}"], "attacks", _note(evaluation, name))
        )
        table = html_table(condition_table(evaluation, name))
        body.append(f"<details><summary>The numbers</summary>{table}</details>")
    body.append(f'<p class="note">mldg_jax {__version__}, mldg evaluate.</p>')
    return render_page(title, body)


def systems_table(evaluation: Evaluation) -> Table:
    """A row a measure, a column a system."""
    systems = evaluation.systems.values()
    rows = [
        [title, *(_value(one, measure) for one in systems)]
        for measure, title in MEASURES.items()
        if all(measure in one.measures for one in systems)
    ]
    for count in ("bonafide", "spoof"):
        title = "bona fide trials" if count == "bonafide" else "spoof trials"
        rows.append([title, *(f"{one.measures[f'n_{count}']:,}" for one in systems)])
    return ["", *evaluation.systems], rows


def differences_table(evaluation: Evaluation) -> Table:
    """A row a pair of systems: the difference of EER in points, and p."""
    rows = [
        [f"{a} − {b}", one.text(2), f"{one.p:.3f}"]
        for (a, b), one in evaluation.differences.items()
    ]
    return ["difference", "EER, points", "p"], rows


def condition_table(evaluation: Evaluation, name: str) -> Table:
    """A row a value of a condition, with its trials and each system's EER."""
    parts = [one.parts[name] for one in evaluation.systems.values()]
    rows = [
        [value, f"{first.n:,}", *(part[value].text(2) for part in parts)]
        for value, first in parts[0].items()
    ]
    return [name, "trials", *(f"{x}: EER, %" for x in evaluation.systems)], rows


def _value(one: System, measure: str) -> str:
    if measure == "eer":
        return one.eer.text(2)
    ends = one.intervals.get(measure)
    interval = f" [{ends[0]:.3f}, {ends[1]:.3f}]" if ends else ""
    return f"{one.measures[measure]:.3f}{interval}"


def _summary(evaluation: Evaluation) -> str:
    trials = evaluation.trials
    n, m = trials.n_bonafide, trials.n_spoof
    subset = f", subset {trials.subset}" if trials.subset else ""
    return (
        f"{n + m:,} trials, {n:,} bona fide and {m:,} spoof, of {trials.file} "
        f"({trials.format}{subset}). A score is higher for bona fide. "
        f"{evaluation.scheme.sentence(evaluation.units)}"
    )


def _measures_note(evaluation: Evaluation) -> str:
    tandem = any("min_tdcf" in one.measures for one in evaluation.systems.values())
    return MEASURES_NOTE + (TANDEM_NOTE if tandem else "")


def _note(evaluation: Evaluation, name: str) -> str:
    parts = next(iter(evaluation.systems.values())).parts[name].values()
    shared = any(one.n_bonafide < evaluation.trials.n_bonafide for one in parts)
    against = "its own bona fide trials" if shared else "all bona fide trials"
    bare = evaluation.scheme.replicates and any(one.low is None for one in parts)
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
    "Differences of EER on the same replicates, with 95 % interval and two-sided p of "
    "no difference (at least 2 over the number of replicates; not corrected for the "
    "number of pairs)."
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
