"""The report of ``mldg probe``: tables, a picture, and the line for the config."""

import json
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from mldg_jax import __version__
from mldg_jax.common import plots
from mldg_jax.common.error_rates import Difference
from mldg_jax.common.files import write_text
from mldg_jax.common.html import render
from mldg_jax.common.tables import Table, markdown_table
from mldg_jax.experiments.probing.layer_choice import (
    BEST_LAYER,
    LAST_LAYER,
    SIZES,
    Choice,
    ProbedLayers,
)
from mldg_jax.experiments.probing.probe_study import CONFIRM_SPLIT, ProbeStudy

PAGE, TABLES, RESULTS, PICTURE = "probe.html", "probe.md", "probe.json", "probe.svg"
SHOWN = 3  # sets of each size in the first table


def write(study: ProbeStudy, folder: str | Path) -> Path:
    """Writes the report.

    Args:
      study: the result.
      folder: where to write ``PAGE``, ``TABLES``, ``RESULTS`` and ``PICTURE``.

    Returns:
      The page.
    """
    folder = Path(folder)
    drawn = picture(study)
    write_text(folder / PICTURE, drawn + "\n")
    write_text(folder / RESULTS, json.dumps(to_json(study), indent=1) + "\n")
    write_text(folder / TABLES, _markdown(study))
    page = render(
        "probe.html",
        title="Which layers tell synthetic speech apart?",
        verdict=verdict(study),
        line=line(study),
        layers=layer_table(study),
        sets=set_table(study),
        families=family_table(study),
        drawn={"depth": drawn},
        notes=notes(study),
        version=__version__,
    )
    write_text(folder / PAGE, page)
    return folder / PAGE


def line(study: ProbeStudy) -> str:
    """Returns the option that makes a run read the chosen layers."""
    best = study.choice.best()
    assert best is not None  # a front-end has at least one layer
    return f"--set '{best.setting}'"


def verdict(study: ProbeStudy) -> str:
    """Returns the result in a few sentences.

    Args:
      study: the result.
    """
    best, single = study.choice.best(), study.choice.best(1)
    assert best is not None and single is not None
    name = _named(best)
    verb = "has" if len(best.layers) == 1 else "have"
    text = f"{name.capitalize()} {verb} the lowest EER on held-out training attacks: "
    text += f"{best.rate.text()} %, mean over families, with {best.parameters:,} "
    text += f"parameters and {_work(best)} multiply-adds a second."
    gaps = study.choice.gaps
    if BEST_LAYER in gaps:
        text += (
            f" The best single layer is {single.title}, {single.rate.text()} % at "
            f"{_work(single)}; the difference is {_points(gaps[BEST_LAYER])}."
        )
    if LAST_LAYER in gaps:
        text += f" The difference to the last layer is {_points(gaps[LAST_LAYER])}."
    if study.unseen is not None:
        text += f" {_confirmation(study, study.unseen)}"
    return text


def _named(one: ProbedLayers) -> str:
    """Names layers within a sentence."""
    return f"layer{'s' * (len(one.layers) > 1)} {one.title}"


def _points(gap: Difference) -> str:
    """Formats a difference."""
    chance = "" if gap.excludes_zero else ", which may be chance"
    return f"{gap.text()} points{chance}"


def _confirmation(study: ProbeStudy, unseen: Choice) -> str:
    """Compares the choice with the unseen attacks."""
    best = study.choice.best()
    assert best is not None
    # by the sets that could be chosen, the input of the first layer excluded
    before = {x.layers: x.rate.eer for x in study.choice.tried if x.layers != (0,)}
    after = {x.layers: x for x in unseen.tried if x.layers in before}
    lowest = min(after.values(), key=lambda x: x.rate.eer)
    ranked = sorted(x.rate.eer for x in after.values())
    own = after[best.layers]
    text = (
        f"On the unseen attacks of {CONFIRM_SPLIT} the choice has {own.rate.text()} %, "
        f"rank {ranked.index(own.rate.eer) + 1} of {len(ranked)}; the lowest is "
        f"{lowest.rate.text()} %, of {_named(lowest)}. "
    )
    rates = [list(before.values()), [after[x].rate.eer for x in before]]
    if all(len(set(x)) > 1 for x in rates):  # or it is not defined
        correlation = f"{float(spearmanr(*rates)[0]):+.2f}".replace("-", "−")
        text += f"The rank correlation of the {len(after)} sets is {correlation}. "
    if LAST_LAYER in unseen.gaps:
        gap = _points(unseen.gaps[LAST_LAYER])
        text += f"There, the difference of the choice to the last layer is {gap}."
    return text.strip()


def _work(one: ProbedLayers) -> str:
    """Formats multiply-adds."""
    number = one.multiply_adds
    return f"{number / 1e9:.2f} G" if number >= 1e9 else f"{number / 1e6:.0f} M"


def _header(study: ProbeStudy, first: str) -> list[str]:
    header = [first, "EER, %", "parameters", "multiply-adds / s"]
    return header + [f"EER unseen ({CONFIRM_SPLIT}), %"] * (study.unseen is not None)


def _cells(study: ProbeStudy, one: ProbedLayers) -> list[str]:
    cells = [one.rate.text(), f"{one.parameters:,}", _work(one)]
    rate = study.unseen and study.unseen.of(one.layers).rate
    return [*cells, rate.text()] if rate else cells


def layer_table(study: ProbeStudy) -> Table:
    """Returns the table of single layers, by depth.

    Args:
      study: the result.
    """
    sets = [x for x in study.choice.tried if len(x.layers) == 1]
    names = {0: "0 (input of the first)"}
    rows = [[names.get(x.layers[0], x.title), *_cells(study, x)] for x in sets]
    return _header(study, "layer"), rows


def set_table(study: ProbeStudy) -> Table:
    """Returns the table of the best sets of each size.

    Args:
      study: the result.
    """
    rows = []
    for size in SIZES:
        sets = [x for x in study.choice.tried if len(x.layers) == size]
        ranked = sorted(sets, key=lambda x: x.rate.eer)[:SHOWN]
        rows += [[x.title, str(len(sets)), *_cells(study, x)] for x in ranked]
    header = _header(study, "layers")
    return [header[0], "tried", *header[1:]], rows


def family_table(study: ProbeStudy) -> Table:
    """Returns the EER of each layer by held-out family.

    Args:
      study: the result.
    """
    sets = [x for x in study.choice.tried if len(x.layers) == 1]
    best = study.choice.best()
    if best is not None and best not in sets:
        sets.append(best)
    header = ["held-out family", *(x.title for x in sets)]
    rows = [
        [group, *(f"{100 * x.by_group[group]:.1f}" for x in sets)]
        for group in sets[0].by_group
    ]
    return header, rows


def notes(study: ProbeStudy) -> list[str]:
    """Returns what the numbers are, a paragraph each.

    Args:
      study: the result.
    """
    sizes = {
        size: sum(len(x.layers) == size for x in study.choice.tried) for size in SIZES
    }
    groups = "; ".join(", ".join(group) for group in study.groups)
    return [
        f"Probes are logistic regressions on the mean over time of frozen layers of "
        f"{study.config.model.weights}, fitted on {study.bonafide:,} bona fide and "
        f"{study.spoof:,} spoofed training recordings. Held out in turn: each of "
        f"{len(study.groups)} groups of attack families of the training data ({groups})"
        f", crossed with {study.speaker_folds} groups of speakers. No attack of dev or "
        "eval that is not in the training data was used for the choice.",
        study.choice.scheme.sentence(),
        f"Tried: {sizes[1]} layers, {sizes[2]} pairs and {sizes[4]} fours, the lowest "
        "EER of which is therefore somewhat too low. Pairs and fours are of the best "
        "layers alone. Several layers are concatenated.",
        "Multiply-adds are those of the front-end up to the last of the layers, "
        "without element-wise work.",
    ]


def picture(study: ProbeStudy) -> str:
    """Plots EER by depth with intervals.

    Args:
      study: the result.

    Returns:
      An SVG element.
    """
    sets = [x for x in study.choice.tried if len(x.layers) == 1]
    depth = [x.layers[0] for x in sets]
    with matplotlib.rc_context(plots.OPTIONS):
        figure = Figure(figsize=(6.8, 3.8), layout="constrained")
        ax = figure.subplots()
        colour, marker = plots.style(3)
        low, high = (
            [100 * getattr(x.rate, end) for x in sets] for end in ("low", "high")
        )
        ax.vlines(depth, low, high, color=colour, lw=1.6)
        ax.plot(
            depth, [100 * x.rate.eer for x in sets], color=colour, marker=marker, ms=7,
            mec="white", label="held-out training attacks, 95 % interval",
        )  # fmt: skip
        if (unseen := study.unseen) is not None:
            colour, marker = plots.style(5)
            ax.plot(
                depth, [100 * unseen.of(x.layers).rate.eer for x in sets], color=colour,
                marker=marker, ms=7, mec="white", ls=":",
                label=f"unseen attacks of {CONFIRM_SPLIT}",
            )  # fmt: skip
        ax.axhline(50, color=plots.CHANCE, ls="--", lw=1.2, zorder=1)
        ax.set_xticks(depth)
        ax.set_ylim(bottom=0)
        ax.set_xlabel("layer (0: input of the first)")
        ax.set_ylabel("equal error rate, %")
        ax.grid(axis="y", color=plots.GRID, lw=0.8)
        ax.set_axisbelow(True)
        plots.legend(figure, ax)
        return plots.svg("depth", figure)


def to_json(study: ProbeStudy) -> dict[str, Any]:
    """Returns the content of ``RESULTS``.

    Args:
      study: the result.
    """
    choice, best = study.choice, study.choice.best()
    assert best is not None
    return {
        "weights": study.config.model.weights,
        "frontend": dict(study.config.model.frontend),
        "crop_samples": study.config.crop_samples,
        "corpus": [study.config.corpus.name, study.config.corpus.config],
        "corpus_sha256": study.config.corpus.sha256,
        "bonafide": study.bonafide,
        "spoof": study.spoof,
        "held_out": [list(group) for group in study.groups],
        "speaker_folds": study.speaker_folds,
        "bootstrap": choice.scheme.to_json(),
        "tried": [x.to_json() for x in choice.tried],
        "chosen": list(best.layers),
        "set": best.setting,
        "differences": {name: x.to_json() for name, x in choice.gaps.items()},
        "unseen": _unseen(study),
        "seconds": dict(zip(("features", "probes"), study.seconds, strict=True)),
    }


def _unseen(study: ProbeStudy) -> dict[str, Any] | None:
    if study.unseen is None:
        return None
    return {
        "split": CONFIRM_SPLIT,
        "tried": [x.to_json() for x in study.unseen.tried],
        "differences": {name: x.to_json() for name, x in study.unseen.gaps.items()},
    }


def _markdown(study: ProbeStudy) -> str:
    """Returns the content of ``TABLES``."""
    parts = [
        verdict(study),
        f"    {line(study)}",
        *map(markdown_table, (layer_table(study), set_table(study))),
        markdown_table(family_table(study)),
        *notes(study),
    ]
    return "\n\n".join(parts) + "\n"
