"""The report of an evaluation: as text for a terminal, and as an HTML page."""

import textwrap
from pathlib import Path

from mldg_jax import __version__, metrics
from mldg_jax.common.error_rates import Difference
from mldg_jax.common.files import write_text
from mldg_jax.common.html import render
from mldg_jax.common.tables import Table, aligned
from mldg_jax.scoring import intervals
from mldg_jax.scoring.outcome import Evaluation, System

MEASURES = {
    "eer": "EER, %",
    "min_dcf": "min DCF",
    "act_dcf": "act DCF",
    "min_tdcf": "min t-DCF",
    "cllr": "Cllr, bits",
    "min_cllr": "min Cllr, bits",
}


THRESHOLDS = {"eer": "dev EER", "bayes": "dev Bayes"}
THRESHOLDS_NOTE = (
    "Thresholds fixed on the dev scores. dev EER: that of their EER. dev Bayes: the "
    "score whose log-likelihood ratio, calibrated on them, is the Bayes threshold "
    f"−{-metrics.BAYES_THRESHOLD:.3f} (spoof prior {metrics.P_SPOOF:g}, costs of "
    f"{metrics.C_MISS:g} for rejecting bona fide and {metrics.C_FALSE_ALARM:g} for "
    "accepting spoof). A "
    "score at or above a threshold is accepted as bona fide. FRR: bona fide rejected. "
    "FAR: spoof accepted. HTER: the mean of FRR and FAR. F1: of detecting spoof, which "
    "is the positive class; it depends on the proportion of spoof trials."
)


def text(evaluation: Evaluation) -> str:
    """Returns the tables of an evaluation as text.

    Args:
      evaluation: from ``evaluate.evaluate``.

    Returns:
      The text.
    """
    sentences = [evaluation.scheme.sentence(evaluation.units), scope(evaluation)]
    parts = [aligned(systems_table(evaluation)), "", *filter(None, sentences)]
    if evaluation.differences:
        parts += ["", aligned(differences_table(evaluation))]
    if evaluation.fixed:
        parts += ["", aligned(thresholds_table(evaluation)), ""]
        parts += textwrap.wrap(THRESHOLDS_NOTE, 88, break_on_hyphens=False)
    for name in evaluation.conditions:
        parts += ["", aligned(condition_table(evaluation, name))]
        if evaluation.fixed:
            parts += ["", aligned(condition_thresholds_table(evaluation, name))]
    return "\n".join(parts)


def write(
    evaluation: Evaluation, page: str | Path | None, folder: str | Path | None
) -> None:
    """Writes the report and its figures.

    Args:
      evaluation: from ``evaluate.evaluate``.
      page: the HTML file; not written if None.
      folder: the folder for figures; not written if None.

    Raises:
      UserError: a file cannot be written.
    """
    from mldg_jax.scoring import figures  # two seconds to import; needed only here

    drawn = figures.draw(evaluation)
    if page:
        write_text(Path(page), html(evaluation, drawn))
    if folder:
        figures.write(folder, drawn)


def html(evaluation: Evaluation, drawn: dict[str, tuple[str, bytes]]) -> str:
    """Renders the report as one page without external resources.

    Args:
      evaluation: from ``evaluate.evaluate``.
      drawn: from ``figures.draw``.

    Returns:
      The HTML.
    """
    systems = evaluation.systems
    return render(
        "evaluation.html",
        version=__version__,
        title="Evaluation of " + ", ".join(systems),
        summary=_summary(evaluation),
        warnings=[f"{k}: {text}" for k, x in systems.items() for text in x.warnings],
        scope=scope(evaluation),
        systems=systems_table(evaluation),
        tandem=any("min_tdcf" in system.measures for system in systems.values()),
        differences=differences_table(evaluation) if evaluation.differences else None,
        thresholds=thresholds_table(evaluation) if evaluation.fixed else None,
        thresholds_note=THRESHOLDS_NOTE,
        drawn={name: svg for name, (svg, _) in drawn.items()},
        conditions={
            name: (
                condition_table(evaluation, name),
                condition_thresholds_table(evaluation, name)
                if evaluation.fixed
                else None,
                _note(evaluation, name),
            )
            for name in evaluation.conditions
        },
    )


def systems_table(evaluation: Evaluation) -> Table:
    """Returns the table of measures: a row per measure, a column per system.

    Args:
      evaluation: from ``evaluate.evaluate``.

    Returns:
      The table.
    """
    systems = evaluation.systems.values()
    rows = [
        [title, *(_value(system, measure) for system in systems)]
        for measure, title in MEASURES.items()
        if all(measure in system.measures for system in systems)
    ]
    if all(intervals.NEW_ATTACKS in system.intervals for system in systems):
        cells = [
            _interval(system.intervals[intervals.NEW_ATTACKS]) for system in systems
        ]
        rows.insert(1, ["  on new attacks", *cells])
    for count in ("bonafide", "spoof"):
        title = "bona fide trials" if count == "bonafide" else "spoof trials"
        rows.append(
            [title, *(f"{system.measures[f'n_{count}']:,}" for system in systems)]
        )
    return ["", *evaluation.systems], rows


def differences_table(evaluation: Evaluation) -> Table:
    """Returns the table of EER differences, in percentage points, of pairs of systems.

    Args:
      evaluation: from ``evaluate.evaluate``.

    Returns:
      The table, a row per pair.
    """
    rows, header = [], ["difference", "EER, points", "p"]
    for (a, b), pair in evaluation.differences.items():
        rows.append([f"{a} − {b}", *_tested(pair)])
        if pair.on_new_attacks is not None:
            rows.append(["  on new attacks", *_tested(pair.on_new_attacks)])
    return header + ["p, adjusted"] * (len(rows[0]) > len(header)), rows


def scope(evaluation: Evaluation) -> str:
    """Says which intervals hold for new attacks.

    Args:
      evaluation: from ``evaluate.evaluate``.

    Returns:
      One or two sentences; "" without intervals or if attacks are unknown.
    """
    scheme = evaluation.scheme
    n = intervals.count_attacks(evaluation.keys, scheme)
    if not scheme.replicates or not n:
        return ""
    one, kind = ("attack", "attacks")
    if scheme.families:
        one, kind = ("attack family", "attack families")
    attacks = f"{n} {kind if n > 1 else one}"
    if scheme.attacks:
        return (
            f"These intervals hold for new attacks, of which the {attacks} are a "
            "sample; the interval of a single attack is from replicates of "
            f"{evaluation.units}."
        )
    first = next(iter(evaluation.systems.values()))
    if intervals.NEW_ATTACKS not in first.intervals:
        needed = intervals.FEWEST_ATTACKS
        return (
            f"These intervals hold for the {attacks} of the keys; for new attacks they "
            f"are too narrow, and {needed} {kind} are needed for others."
        )
    held = "speakers and the " * (scheme.clusters == "trials")
    units = intervals.cluster_ids(evaluation.keys)[1]
    return (
        f"These intervals hold for the {held}{attacks} of the keys; those on new "
        f"attacks are from replicates of {units}, crossed with replicates of the "
        f"{attacks} (expanded percentile)."
    )


def _tested(pair: Difference) -> list[str]:
    """Returns the cells of a difference."""
    p = [pair.p] if pair.p_adjusted is None else [pair.p, pair.p_adjusted]
    return [pair.text(2), *(f"{value:.3f}" for value in p)]


def _interval(ends: tuple[float, float]) -> str:
    """Formats an interval in per cent."""
    return f"[{100 * ends[0]:.2f}, {100 * ends[1]:.2f}]"


def condition_table(evaluation: Evaluation, name: str) -> Table:
    """Returns the table of a condition: a row per value, with its trials and EERs.

    Args:
      evaluation: from ``evaluate.evaluate``.
      name: of the condition, e.g. attack.

    Returns:
      The table.
    """
    parts = [system.parts[name] for system in evaluation.systems.values()]
    rows = [
        [value, f"{first.n:,}", *(part[value].text(2) for part in parts)]
        for value, first in parts[0].items()
    ]
    return [name, "trials", *(f"{x}: EER, %" for x in evaluation.systems)], rows


def thresholds_table(evaluation: Evaluation) -> Table:
    """Returns the table of errors at dev thresholds: a row per system and threshold.

    Args:
      evaluation: from ``evaluate.evaluate``, with dev scores.

    Returns:
      The table; the rates on the dev trials come before those of the evaluated trials.
    """
    rows = []
    for name, fixed in evaluation.fixed.items():
        for threshold, at in fixed.errors.items():
            dev = fixed.dev.errors[threshold]
            rates = [f"{100 * x:.2f}" for x in (dev.frr, dev.far, at.frr, at.far)]
            title, where = f"{name}: {THRESHOLDS[threshold]}", f"{at.threshold:.5g}"
            hter = f"{100 * at.hter:.2f}"
            rows.append([title, where, *rates, hter, f"{at.f1:.4f}"])
    header = ["threshold", "at score", "dev FRR, %", "dev FAR, %"]
    return [*header, "FRR, %", "FAR, %", "HTER, %", "F1 of spoof"], rows


def condition_thresholds_table(evaluation: Evaluation, name: str) -> Table:
    """Returns the table of a condition's errors at dev thresholds: a row per value.

    Args:
      evaluation: from ``evaluate.evaluate``, with dev scores.
      name: of the condition, e.g. attack.

    Returns:
      The table; each cell has FRR and FAR.
    """
    columns = [
        (system, threshold, fixed.parts[name])
        for system, fixed in evaluation.fixed.items()
        for threshold in fixed.errors
    ]
    rows = [
        [
            value,
            *(
                f"{100 * at.frr:.2f} / {100 * at.far:.2f}"
                for _, threshold, part in columns
                for at in [part[value][threshold]]
            ),
        ]
        for value in columns[0][2]
    ]
    titles = [f"{x}: {THRESHOLDS[t]}, FRR / FAR, %" for x, t, _ in columns]
    return [name, *titles], rows


def _value(system: System, measure: str) -> str:
    """Returns a measure with its interval, if it has one."""
    if measure == "eer":
        return system.eer.text(2)
    ends = system.intervals.get(measure)
    interval = f" [{ends[0]:.3f}, {ends[1]:.3f}]" if ends else ""
    return f"{system.measures[measure]:.3f}{interval}"


def _summary(evaluation: Evaluation) -> str:
    """Returns the report's first paragraph."""
    trials = evaluation.trials
    n, m = trials.n_bonafide, trials.n_spoof
    subset = f", subset {trials.subset}" if trials.subset else ""
    return (
        f"{n + m:,} trials, {n:,} bona fide and {m:,} spoof, from {trials.file} "
        f"({trials.format}{subset}). A score is higher for bona fide. "
        f"{evaluation.scheme.sentence(evaluation.units)}"
    )


def _note(evaluation: Evaluation, name: str) -> str:
    """Returns the caption of a condition's figure."""
    parts = next(iter(evaluation.systems.values())).parts[name].values()
    shared = any(part.n_bonafide < evaluation.trials.n_bonafide for part in parts)
    against = "its own bona fide trials" if shared else "all bona fide trials"
    missing = " A point without a line has too few speakers for an interval."
    incomplete = evaluation.scheme.replicates and any(
        part.low is None for part in parts
    )
    return (
        f"Each {name} against {against}, hardest first; the number of its trials is in "
        "brackets." + (missing if incomplete else "")
    )
