# %% [markdown]
# # The meta-gradient: does MLDG achieve what it aims for?
#
#     φ' = φ − α ∇F(φ)                         F: loss on the meta-train attacks
#     minimise over φ:  F(φ) + β G(φ')         G: loss on the meta-test attacks
#
# A Taylor expansion in the inner learning rate α gives
#
#     F + β G − β α F′·G′ + remainder,         remainder = β α²/2 F′ᵀ G″ F′ + …
#
# so MLDG is said to reward parameters at which the gradients of different attacks point
# in the same direction. We ask three questions about a detector trained on DebSpoof:
#
# 1. When do the gradients of attacks agree?
# 2. Are the first three terms a good approximation of the objective, at the α used in
#    training?
# 3. Is the first-order form, which treats ∇F as a constant, enough?
#
# And a fourth: do the gradients of attacks agree more after training with this reward?

# %%
import os
from pathlib import Path

import jax
import numpy as np
from IPython.display import Markdown
from matplotlib import pyplot as plt
from scipy import stats

import mldg_jax
from mldg_jax import cli
from mldg_jax.analysis import curvature, gradients, losses, subjects, taylor
from mldg_jax.analysis.report import drawing
from mldg_jax.common import plots, tables
from mldg_jax.data.corpus import find_corpus, load_split, read_columns

CONFIGS = Path(mldg_jax.__file__).parents[1] / "configs"
if not Path("data").exists():  # opened from notebooks/: data/ and runs/ are beside it
    os.chdir(CONFIGS.parent)
SMOKE = os.environ.get("MLDG_SMOKE") == "1"  # seconds instead of minutes, for tests

RUNS = Path("runs/geometry-smoke" if SMOKE else "runs/geometry")
SEEDS = range(2 if SMOKE else 5)
RATES = (0.03, 0.3)
plt.rcParams.update({**plots.OPTIONS, "figure.dpi": 100})

# %% [markdown]
# ## The runs
#
# The runs are ERM and MLDG with two inner learning rates, five seeds, and all four
# layers of Whisper tiny; they are the same runs as in `03_adapter_geometry`. The
# command trains the missing runs (a quarter of an hour on two idle cores) and keeps the
# finished ones. The checkpoint of every 80th step is kept.

# %%
command = [
    "compare", "--workdir", str(RUNS), "--methods", "erm,mldg",
    "--config", f"{CONFIGS / 'debspoof_full.py'}{':smoke' if SMOKE else ''}",
    "--vary", f"objective.inner_lr={','.join(map(str, RATES))}",
    "--seeds", f"0:{len(SEEDS)}", "--set", f"model.frontend.layers={1 if SMOKE else 4}",
    *(["--workers", "0"] if SMOKE else ["--set", "keep_every=80"]),
    "--resample", "speakers",
]  # fmt: skip
assert cli.main(command) == 0

# %%
METHODS = {"ERM": "erm", **{f"MLDG, α = {a}": f"mldg inner_lr={a}" for a in RATES}}
found = {
    method: [subjects.load(RUNS / f"{label} seed{seed}") for seed in SEEDS]
    for method, label in METHODS.items()
}
folder = find_corpus("debspoof", "full", "data")
run = found[f"MLDG, α = {RATES[0]}"][0]
dev = load_split(folder, "dev")
if SMOKE:  # bona fide and four attacks
    dev = dev.take(np.isin(dev.attack, np.unique(dev.attack)[:5]))
chosen = subjects.choose(
    dev, examples=2 if SMOKE else 8, samples=run.config.crop_samples
)
saved = [*subjects.checkpoints(run)]  # φ itself, not its moving average
print(f"{len(chosen.attacks)} attacks, {chosen.row.size} utterances of the dev split")
print(f"checkpoints of {run.name}: {', '.join(str(x.step) for x in saved)}")

# %% [markdown]
# ## When do attacks agree?
#
# We compute the gradient of each attack's loss with respect to all trained parameters,
# in one pass, and the cosine between each pair. Attacks of a family (one synthesiser or
# vocoder with several voices or settings) are adjacent. Blue: a step on one attack also
# lowers the loss of the other; red: it raises it.

# %%
columns = read_columns(folder, "dev", ["attack", "family"])
family = dict(zip(columns["attack"], columns["family"], strict=True))
order = sorted(
    range(len(chosen.attacks)),
    key=lambda i: (family[chosen.attacks[i]], chosen.attacks[i]),
)
names = [chosen.attacks[i] for i in order]


def by_attack(run):
    """The gradients of all attacks at a point of training."""
    return gradients.per_attack(
        run.loss, run.trainable, chosen.batch, chosen.attacks, chunk=1
    )


cosine = gradients.similarity(by_attack(run)).cosine[np.ix_(order, order)]
figure, ax = plt.subplots(figsize=(9, 8), layout="constrained")
image = drawing.heat(
    ax, cosine, names, names, f"{run.name}, finished",
    limits=(-1, 1), colours=drawing.DIVERGING, digits=1,
)  # fmt: skip
ax.set_xticks(range(len(names)), names, rotation=45, ha="right")
_ = figure.colorbar(image, label="cosine of the two attacks' gradients", shrink=0.7)

# %% [markdown]
# Most pairs agree a little. Griffin-Lim (`gl_mel`) and two settings of WORLD disagree
# with nearly all others: what helps on the rest raises their loss. Families do not form
# blocks: the four settings of WORLD disagree with each other.
#
# Next, the cosine over training, at the checkpoints, for pairs of attacks within a
# family and for pairs from different families. The right panel uses the spoofed
# utterances alone (an attack's gradient is half bona fide, and all attacks share the
# bona fide speech).


# %%
def pairs_of(cosine):
    """Mean cosine within and between families."""
    kin = np.array(
        [[family[a] == family[b] for b in chosen.attacks] for a in chosen.attacks]
    )
    different = ~np.eye(len(kin), dtype=bool)
    return cosine[kin & different].mean(), cosine[~kin].mean()


def spoof_only(run):
    spoof = chosen.spoof
    return gradients.per_attack(
        run.loss, run.trainable, spoof.batch, spoof.attacks, chunk=1
    )


steps = [x.step for x in saved]
figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained", sharey=True)
for ax, (title, compute) in zip(
    axes,
    {"spoof and bona fide": by_attack, "spoof only": spoof_only}.items(),
    strict=True,
):
    along = np.array([pairs_of(gradients.similarity(compute(x)).cosine) for x in saved])
    for place, label in ((3, "same family"), (5, "different families")):
        colour, marker = plots.style(place)
        values = along[:, 0 if place == 3 else 1]
        ax.plot(steps, values, color=colour, marker=marker, label=label)
    ax.axhline(0, color=plots.CHANCE, lw=1)
    ax.set_title(title, loc="left")
    ax.set_xlabel("training step")
    ax.grid(color=plots.GRID, lw=0.8)
axes[0].set_ylabel("mean cosine of two attacks' gradients")
_ = axes[1].legend(fontsize=8)

# %% [markdown]
# The gradients of spoofed utterances alone point in a similar direction, most so at the
# beginning: "this sounds spoofed" is common to all attacks, and belonging to the same
# family adds little. An MLDG domain also has bona fide utterances. With them the common
# part cancels, and the remaining gradients of two attacks have little in common.
#
# Where in the adapters do gradients agree? The heat maps show the mean cosine between
# the gradients of two attacks by layer, projection and factor, for the finished run.

# %%
by_block = gradients.similarity_by_block(by_attack(run))[1]
drawing.heats_by_factor(
    by_block, drawing.off_diagonal(by_block.values), "mean cosine",
    limits=(-1, 1), colours=drawing.DIVERGING,
)  # fmt: skip

# %% [markdown]
# ## Do the first three terms describe the objective?
#
# In this episode every fourth attack is held out as meta-test and the others are
# meta-train. The three terms and the remainder add up to the objective by definition;
# the question is which of them matters at which α. Where the remainder (red) is well
# below F′·G′ (blue), the inner step rewards agreement; where the two are similar, it
# does something else. The grey lines mark the two values of α used in training.

# %%
held_out = [chosen.attacks.index(attack) for attack in names[::4]]
episode = chosen.episode(held_out)
key = jax.random.key(0)
print("meta-test:", ", ".join(names[::4]))

alphas = RATES[1] * 10.0 ** np.arange(-3.5, 0.6, 0.5)
shown = {f"step {x.step}": x for x in (saved[0], saved[-2])} | {"finished": run}
taken = {
    title: taylor.decompose(
        losses.one_by_one(x.loss), x.trainable, episode, key, inner_lr=alphas
    )
    for title, x in shown.items()
}
figure, axes = plt.subplots(
    1, len(taken), figsize=(11, 3.6), layout="constrained", sharey=True
)
for ax, (title, one) in zip(axes, taken.items(), strict=True):
    for values, label, place in (
        (one.alignment, "β α F′·G′", 3), (one.remainder, "remainder", 5)
    ):  # fmt: skip
        colour, marker = plots.style(place)
        ax.plot(alphas, np.abs(values), color=colour, marker=marker, ms=4, label=label)
    ax.axhline(one.meta_test, color=plots.CHANCE, ls="--", lw=1, label="β G")
    for rate in RATES:
        ax.axvline(rate, color=plots.CHANCE, lw=1)
    ax.set(xscale="log", yscale="log", title=title, xlabel="inner learning rate α")
    ax.grid(color=plots.GRID, lw=0.8)
plots.plain_ticks(*(ax.xaxis for ax in axes), axes[0].yaxis)
axes[0].set_ylabel("size of the part, nats")
_ = axes[0].legend(fontsize=8, loc="lower right")

# %%
rows = []
for title, one in taken.items():
    small = one._replace(inner_lr=alphas[:4], remainder=one.remainder[:4])
    cells = [f"{small.slope:.2f}"]
    for i in (np.flatnonzero(np.isclose(alphas, rate))[0] for rate in RATES):
        cells += [f"{one.alignment[i]:+.3f}", f"{one.remainder[i]:+.3f}"]
    rows.append([title, *(cell.replace("-", "−") for cell in cells)])
header = ["nats", f"slope of the remainder, α ≤ {alphas[3]:.2g}"]
for rate in RATES:
    header += [f"−β α F′·G′ at α = {rate}", f"remainder at α = {rate}"]
Markdown(tables.markdown_table((header, rows)))

# %% [markdown]
# The remainder grows with the square of α, as it must. At 0.03 it is between a quarter
# of the F′·G′ term and all of it; at 0.3 it is the larger of the two, and the expansion
# no longer describes what MLDG does. During training the F′·G′ term is positive: the
# gradients of these two halves disagree, so there is something to reward. The remainder
# is positive everywhere: a step along ∇F into a curved valley overshoots, so the
# objective penalises curvature in the direction of the inner step.
#
# ## Is first order enough?
#
# The first-order meta-gradient omits −α β F″ G′(φ'): second derivatives, for which
# second order needs another backward pass. The figure shows the cosine between the two
# meta-gradients and the size of their difference, over α.

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
for place, (title, point) in zip((0, 3, 5), shown.items(), strict=False):
    loss = losses.one_by_one(point.loss)
    both = [
        taylor.compare_orders(loss, point.trainable, episode, key, inner_lr=float(a))
        for a in alphas
    ]
    colour, marker = plots.style(place)
    style = dict(color=colour, marker=marker, ms=4, label=title)
    axes[0].plot(alphas, [x.cosine for x in both], **style)
    axes[1].plot(alphas, [x.difference for x in both], **style)
for ax, label in zip(axes, ("cosine", "‖second − first‖ / ‖second‖"), strict=True):
    for rate in RATES:
        ax.axvline(rate, color=plots.CHANCE, lw=1)
    ax.set(xscale="log", xlabel="inner learning rate α", ylabel=label)
    plots.plain_ticks(ax.xaxis)
    ax.grid(color=plots.GRID, lw=0.8)
axes[1].set_yscale("log")
plots.plain_ticks(axes[1].yaxis)
_ = axes[0].legend(fontsize=8)

# %% [markdown]
# Below α = 0.003 the two are practically identical. At 0.03 they diverge during
# training and agree at the finished run, which is the EMA of the parameters; at 0.3
# they have little in common. At these rates, then, first order is not a cheap
# approximation of second order but a different algorithm: it asks for a low loss after
# the inner step while ignoring how the step changes with φ. Neither is clearly better:
# see the table in [Comparing methods](../docs/comparing.md), where second order has the
# higher EER at equal cost.
#
# ## Does the reward leave a trace?
#
# For the finished runs, the table shows the mean cosine between the gradients of two
# attacks, the largest eigenvalue of the Hessian of the mean loss (how sharp the minimum
# is), and that loss, as mean ± standard deviation over seeds. MLDG minus ERM is paired
# by seed, with the 95 % interval of Student's t.


# %%
def marks(run):
    """Cosine, sharpness, loss."""
    by = by_attack(run)
    loss = losses.one_by_one(run.loss)
    hessian = curvature.hessian(loss, run.trainable, jax.device_put(chosen.batch))
    (top,) = curvature.eigenvalues(hessian, 1, tolerance=1e-2).values
    cosine = gradients.similarity(by).cosine
    return drawing.off_diagonal(cosine), top, by.loss.mean()


measured = {method: np.array([marks(x) for x in its]) for method, its in found.items()}
header = ["", "cosine", "largest eigenvalue", "loss, nats"]
DIGITS = (3, 1, 3)
rows = []
for method, x in measured.items():
    cells = zip(x.mean(0), x.std(0, ddof=1), DIGITS, strict=True)
    rows.append([method, *(f"{m:.{d}f} ± {s:.{d}f}" for m, s, d in cells)])
for method in list(METHODS)[1:]:
    gap = measured[method] - measured["ERM"]
    ends = stats.ttest_1samp(gap, 0.0).confidence_interval(0.95)
    cells = zip(gap.mean(axis=0), ends.low, ends.high, DIGITS, strict=True)
    text = [f"{m:+.{d}f} [{lo:+.{d}f}, {hi:+.{d}f}]" for m, lo, hi, d in cells]
    rows.append([f"{method} − ERM", *(x.replace("-", "−") for x in text)])
Markdown(tables.markdown_table((header, rows)))

# %% [markdown]
# The effect is not the one that the expansion suggests: gradients of attacks agree no
# more than after ERM. Instead, MLDG leads to a flatter minimum, the flatter the longer
# the inner step, and this is not due to chance. It fits the sign of the remainder:
# asking for a low loss one step away penalises curvature, as sharpness-aware
# minimisation does. (An eigenvalue depends on the scale of the parameters;
# `03_adapter_geometry` reports the length of the updates.) A flatter minimum does not
# imply a lower error: the error rates at the top cannot be told apart.
#
# **With your own runs:** `mldg analyse RUN` computes all of this at every checkpoint
# that the run kept (`--set keep_every=N`), and writes a page, a table and the arrays.
# The functions are in `mldg_jax.analysis`; they are pure and work with any loss of the
# form `loss_fn(trainable, batch, key)`.
