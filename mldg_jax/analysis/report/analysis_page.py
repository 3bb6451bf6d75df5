"""A study as tables, arrays and one HTML page that needs no network."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from mldg_jax import __version__
from mldg_jax.analysis import fisher
from mldg_jax.analysis.report import drawing
from mldg_jax.analysis.report.analysis_figures import HALVES, run_analysis_figures
from mldg_jax.analysis.report.captions import (
    ANGLES_NOTE,
    MASS_NOTE,
    METHODS_NOTE,
    PATHS_NOTE,
    SECTIONS,
)
from mldg_jax.analysis.report.run_comparison_figures import run_comparison_figures
from mldg_jax.analysis.run_comparison import RunComparison
from mldg_jax.analysis.study import Moment, RunAnalysis
from mldg_jax.analysis.trained_update import Geometry
from mldg_jax.common.errors import UserError
from mldg_jax.common.files import replacing, write_text
from mldg_jax.common.html import render
from mldg_jax.common.tables import Table, markdown_table


def write(study: RunAnalysis | RunComparison, folder: str | Path) -> list[Path]:
    """Writes ``arrays.npz``, ``table.md`` and ``report.html``; returns them.

    Raises:
      UserError: the folder cannot be written to.
    """
    folder = Path(folder)
    files = [folder / name for name in ("arrays.npz", "table.md", "report.html")]
    one = isinstance(study, RunAnalysis)
    page, tables = run_page(study) if one else comparison_page(study)
    text = "\n\n".join(f"## {k}\n\n{markdown_table(v)}" for k, v in tables.items())
    try:
        with replacing(files[0]) as part, part.open("wb") as file:
            named: dict[str, Any] = arrays(study)
            np.savez_compressed(file, **named)
        write_text(files[1], text + "\n")
        write_text(files[2], page)
    except OSError as error:
        raise UserError(f"{folder} cannot be written to ({error})") from None
    return files


def run_page(study: RunAnalysis) -> tuple[str, dict[str, Table]]:
    """The page of one run, and its tables by title."""
    drawn = run_analysis_figures(study)
    tables = {"In numbers": summary_table(study)}
    if study.geometry is not None:
        tables["Update by matrix"] = geometry_table([study.geometry])
    title = f"What happened in {study.name}"
    introduction = (
        f"Method {study.method}, {len(study.attacks)} attacks with "
        f"{study.label.shape[1]} utterances each, half of them bona fide. Losses are "
        "cross-entropies in evaluation mode. Where a meta-train and a meta-test half "
        f"are needed, meta-test (G) is {', '.join(study.held_out)}, meta-train (F) the "
        "other attacks."
    )
    page = render(
        "run_analysis.html",
        version=__version__,
        title=title,
        introduction=introduction,
        summary=tables["In numbers"],
        sections=[x for x in SECTIONS if any(name in drawn for name in x[1])],
        drawn=drawn,
        matrices=tables.get("Update by matrix"),
        mass_note=MASS_NOTE,
    )
    return page, tables


def comparison_page(study: RunComparison) -> tuple[str, dict[str, Table]]:
    """The page that compares runs, and its tables by title."""
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


def summary_table(study: RunAnalysis) -> Table:
    """A column a point of training, the last the finished run."""
    cosine = drawing.off_diagonal
    rows = {
        "loss, nats, mean over attacks": lambda x: x.loss.mean(),
        "cosine of attacks' gradients": lambda x: cosine(x.similarity.cosine),
        "gradient noise scale, examples": lambda x: x.noise.scale,
        "F, nats": lambda x: x.taylor.meta_train,
        "G, nats": lambda x: x.taylor.meta_test,
        f"−β α F′·G′ at α = {study.inner_lr:g}, nats": lambda x: _at(x, "alignment"),
        "remainder there, nats": lambda x: _at(x, "remainder"),
        "its slope in α (2: Taylor holds)": lambda x: x.taylor.slope,
        "cosine, first : second order": lambda x: x.orders.cosine,
        "‖first‖ : ‖second‖": lambda x: x.orders.norm[0] / x.orders.norm[1],
    }
    table = [[k, *(_number(f(x)) for x in study.along)] for k, f in rows.items()]
    for name in HALVES:
        cells = [", ".join(map(_number, x.top[name])) or "–" for x in study.along]
        table.append([f"largest eigenvalues of {name}″", *cells])
    steps = [f"step {x.step}" for x in study.along[:-1]]
    return ["quantity", *steps, "finished"], table


def _at(moment: Moment, part: str) -> float:
    """A Taylor part at the run's own inner learning rate, the middle one."""
    values = getattr(moment.taylor, part)
    return values[len(values) // 2]


def geometry_table(them: list[Geometry] | tuple[Geometry, ...]) -> Table:
    """A row a run, layer and projection."""
    header = [
        "run", "layer", "projection", "‖ΔW‖", "stable rank", "effective rank",
        "mass of A, nats²", "of B", "effective rank of √F ∘ ΔA", "of √F ∘ ΔB",
        "mass of ΔW, nats²", "effective rank of √F ∘ ΔW",
    ]  # fmt: skip
    rows = []
    for one in them:
        s, m = one.spectra, one.mass
        for i, j in np.ndindex(s.norm.shape):
            if np.isnan(s.norm[i, j]):
                continue
            numbers = (
                s.norm[i, j], s.stable_rank[i, j], s.effective_rank[i, j],
                *m.factors[i, j], *m.factors_rank[i, j], m.merged[i, j],
                m.merged_rank[i, j],
            )  # fmt: skip
            place = [one.name, str(s.layers[i]), s.projections[j]]
            rows.append([*place, *(_number(float(x)) for x in numbers)])
    return header, rows


BY_PROJECTION = (
    "share of the mass of A and B, %", "share of the mass of ΔW, %",
    "effective rank of √F ∘ ΔA", "of √F ∘ ΔB", "of √F ∘ ΔW", "of ΔW",
)  # fmt: skip


def methods_table(them: tuple[Geometry, ...]) -> Table:
    """Mean ± standard deviation over a method's runs, a row a method and projection."""
    header = ["method", "projection", "runs", *BY_PROJECTION]
    rows = []
    for method in dict.fromkeys(one.method for one in them):
        runs = [one for one in them if one.method == method]
        columns = np.array([_by_projection(one) for one in runs])
        for j, projection in enumerate(runs[0].mass.projections):
            cells = [_spread(columns[:, k, j]) for k in range(columns.shape[1])]
            rows.append([method, projection, str(len(runs)), *cells])
    return header, rows


def differences_table(them: tuple[Geometry, ...]) -> Table:
    """Every method minus the first, paired by seed, a row a method and projection.

    The mean [95 % interval of Student's t over the seeds that both have]. Methods with
    fewer than two, or with several runs of a seed, are left out.
    """
    methods: dict[str, dict[int, Geometry]] = {}
    for one in them:
        methods.setdefault(one.method, {})[one.seed] = one
    unique = {
        method: its
        for method, its in methods.items()
        if len(its) == sum(one.method == method for one in them)
    }
    (first, base), *others = unique.items() or [("", {})]
    rows = []
    for method, its in others:
        seeds = sorted(its.keys() & base.keys())
        if len(seeds) < 2:
            continue
        this, other = (
            np.array([_by_projection(x[seed]) for seed in seeds]) for x in (its, base)
        )
        ends = stats.ttest_rel(this, other).confidence_interval(0.95)
        middle = (this - other).mean(axis=0)
        for j, projection in enumerate(base[seeds[0]].mass.projections):
            cells = [
                f"{middle[k, j]:+.1f} [{ends.low[k, j]:+.1f}, {ends.high[k, j]:+.1f}]"
                for k in range(len(BY_PROJECTION))
            ]
            minus = [cell.replace("-", "−") for cell in cells]
            rows.append([f"{method} − {first}", projection, str(len(seeds)), *minus])
    return ["difference", "projection", "seeds", *BY_PROJECTION], rows


def _by_projection(one: Geometry) -> list[np.ndarray]:
    """``BY_PROJECTION``: shares of the whole run's mass, mean ranks over layers."""
    rank = np.nanmean(one.mass.factors_rank, axis=0)
    return [
        100 * np.nansum(fisher.shares(one.mass.factors), axis=(0, 2)),
        100 * np.nansum(fisher.shares(one.mass.merged), axis=0),
        rank[:, 0],
        rank[:, 1],
        np.nanmean(one.mass.merged_rank, axis=0),
        np.nanmean(one.spectra.effective_rank, axis=0),
    ]


def barriers_table(study: RunComparison) -> Table:
    """A row a pair of runs."""
    rows = [
        [" : ".join(pair), *map(_number, (x.loss[0], x.loss[-1], x.barrier))]
        for pair, x in study.paths.items()
    ]
    return ["runs", "loss of the first, nats", "of the other", "barrier, nats"], rows


def _number(x: float) -> str:
    if np.isnan(x):
        return "–"
    return "∞" if np.isinf(x) else f"{float(x):.3g}".replace("-", "−")


def _spread(values: np.ndarray) -> str:
    if len(values) == 1:
        return f"{values[0]:.1f}"
    return f"{values.mean():.1f} ± {values.std(ddof=1):.1f}"


def arrays(tree: Any, name: str = "") -> dict[str, np.ndarray]:
    """All of a study by name, for ``np.savez``: ``along/0/similarity/cosine``, ….

    Whole meta-gradients and the tables of leaves are left out.
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
    found: dict[str, np.ndarray] = {}
    for key, value in items:
        found |= arrays(value, f"{name}/{key}" if name else key)
    return found
