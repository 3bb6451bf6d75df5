"""The report of a robustness evaluation: as text, as a page and as a picture."""

import io
import itertools
import json
import textwrap
from pathlib import Path

from mldg_jax import __version__
from mldg_jax.common.error_rates import Difference
from mldg_jax.common.files import replacing, write_text
from mldg_jax.common.html import render
from mldg_jax.common.tables import Table, aligned
from mldg_jax.data.augment.degradations import DEGRADATIONS
from mldg_jax.scoring.robustness.degraded_scores import CLEAN
from mldg_jax.scoring.robustness.score_drops import Robustness, ScoreDrop

PAGE, RESULTS, PICTURE = "report.html", "robustness.json", "robustness"
NOTE = (
    "Change: against the same recordings as they are, in percentage points; above zero "
    "is worse. HTER: the mean of FRR (bona fide rejected) and FAR (spoof accepted) at "
    "the threshold of the clean recordings' EER, which is not fitted again. p: of no "
    "change, adjusted for the number of degradations. changed: recordings that the "
    "degradation changed, of all."
)


def text(result: Robustness) -> str:
    """Returns the table of a robustness evaluation as text.

    Args:
      result: from ``score_drops.measure``.

    Returns:
      The text.
    """
    notes = [
        result.scheme.sentence(result.units),
        NOTE,
        *(f"{x}." for x in warnings(result)),
    ]
    wrapped = ["\n".join(textwrap.wrap(x, 88, break_on_hyphens=False)) for x in notes]
    return "\n\n".join([summary(result), aligned(table(result)), *wrapped])


def summary(result: Robustness) -> str:
    """Describes the trials and the threshold.

    Args:
      result: from ``score_drops.measure``.

    Returns:
      One or two sentences.
    """
    clean = result.drops[CLEAN].errors
    return (
        f"{clean.n_bonafide:,} bona fide and {clean.n_spoof:,} spoof recordings of "
        f"{result.title}. Threshold of the clean EER: {clean.threshold:.5g}."
    )


def warnings(result: Robustness) -> list[str]:
    """Says which degradations have recordings without a score, or change none.

    Args:
      result: from ``score_drops.measure``.

    Returns:
      A sentence without its full stop for each of these degradations.
    """
    failed = [
        f"{name}: no score for {len(drop.failed):,} of {_number(drop):,} recordings, "
        f"which do not count (the first is {next(iter(drop.failed))}); {name}.json "
        "names all and why"
        for name, drop in result.drops.items()
        if drop.failed
    ]
    return failed + [
        f"{name} changes none of these recordings, so its row is that of the clean ones"
        for name, drop in result.drops.items()
        if name != CLEAN and not drop.changed
    ]


def table(result: Robustness, *, titles: bool = False) -> Table:
    """Returns the table: a row for each degradation.

    Args:
      result: from ``score_drops.measure``.
      titles: begin with the titles, and put the names last.

    Returns:
      The table.
    """
    with_intervals = bool(result.scheme.replicates)
    p = ["p"] * with_intervals
    header = ["name", "EER, %", "change", *p, "HTER, %", "change", *p]
    header += ["FRR, %", "FAR, %", "changed"]
    rows = []
    for name, drop in result.drops.items():
        cells = _cells(name, drop, with_intervals)
        rows.append([_title(name), *cells, name] if titles else [name, *cells])
    return (["degradation", *header[1:], "name"] if titles else header), rows


def _cells(name: str, drop: ScoreDrop, with_intervals: bool) -> list[str]:
    """Returns the cells of a degradation after its name."""
    errors = drop.errors

    def rate(value: float, change: Difference) -> list[str]:
        cells = [f"{100 * value:.1f}", _change(change, with_intervals)]
        if with_intervals:
            p = change.p if change.p_adjusted is None else change.p_adjusted
            cells.append(f"{p:.3f}")
        return [cells[0], *([""] * len(cells[1:]) if name == CLEAN else cells[1:])]

    return [
        *rate(drop.eer, drop.eer_change),
        *rate(errors.hter, drop.hter_change),
        f"{100 * errors.frr:.1f}",
        f"{100 * errors.far:.1f}",
        "" if name == CLEAN else f"{drop.changed:,} of {_number(drop):,}",
    ]


def _number(drop: ScoreDrop) -> int:
    """Returns the number of recordings, those without a score included."""
    return drop.errors.n_bonafide + drop.errors.n_spoof + len(drop.failed)


def _change(change: Difference, with_interval: bool) -> str:
    text = change.text(1) if with_interval else f"{100 * change.difference:+.1f}"
    return text.replace("-", "−")


def _title(name: str) -> str:
    return "none" if name == CLEAN else DEGRADATIONS[name].title


def write(result: Robustness, folder: Path) -> list[Path]:
    """Writes page, results and picture.

    Args:
      result: from ``score_drops.measure``.
      folder: where to write.

    Returns:
      The files: the page first, then JSON, SVG and PDF.

    Raises:
      UserError: a file cannot be written.
    """
    svg, pdf = picture(result)
    page = html(result, svg)
    results = json.dumps(result.to_json(), indent=1, allow_nan=False) + "\n"
    paths = [folder / PAGE, folder / RESULTS, folder / f"{PICTURE}.svg"]
    for path, content in zip(paths, (page, results, svg), strict=True):
        write_text(path, content)
    paths.append(folder / f"{PICTURE}.pdf")
    with replacing(paths[-1]) as part:
        part.write_bytes(pdf)
    return paths


def html(result: Robustness, svg: str) -> str:
    """Renders the report as one page without external resources.

    Args:
      result: from ``score_drops.measure``.
      svg: of the picture.

    Returns:
      The HTML.
    """
    interval = (
        f" Lines are {100 * result.scheme.level:g} % intervals; a filled marker means "
        "that zero lies outside. They are not adjusted for the number of degradations, "
        "which the p-values of the table are."
        if result.scheme.replicates
        else ""
    )
    return render(
        "robustness.html",
        version=__version__,
        title="Robustness of a detector",
        summary=f"{summary(result)} {result.scheme.sentence(result.units)}",
        warnings=warnings(result),
        drawn={PICTURE: svg},
        caption="Changes against the clean recordings; right of zero is worse. The "
        "EER is at the threshold that suits the degraded recordings best, the HTER "
        "at the one that was fixed on the clean recordings: where only the HTER "
        f"rises, the scores have moved and the threshold no longer fits.{interval}",
        content=table(result, titles=True),
        note=NOTE,
    )


def picture(result: Robustness) -> tuple[str, bytes]:
    """Draws the changes of EER and HTER, degradations in their groups.

    Args:
      result: from ``score_drops.measure``.

    Returns:
      SVG text and PDF bytes.
    """
    import matplotlib
    from matplotlib.figure import Figure

    from mldg_jax.common import plots

    names = [name for name in result.drops if name != CLEAN]
    groups = itertools.groupby(names, lambda name: DEGRADATIONS[name].group)
    labels: list[tuple[str, str]] = []  # name of the degradation, "" for a group; text
    for group, members in groups:
        labels.append(("", group))
        labels += [(name, DEGRADATIONS[name].title) for name in members]
    with matplotlib.rc_context(plots.OPTIONS):
        size = (6.8, 1.4 + 0.24 * len(labels))
        figure = Figure(figsize=size, layout="constrained")
        ax = figure.subplots()
        for kind, offset in (("eer_change", -0.17), ("hter_change", 0.17)):
            colour, marker = _style(kind)
            for y, (name, _) in enumerate(labels):
                if not name:
                    continue
                change = getattr(result.drops[name], kind)
                ends = [100 * change.low, 100 * change.high]
                ax.plot(ends, [y + offset] * 2, color=colour, lw=1.4)
                sure = change.excludes_zero or not result.scheme.replicates
                face = colour if sure else "white"
                x = [100 * change.difference]
                ax.plot(x, [y + offset], color=colour, marker=marker, ms=5, mfc=face)
        ax.axvline(0, color=plots.CHANCE, ls="--", lw=1.2, zorder=1)
        ax.set_yticks(range(len(labels)), [text for _, text in labels])
        for label, (name, _) in zip(ax.get_yticklabels(), labels, strict=True):
            label.set_fontweight("normal" if name else "bold")
        for y, (name, _) in enumerate(labels):
            if not name and y:
                ax.axhline(y - 0.5, color=plots.GRID, lw=0.8, zorder=0)
        ax.set_ylim(len(labels) - 0.5, -0.5)
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="x", color=plots.GRID, lw=0.8)
        ax.set_axisbelow(True)
        ax.set_xlabel("change against clean, percentage points (right of 0 is worse)")
        titles = ("EER", "HTER at the clean threshold")
        handles = [
            plots.legend_line(title, *_style(kind))
            for title, kind in zip(titles, ("eer_change", "hter_change"), strict=True)
        ]
        plots.legend(figure, ax, handles)
        file = io.BytesIO()
        figure.savefig(file, format="pdf", metadata={"CreationDate": None})
        return plots.svg(PICTURE, figure), file.getvalue()


def _style(kind: str) -> tuple[str, str]:
    from mldg_jax.common import plots

    return plots.style(3) if kind == "eer_change" else (plots.style(5)[0], "o")
