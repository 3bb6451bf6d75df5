"""An evaluation in words and tables: for the terminal, and as one HTML page."""

from pathlib import Path

from mldg_jax import __version__
from mldg_jax.common.errors import UserError
from mldg_jax.common.files import replacing
from mldg_jax.common.html import render
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
    systems = evaluation.systems
    return render(
        "evaluation.html",
        version=__version__,
        title="Evaluation of " + ", ".join(systems),
        summary=_summary(evaluation),
        warnings=[f"{k}: {text}" for k, x in systems.items() for text in x.warnings],
        systems=systems_table(evaluation),
        tandem=any("min_tdcf" in one.measures for one in systems.values()),
        differences=differences_table(evaluation) if evaluation.differences else None,
        drawn={name: svg for name, (svg, _) in drawn.items()},
        conditions={
            name: (condition_table(evaluation, name), _note(evaluation, name))
            for name in evaluation.conditions
        },
    )


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


def _note(evaluation: Evaluation, name: str) -> str:
    parts = next(iter(evaluation.systems.values())).parts[name].values()
    shared = any(one.n_bonafide < evaluation.trials.n_bonafide for one in parts)
    against = "its own bona fide trials" if shared else "all bona fide trials"
    bare = evaluation.scheme.replicates and any(one.low is None for one in parts)
    return (
        f"Each {name} against {against}, hardest first; in brackets the number of its "
        "trials." + (" A point without a line: too few speakers." if bare else "")
    )
