"""Describes a prepared corpus: numbers, a table and a plot (``mldg corpus info``)."""

import csv
import io
from collections import Counter
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from mldg_jax.common.files import replacing
from mldg_jax.common.plots import GRID
from mldg_jax.common.text_files import read_json, read_text, visible
from mldg_jax.data.corpora.speaker_overlap import overlap_warnings, shared_speakers
from mldg_jax.data.corpus import read_columns, read_summary, split_names
from mldg_jax.data.schema import BONAFIDE, NO_ATTACK

_COLOURS = {"bonafide": "#0072B2", "spoof": "#E69F00"}  # Okabe and Ito
_BARS = 40  # maximum number of attacks in the plot, the most frequent ones


def describe(folder: str | Path) -> dict[str, Any]:
    """Counts the utterances of a prepared corpus.

    Args:
      folder: folder of the corpus, from ``corpus.find_corpus``.

    Returns:
      ``corpus``, ``folder``, ``corpus_sha256``, ``complete`` (None if not recorded),
      ``skipped`` (number by reason), ``shared_speakers`` (the splits of each human
      speaker who is in several, see ``speaker_overlap``) and ``splits``: for each split
      the numbers of ``utterances``, ``bonafide`` and ``spoof``, ``hours``, ``seconds``
      (shortest, median, longest), and the number of utterances by ``attacks``
      (including "bonafide"), ``speakers``, ``codecs``, ``languages`` and ``rates`` (the
      sampling rate of the source recording, in Hz).

    Raises:
      UserError: the corpus was built by an older version, or a file is damaged.
    """
    folder = Path(folder)
    info = read_json(folder / "dataset_info.json", dict)
    summary = read_summary(folder)
    table = io.StringIO(read_text(folder / "skipped.tsv"), newline="")
    skipped = Counter(x["reason"] for x in csv.DictReader(table, delimiter="\t"))
    columns = {
        split: read_columns(folder, split) for split in _in_order(split_names(folder))
    }
    return {
        "corpus": "/".join(filter(None, (info["name"], info.get("configName")))),
        "folder": str(folder),
        "corpus_sha256": summary.get("corpus_sha256"),
        "complete": summary.get("complete"),
        "skipped": dict(skipped),
        "shared_speakers": shared_speakers(
            (speaker, split, label == BONAFIDE)
            for split, by_name in columns.items()
            for speaker, label in zip(
                by_name["speaker"].tolist(), by_name["label"].tolist(), strict=True
            )
        ),
        "splits": {
            split: _describe_split(by_name) for split, by_name in columns.items()
        },
    }


def _in_order(splits: list[str]) -> list[str]:
    first = [split for split in ("train", "dev", "eval") if split in splits]
    return first + [split for split in splits if split not in first]


def _describe_split(columns: dict[str, np.ndarray]) -> dict[str, Any]:
    seconds = columns["duration"]
    kinds = np.where(columns["attack"] == NO_ATTACK, "bonafide", columns["attack"])
    return {
        "utterances": len(seconds),
        "bonafide": int((columns["label"] == BONAFIDE).sum()),
        "spoof": int((columns["label"] != BONAFIDE).sum()),
        "hours": float(seconds.sum(dtype=float) / 3600),
        "seconds": [float(x) for x in np.quantile(seconds, [0, 0.5, 1])],
        "attacks": _count(kinds),
        "speakers": _count(columns["speaker"]),
        "codecs": _count(columns["codec"]),
        "languages": _count(columns["language"]),
        "rates": _count(columns["rate"]),
    }


def _count(values: np.ndarray) -> dict[str, int]:
    names, counts = np.unique(values, return_counts=True)
    return {str(name): int(n) for name, n in zip(names, counts, strict=True)}


def table(numbers: dict[str, Any]) -> str:
    """Formats the numbers as a table.

    Args:
      numbers: from ``describe``.

    Returns:
      Text of several lines, without a final line break.
    """
    splits = numbers["splits"]
    kinds = {kind: None for split in splits.values() for kind in split["attacks"]}
    kinds = sorted(kinds, key=lambda kind: (kind != "bonafide", kind))
    lines = [[numbers["corpus"], *splits]]
    for kind in kinds:
        lines.append(
            [kind, *(f"{x['attacks'].get(kind, 0):,}" for x in splits.values())]
        )
    lines.append(["utterances", *(f"{x['utterances']:,}" for x in splits.values())])
    lines.append(["hours", *(f"{x['hours']:.1f}" for x in splits.values())])
    lines.append(["speakers", *(f"{len(x['speakers']):,}" for x in splits.values())])
    lines.append(
        ["a speaker", *(_range(x["speakers"].values()) for x in splits.values())]
    )
    for i, word in enumerate(("shortest", "median", "longest")):
        lines.append(
            [f"{word}, s", *(f"{x['seconds'][i]:.1f}" for x in splits.values())]
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])
        for line in lines
    ]
    for name, title in (
        ("rates", "sampling rates of the recordings, Hz"),
        ("codecs", "codecs"),
        ("languages", "languages"),
    ):
        total = sum((Counter(x[name]) for x in splits.values()), Counter())
        text.append(f"{title}: {_listed(total)}")
    text.append(f"skipped: {_listed(numbers['skipped']) or 'none'}")
    if numbers["complete"] is False:
        text.append("not complete: see report.txt next to the corpus folder")
    text.extend(overlap_warnings(numbers["shared_speakers"]))
    return "\n".join(text)


def _range(counts) -> str:
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


def _listed(counts: dict[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{name} {n:,}" for name, n in ordered)


def save_plot(numbers: dict[str, Any]) -> Path | None:
    """Writes the plot to ``info.svg`` in the corpus folder.

    Args:
      numbers: from ``describe``.

    Returns:
      The path of the file; None if the folder is read-only.
    """
    path = Path(numbers["folder"]) / "info.svg"
    try:
        with replacing(path) as part:
            part.write_text(plot(numbers), encoding="utf-8")
    except PermissionError:  # a shared corpus
        return None
    return path


def plot(numbers: dict[str, Any]) -> str:
    """Plots the number of utterances by attack and split.

    Args:
      numbers: from ``describe``.

    Returns:
      The text of an SVG file; the same numbers give the same text.
    """
    splits = numbers["splits"]
    total = sum((Counter(split["attacks"]) for split in splits.values()), Counter())
    bonafide = total.pop("bonafide", 0)
    attacks = sorted(name for name, _ in total.most_common(_BARS))
    kinds = (["bonafide"] if bonafide else []) + attacks
    options: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": "mldg_jax",
        "text.parse_math": False,  # names may contain dollar signs
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    with matplotlib.rc_context(options):
        size = (1.5 + 2.6 * len(splits), 1.0 + 0.22 * len(kinds))
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(1, len(splits), sharey=True, squeeze=False)[0]
        for ax, (name, split) in zip(panels, splits.items(), strict=True):
            counts = [split["attacks"].get(kind, 0) for kind in kinds]
            colours = [_COLOURS.get(kind, _COLOURS["spoof"]) for kind in kinds]
            bars = ax.barh(kinds, counts, color=colours)
            ax.bar_label(
                bars, [f"{n:,}" if n else "" for n in counts], padding=2, size=8
            )
            ax.set_title(f"{name}, {split['hours']:.1f} h", loc="left", size=10)
            ax.set_axisbelow(True)
            ax.grid(axis="x", color=GRID, lw=0.8)
            ax.margins(x=0.3)
            ax.tick_params(length=0, labelsize=8)
        panels[0].invert_yaxis()
        label = f"utterances of {numbers['corpus']}"
        if len(total) > _BARS:
            label += f", the {_BARS} most frequent of {len(total)} attacks"
        figure.supxlabel(label, size=9)
        text = io.StringIO()
        # Without metadata, such as the date, the file depends on the numbers alone.
        no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(text, format="svg", metadata=no_metadata)
    return visible(text.getvalue())  # XML cannot hold control characters
