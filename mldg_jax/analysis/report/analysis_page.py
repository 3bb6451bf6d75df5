"""An analysis as arrays, tables and one HTML page that needs no network."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mldg_jax import __version__
from mldg_jax.analysis.report.analysis_figures import run_analysis_figures
from mldg_jax.analysis.report.analysis_tables import (
    barriers_table,
    differences_table,
    geometry_table,
    methods_table,
    summary_table,
)
from mldg_jax.analysis.report.captions import (
    ANGLES_NOTE,
    MASS_NOTE,
    METHODS_NOTE,
    PATHS_NOTE,
    SECTIONS,
)
from mldg_jax.analysis.report.run_comparison_figures import run_comparison_figures
from mldg_jax.analysis.run_comparison import RunComparison
from mldg_jax.analysis.study import RunAnalysis
from mldg_jax.common.files import replacing, write_text
from mldg_jax.common.html import render
from mldg_jax.common.tables import Table, markdown_table


def write(study: RunAnalysis | RunComparison, folder: str | Path) -> list[Path]:
    """Writes an analysis to ``arrays.npz``, ``table.md`` and ``report.html``.

    Args:
      study: the analysis of one run, or the comparison of several.
      folder: output folder.

    Returns:
      Paths of the three files, in this order.

    Raises:
      UserError: the folder cannot be written to.
    """
    folder = Path(folder)
    files = [folder / name for name in ("arrays.npz", "table.md", "report.html")]
    single = isinstance(study, RunAnalysis)
    page, tables = run_page(study) if single else comparison_page(study)
    parts = [f"## {k}\n\n{markdown_table(v)}" for k, v in tables.items()]
    text = "\n\n".join([*(study.notes if single else ()), *parts])
    with replacing(files[0]) as part, part.open("wb") as file:
        named: dict[str, Any] = arrays(study)
        np.savez_compressed(file, **named)
    write_text(files[1], text + "\n")
    write_text(files[2], page)
    return files


def run_page(study: RunAnalysis) -> tuple[str, dict[str, Table]]:
    """Renders the report on one run.

    Args:
      study: the analysis of the run.

    Returns:
      The page as HTML, and its tables by title.
    """
    drawn = run_analysis_figures(study)
    tables = {"In numbers": summary_table(study)}
    if study.geometry is not None:
        tables["Update by matrix"] = geometry_table([study.geometry])
    title = f"Analysis of {study.name}"
    method = study.method
    if study.objective != method:
        method += f" (objective {study.objective})"
    introduction = (
        f"Method {method}, {len(study.attacks)} attacks with "
        f"{study.label.shape[1]} utterances each, half of them bona fide. All losses "
        "are cross-entropies in evaluation mode. The meta-test loss G is that of "
        f"{', '.join(study.held_out)}; the meta-train loss F is that of the other "
        "attacks."
    )
    page = render(
        "run_analysis.html",
        version=__version__,
        title=title,
        introduction=introduction,
        notes=study.notes,
        summary=tables["In numbers"],
        sections=[x for x in SECTIONS if any(name in drawn for name in x[1])],
        drawn=drawn,
        matrices=tables.get("Update by matrix"),
        mass_note=MASS_NOTE,
    )
    return page, tables


def comparison_page(study: RunComparison) -> tuple[str, dict[str, Table]]:
    """Renders the report that compares several runs.

    Args:
      study: the comparison.

    Returns:
      The page as HTML, and its tables by title; empty tables are omitted.
    """
    tables = {
        "Update by method and projection": methods_table(study.geometry),
        "Differences between methods": differences_table(study.geometry),
        "Loss between runs": barriers_table(study),
        "Update by matrix": geometry_table(study.geometry),
    }
    page = render(
        "run_comparison.html",
        version=__version__,
        title="Comparison of " + ", ".join(x.name for x in study.geometry),
        methods=tables["Update by method and projection"],
        differences=tables["Differences between methods"],
        update_note=MASS_NOTE + METHODS_NOTE,
        drawn=run_comparison_figures(study),
        angles_note=ANGLES_NOTE,
        paths_note=PATHS_NOTE,
        barriers=tables["Loss between runs"],
        matrices=tables["Update by matrix"],
    )
    return page, {title: table for title, table in tables.items() if table[1]}


def arrays(tree: Any, name: str = "") -> dict[str, np.ndarray]:
    """Flattens an analysis into named arrays for ``np.savez``.

    Whole meta-gradients and lists of leaves are omitted because of their size.

    Args:
      tree: the analysis, or a part of it.
      name: name of the part; "" for the whole.

    Returns:
      Arrays by path, such as ``along/0/similarity/cosine``.
    """
    if tree is None or name.rpartition("/")[2] in ("leaves", "first", "second"):
        return {}
    if hasattr(tree, "_asdict"):
        items = tree._asdict().items()
    elif isinstance(tree, Mapping):
        items = (
            (" - ".join(k) if isinstance(k, tuple) else k, v) for k, v in tree.items()
        )
    elif isinstance(tree, tuple) and any(hasattr(x, "_asdict") for x in tree):
        items = ((str(i), x) for i, x in enumerate(tree))
    else:
        return {name: np.asarray(tree)}
    named: dict[str, np.ndarray] = {}
    for key, value in items:
        named |= arrays(value, f"{name}/{key}" if name else key)
    return named
