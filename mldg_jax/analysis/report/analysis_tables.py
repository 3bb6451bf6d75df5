"""Tables of the analysis of one run, and of the comparison of several."""

import numpy as np
from scipy import stats

from mldg_jax.analysis import fisher
from mldg_jax.analysis.report import drawing
from mldg_jax.analysis.report.analysis_figures import HALVES
from mldg_jax.analysis.run_comparison import RunComparison
from mldg_jax.analysis.study import Moment, RunAnalysis
from mldg_jax.analysis.trained_update import Geometry
from mldg_jax.common.tables import Table

BY_PROJECTION = (
    "share of the mass of A and B, %", "share of the mass of ΔW, %",
    "effective rank of √F ∘ ΔA", "of √F ∘ ΔB", "of √F ∘ ΔW", "of ΔW",
)  # fmt: skip


def summary_table(study: RunAnalysis) -> Table:
    """Tabulates the main results of one run.

    Args:
      study: the analysis of the run.

    Returns:
      A table with one row per quantity and one column per checkpoint, and a last column
      for the finished run.
    """
    cosine = drawing.off_diagonal
    rows = {
        "loss, nats, mean over attacks": lambda x: x.loss.mean(),
        "cosine of attacks' gradients": lambda x: cosine(x.similarity.cosine),
        "gradient noise scale, examples": lambda x: x.noise.scale,
        "F, nats": lambda x: x.taylor.meta_train,
        "G, nats": lambda x: x.taylor.meta_test,
        f"−β α F′·G′ at α = {study.inner.inner_lr:g}, nats": lambda x: _at(
            x, "alignment"
        ),
        "remainder at this α, nats": lambda x: _at(x, "remainder"),
        "slope of the remainder in α (2: Taylor holds)": lambda x: x.taylor.slope,
        "cosine, first : second order": lambda x: x.orders.cosine,
        "‖first‖ : ‖second‖": lambda x: x.orders.norm[0] / x.orders.norm[1],
    }
    table = [[k, *(_number(f(x)) for x in study.along)] for k, f in rows.items()]
    if study.along[-1].own is not None:
        table += _own_rows(study)
    for name in HALVES:
        cells = [", ".join(map(_number, x.top[name])) or "–" for x in study.along]
        table.append([f"largest eigenvalues of {name}″", *cells])
    steps = [f"step {x.step}" for x in study.along[:-1]]
    return ["quantity", *steps, "finished"], table


def _own_rows(study: RunAnalysis) -> list[list[str]]:
    own = [x.own for x in study.along if x.own is not None]
    rows = [
        [f"cosine, gradient of {study.objective} : of the mean loss"]
        + [_number(x.cosine) for x in own],
        ["the same with the least aligned attack"]
        + [_number(x.by_attack.min()) for x in own],
    ]
    if not np.isnan(own[-1].penalty):
        name = f"penalty of {study.objective}, before its weight"
        rows.append([name, *(_number(x.penalty) for x in own)])
    return rows


def _at(moment: Moment, part: str) -> float:
    """Returns a Taylor term at the α of ``RunAnalysis.inner``, the middle one."""
    values = getattr(moment.taylor, part)
    return values[len(values) // 2]


def geometry_table(them: list[Geometry] | tuple[Geometry, ...]) -> Table:
    """Tabulates the updates matrix by matrix.

    Args:
      them: the updates of one or several runs.

    Returns:
      A table with one row per run, layer and projection.
    """
    header = [
        "run", "layer", "projection", "‖ΔW‖", "stable rank", "effective rank",
        "mass of A, nats²", "of B", "effective rank of √F ∘ ΔA", "of √F ∘ ΔB",
        "mass of ΔW, nats²", "effective rank of √F ∘ ΔW",
    ]  # fmt: skip
    rows = []
    for run in them:
        s, m = run.spectra, run.mass
        for i, j in np.ndindex(s.norm.shape):
            if np.isnan(s.norm[i, j]):  # not an adapted matrix
                continue
            numbers = (
                s.norm[i, j], s.stable_rank[i, j], s.effective_rank[i, j],
                *m.factors[i, j], *m.factors_rank[i, j], m.merged[i, j],
                m.merged_rank[i, j],
            )  # fmt: skip
            labels = [run.name, str(s.layers[i]), s.projections[j]]
            rows.append([*labels, *(_number(float(x)) for x in numbers)])
    return header, rows


def methods_table(them: tuple[Geometry, ...]) -> Table:
    """Tabulates the mean ± standard deviation of the updates over a method's runs.

    Args:
      them: the updates of all runs.

    Returns:
      A table with one row per method and projection.
    """
    header = ["method", "projection", "runs", *BY_PROJECTION]
    rows = []
    for method in dict.fromkeys(run.method for run in them):
        runs = [run for run in them if run.method == method]
        columns = np.array([_by_projection(run) for run in runs])
        for j, projection in enumerate(runs[0].mass.projections):
            cells = [_spread(columns[:, k, j]) for k in range(columns.shape[1])]
            rows.append([method, projection, str(len(runs)), *cells])
    return header, rows


def differences_table(them: tuple[Geometry, ...]) -> Table:
    """Tabulates each method's difference from the first method, paired by seed.

    Cells are the mean and the 95 % interval of Student's t over the seeds that both
    methods have. Methods with several runs of one seed are omitted, and so are methods
    that share fewer than two seeds with the first.

    Args:
      them: the updates of all runs.

    Returns:
      A table with one row per method and projection.
    """
    methods: dict[str, dict[int, Geometry]] = {}
    for run in them:
        methods.setdefault(run.method, {})[run.seed] = run
    unique = {
        method: by_seed
        for method, by_seed in methods.items()
        if len(by_seed) == sum(run.method == method for run in them)
    }
    (first, base), *others = unique.items() or [("", {})]
    rows = []
    for method, by_seed in others:
        seeds = sorted(by_seed.keys() & base.keys())
        if len(seeds) < 2:
            continue
        this, other = (
            np.array([_by_projection(runs[seed]) for seed in seeds])
            for runs in (by_seed, base)
        )
        ends = stats.ttest_rel(this, other).confidence_interval(0.95)
        mean = (this - other).mean(axis=0)
        for j, projection in enumerate(base[seeds[0]].mass.projections):
            cells = [
                f"{mean[k, j]:+.1f} [{ends.low[k, j]:+.1f}, {ends.high[k, j]:+.1f}]"
                for k in range(len(BY_PROJECTION))
            ]
            minus = [cell.replace("-", "−") for cell in cells]
            rows.append([f"{method} − {first}", projection, str(len(seeds)), *minus])
    return ["difference", "projection", "seeds", *BY_PROJECTION], rows


def _by_projection(run: Geometry) -> list[np.ndarray]:
    """Returns the columns ``BY_PROJECTION`` of a run, (projections,) each.

    Shares are of the whole run's mass, ranks are means over layers.
    """
    rank = np.nanmean(run.mass.factors_rank, axis=0)
    return [
        100 * np.nansum(fisher.shares(run.mass.factors), axis=(0, 2)),
        100 * np.nansum(fisher.shares(run.mass.merged), axis=0),
        rank[:, 0],
        rank[:, 1],
        np.nanmean(run.mass.merged_rank, axis=0),
        np.nanmean(run.spectra.effective_rank, axis=0),
    ]


def barriers_table(study: RunComparison) -> Table:
    """Tabulates the loss between every two runs.

    Args:
      study: the comparison.

    Returns:
      A table with one row per pair of runs.
    """
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
