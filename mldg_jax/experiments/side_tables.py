"""Smaller tables of a comparison: decisions at fixed thresholds, and other intervals.

Each function returns a table and its note; both are empty where there is nothing to
say.
"""

from mldg_jax.common.tables import Table
from mldg_jax.experiments import deployment
from mldg_jax.experiments.results import Comparison

NOTHING: tuple[Table, str] = (([], []), "")


def decisions(comparison: Comparison) -> tuple[Table, str]:
    """Returns the errors of every method at the thresholds of its dev scores.

    Args:
      comparison: the results.

    Returns:
      Header and rows, one per method, in per cent; and the note.
    """
    rows = [row for row in comparison.rows.values() if row.decisions]
    if not rows:
        return NOTHING
    names = {deployment.EER: "dev EER", deployment.BAYES: "Bayes"}
    head = ["method", "dev HTER"]
    for title in names.values():
        head += [f"{title}: FRR", "FAR", "HTER", "F1"]
    body = []
    for row in rows:
        at_eer = row.decisions[deployment.EER]
        cells = [row.title, f"{100 * at_eer.dev:.1f}"]
        for name in names:
            at = row.decisions.get(name)
            values = (at.frr, at.far, at.hter, at.f1) if at else (None,) * 4
            cells += ["–" if x is None else f"{100 * x:.1f}" for x in values]
        body.append(cells)
    note = (
        "Decisions on unseen attacks in %, mean over runs, at a threshold of each "
        "run's own dev scores (bona fide utterances and an attack family that it was "
        "not trained on): where their error rates are equal, and where the expected "
        "cost is lowest once they are calibrated (spoof prior 5 %; an accepted spoof "
        "costs ten rejected bona fide). FRR: bona fide rejected; FAR: spoof accepted; "
        "HTER: mean of both; F1: of detecting spoofs."
    )
    return (head, body), note


def schemes(comparison: Comparison) -> tuple[Table, str]:
    """Returns an error rate and a difference under every scheme of resampling.

    Args:
      comparison: the results.

    Returns:
      Header and rows, one per scheme; and the note.
    """
    if not comparison.example or comparison.pair is None:
        return NOTHING
    a, b = comparison.pair
    body = [
        [name, one.rate.point() + one.rate.interval(), one.difference.text()]
        for name, one in comparison.example.items()
    ]
    title = next(iter(comparison.columns.values()))
    note = (
        f"The same numbers ({title}) with other 95 % intervals. Only the interval over "
        "speakers and attacks says anything about attacks to come; the others are for "
        "the attacks of this test, and the one over trials for its speakers too."
    )
    return (["resampled", a, f"{a} − {b}"], body), note
