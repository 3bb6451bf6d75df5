"""A study as tables, arrays and one HTML page that needs no network."""

from html import escape
from pathlib import Path

import numpy as np

from mldg_jax import checkpoint, layout
from mldg_jax._version import __version__
from mldg_jax.analysis import figures
from mldg_jax.analysis.study import Geometry, Several, Single, arrays
from mldg_jax.atomic import replacing
from mldg_jax.errors import UserError
from mldg_jax.layout import Table, html_table, picture


def write(study: Single | Several, folder: str | Path) -> list[Path]:
    """Writes ``arrays.npz``, ``table.md`` and ``report.html``; returns them.

    Raises:
      UserError: the folder cannot be written to.
    """
    folder = Path(folder)
    files = [folder / name for name in ("arrays.npz", "table.md", "report.html")]
    one = isinstance(study, Single)
    page, tables = single(study) if one else several(study)
    text = "\n\n".join(f"## {k}\n\n{layout.markdown(v)}" for k, v in tables.items())
    try:
        with replacing(files[0]) as part, part.open("wb") as file:
            np.savez_compressed(file, **arrays(study))
        checkpoint.write_text(files[1], text + "\n")
        checkpoint.write_text(files[2], page)
    except OSError as error:
        raise UserError(f"{folder} cannot be written to ({error})") from None
    return files


def single(study: Single) -> tuple[str, dict[str, Table]]:
    """The page of one run, and its tables by title."""
    drawn = figures.of_single(study)
    tables = {"In numbers": summary_table(study)}
    if study.geometry is not None:
        tables["Update by matrix"] = geometry_table([study.geometry])
    title = f"What happened in {study.name}"
    introduction = (
        f"Arm {study.arm}, {len(study.attacks)} attacks with "
        f"{study.label.shape[1]} utterances each, half of them bona fide. Losses are "
        "cross-entropies in evaluation mode. Where a meta-train and a meta-test half "
        f"are needed, meta-test (G) is {', '.join(study.held_out)}, meta-train (F) the "
        "other attacks."
    )
    body = [f"<h1>{escape(title)}</h1>", f"<p>{escape(introduction)}</p>"]
    body.append(html_table(tables["In numbers"]))
    for heading, names, kind, note in SECTIONS:
        if any(name in drawn for name in names):
            body += [f"<h2>{escape(heading)}</h2>", picture(drawn, names, kind, note)]
    if study.geometry is not None:
        table = html_table(tables["Update by matrix"])
        body.append(f"<details><summary>Update by matrix</summary>{table}</details>")
        body.append(f'<p class="note">{escape(MASS_NOTE)}</p>')
    return _page(title, body), tables


def several(study: Several) -> tuple[str, dict[str, Table]]:
    """The page that compares runs, and its tables by title."""
    drawn = figures.of_several(study)
    tables = {
        "Update by arm and projection": arms_table(study.geometry),
        "Loss between runs": barriers_table(study),
        "Update by matrix": geometry_table(study.geometry),
    }
    title = "Comparison of " + ", ".join(x.name for x in study.geometry)
    body = [f"<h1>{escape(title)}</h1>", "<h2>Update by arm and projection</h2>"]
    body.append(html_table(tables["Update by arm and projection"]))
    body.append(f'<p class="note">{escape(MASS_NOTE + ARMS_NOTE)}</p>')
    body += ["<h2>Angles between updates</h2>"]
    body.append(picture(drawn, ["angles"], "attacks", ANGLES_NOTE))
    body += ["<h2>Loss between runs</h2>"]
    body.append(picture(drawn, ["paths"], "attacks", PATHS_NOTE))
    body.append(html_table(tables["Loss between runs"]))
    table = html_table(tables["Update by matrix"])
    body.append(f"<details><summary>Update by matrix</summary>{table}</details>")
    return _page(title, body), tables


def _page(title: str, body: list[str]) -> str:
    last = f'<p class="note">mldg_jax {__version__}, mldg analyse.</p>'
    return layout.page(title, [*body, last])


def summary_table(study: Single) -> Table:
    """One number a row."""
    last, parts, orders = study.along[-1], study.taylor, study.orders
    at = int(np.argmin(np.abs(np.log(parts.inner_lr / study.inner_lr))))
    rows = {
        "loss, nats, mean over attacks": _number(last.loss.mean()),
        "cosine between two attacks' gradients, mean": _number(
            figures.off_diagonal(last.similarity.cosine)
        ),
        "the same of the head's part": _number(figures.off_diagonal(study.rest.cosine)),
        "gradient noise scale, examples": _number(last.noise.scale),
        "F, nats": _number(parts.meta_train),
        "β G, nats": _number(parts.beta * parts.meta_test),
        f"−β α F′·G′ at α = {parts.inner_lr[at]:g}, nats": _number(parts.alignment[at]),
        "remainder there, nats": _number(parts.remainder[at]),
        "slope of the remainder in α (2 where Taylor holds)": _number(parts.slope),
        "cosine of first- and second-order meta-gradient": _number(orders.cosine),
        "‖first‖ : ‖second‖": _number(orders.norm[0] / orders.norm[1]),
    }
    for name in ("F", "G"):
        values = ", ".join(_number(x) for x in study.top[name])
        rows[f"largest eigenvalues of {name}″"] = values or "did not converge"
    return ["quantity", study.name], [[k, v] for k, v in rows.items()]


def geometry_table(them: list[Geometry] | tuple[Geometry, ...]) -> Table:
    """A row a run, layer and projection."""
    header = [
        "run", "layer", "projection", "‖ΔW‖", "stable rank", "effective rank",
        "mass of A, nats²", "mass of B", "mass of ΔW", "effective rank of √F ∘ ΔW",
    ]  # fmt: skip
    rows = []
    for one in them:
        s, m = one.spectra, one.mass
        for i, j in np.ndindex(s.norm.shape):
            if np.isnan(s.norm[i, j]):
                continue
            numbers = (
                s.norm[i, j], s.stable_rank[i, j], s.effective_rank[i, j],
                *m.factors[i, j], m.merged[i, j], m.effective_rank[i, j],
            )  # fmt: skip
            place = [one.name, str(s.layers[i]), s.projections[j]]
            rows.append([*place, *map(_number, numbers)])
    return header, rows


def arms_table(them: tuple[Geometry, ...]) -> Table:
    """Mean ± standard deviation over an arm's runs, a row an arm and projection."""
    header = [
        "arm", "projection", "runs", "share of the mass of A and B, %",
        "share of the mass of ΔW, %", "effective rank of √F ∘ ΔW",
        "effective rank of ΔW",
    ]  # fmt: skip
    rows = []
    for arm in dict.fromkeys(one.arm for one in them):
        runs = [one for one in them if one.arm == arm]
        columns = np.array([_by_projection(one) for one in runs])
        for j, projection in enumerate(runs[0].mass.projections):
            cells = [_spread(columns[:, k, j]) for k in range(columns.shape[1])]
            rows.append([arm, projection, str(len(runs)), *cells])
    return header, rows


def _by_projection(one: Geometry) -> list[np.ndarray]:
    """Shares of the whole run's mass, in per cent, and mean ranks over layers."""
    factors, merged = one.mass.factors, one.mass.merged
    return [
        100 * np.nansum(factors, axis=(0, 2)) / np.nansum(factors),
        100 * np.nansum(merged, axis=0) / np.nansum(merged),
        np.nanmean(one.mass.effective_rank, axis=0),
        np.nanmean(one.spectra.effective_rank, axis=0),
    ]


def barriers_table(study: Several) -> Table:
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


MASS_NOTE = (
    "Mass of an update Δ: Σ F ∘ Δ² with F the mean squared gradient of an example's "
    "loss (diagonal of the empirical Fisher matrix): of the factors A and B, Δ counted "
    "from the start of training, and after the merge of ΔW. The effective rank "
    "(exponential of the spectrum's entropy) of √F ∘ ΔW says over how many directions "
    "the mass is spread. "
)
ARMS_NOTE = (
    "Shares are of the whole front-end's mass, ranks are means over layers; ± is the "
    "standard deviation over the arm's runs. arXiv 2607.22010 reports for MLDG a lower "
    "effective rank in query and key and a higher one in out than for ERM."
)
ANGLES_NOTE = (
    "Mean principal angle between two runs' updates, by projection: what they read "
    "(input side) and write (output side). 0°: the same directions; 90°: orthogonal, "
    "as random directions of a wide layer nearly are. Runs of the same seed start from "
    "the same A, so they read alike without having learnt it."
)
PATHS_NOTE = (
    "The loss on all chosen utterances where updates and head are mixed, from one run "
    "to the other. A bump above the line between the ends is a barrier: the two runs "
    "found different solutions."
)
SECTIONS = (
    (
        "Gradients of attacks",
        ["attacks"],
        "attacks",
        "Blue: a gradient step on one attack also lowers the loss of the other; red: "
        "it raises it. Of all trained parameters.",
    ),
    (
        "Where attacks agree",
        ["blocks"],
        "attacks",
        "The mean cosine between the gradients of two different attacks, of each part "
        "of the trained adapters: q, k, v and out projection of every layer; factor A "
        "reads, factor B writes. Blue: agreement; red: conflict.",
    ),
    (
        "Along training",
        ["along", "noise"],
        "pair",
        "At the checkpoints that the run kept, and of the finished run (the average of "
        "its parameters). Left: cosine between two attacks' gradients, mean and the "
        "range from the 10th to the 90th percentile of pairs. Right: the batch size at "
        "which noise and signal of a gradient are equal; no point where noise drowns "
        "the signal.",
    ),
    (
        "The MLDG objective in parts",
        ["taylor"],
        "attacks",
        "F + β G(φ − α F′) = F + β G − β α F′·G′ + remainder. Where the remainder "
        "(red) is far below the product of the gradients (blue), MLDG rewards attacks "
        "whose gradients agree; where they meet, the inner step is too long for that "
        "reading. Dotted: what the curvature predicts of the remainder.",
    ),
    (
        "First against second order",
        ["orders"],
        "attacks",
        "The cosine between the first- and the second-order meta-gradient of each part "
        "of the adapters: 1 where first order loses nothing.",
    ),
    (
        "Curvature",
        ["density", "plane"],
        "pair",
        "Left: how the eigenvalues of the loss's Hessian in the trained parameters are "
        "spread (smoothed, logarithmic); markers at the bottom are the largest. Right: "
        "the loss in two random directions, a step of 1 as long as the parameters "
        "themselves; the cross is the run.",
    ),
    (
        "The update",
        ["fisher"],
        "attacks",
        "Left: which of the merged updates matter to the loss (share of the Fisher "
        "mass). Right: over how many directions each spreads what matters.",
    ),
    (
        "Spectra and frames",
        ["spectra", "cka"],
        "pair",
        "Left: singular values of every ΔW over its largest; a line a layer. Right: "
        "how alike the frames of the adapted and the frozen front-end are (1: equal up "
        "to rotation and scale).",
    ),
    (
        "Embeddings",
        ["embedding"],
        "attacks",
        "The input of the last linear layer, a point an utterance, projected on the "
        "two directions of largest variance.",
    ),
)
