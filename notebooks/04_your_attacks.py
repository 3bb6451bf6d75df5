# %% [markdown]
# # Your attacks
#
# You have recordings and a question: would a detector trained on the attacks that I
# know detect one that I do not? To find out, hold one of them out of training and
# measure. This notebook does so, from a folder of WAV files and a table to the numbers
# for a paper. It takes about eight minutes on two cores; finished runs are not
# repeated.
#
# Choose the attack to hold out:

# %%
LEFT_OUT = "gl_mel"
SEEDS = 3

# %%
import csv
import os
from pathlib import Path

import numpy as np
import soundfile
from IPython.display import HTML, SVG, display

import mldg_jax
from mldg_jax.common.config_values import with_values
from mldg_jax.common.html import html_table
from mldg_jax.data.corpora import prepare
from mldg_jax.data.corpus import (
    BONAFIDE,
    NO_ATTACK,
    corpus_sha256,
    find_corpus,
    load_split,
    read_columns,
)
from mldg_jax.experiments import jobs, scored_tests, statistics
from mldg_jax.scoring import evaluate, figures, report
from mldg_jax.training.config_files import read_config_file

CONFIGS = Path(mldg_jax.__file__).parents[1] / "configs"
if not Path("data").exists():  # opened from notebooks/: data/ and runs/ are beside it
    os.chdir(CONFIGS.parent)
SMOKE = os.environ.get("MLDG_SMOKE") == "1"  # seconds instead of minutes, for tests
SEEDS = 1 if SMOKE else SEEDS
WORK = Path("runs/notebooks") / ("your_attacks-smoke" if SMOKE else "your_attacks")

# %% [markdown]
# ## A folder and a table
#
# The next cell is a stand-in for your recordings: it writes utterances of DebSpoof as
# WAV files and a table that describes them. **With your own recordings, skip it** and
# write the table:
#
# | column | content | |
# | --- | --- | --- |
# | `path` | relative to the table's folder; any format, rate, channels | required |
# | `label` | `bonafide` or `spoof`, in words | required |
# | `attack` | name of the synthesiser or vocoder; `-` for bona fide | required |
# | `speaker` | who is heard; used for the intervals | optional |
# | `split` | `train`, `dev`, `eval`, …; without it everything is `eval` | optional |
# | `utterance` | a unique name; defaults to the path | optional |
#
# Two rules decide whether the result means anything. First, no human speaker may be in
# two splits; otherwise the test measures memorisation. Second, bona fide speech must be
# recorded, cut and coded in the same way as the spoof; otherwise the test measures
# those differences.

# %%
source = find_corpus("debspoof", "small", "data")
known = sorted(set(read_columns(source, "train")["attack"]) - {NO_ATTACK})
lines = [["utterance", "path", "label", "attack", "speaker", "split"]]
(WORK / "wav").mkdir(parents=True, exist_ok=True)
for split, parts in {"train": ["train"], "eval": ["dev", "eval"]}.items():
    for clips in (load_split(source, part) for part in parts):
        for row in np.flatnonzero(np.isin(clips.attack, [*known, NO_ATTACK])):
            name, label = clips.utterance[row], ("spoof", "bonafide")[clips.label[row]]
            soundfile.write(WORK / f"wav/{name}.wav", clips.audio[row], 16_000)
            speaker = clips.speaker[row]
            lines.append(
                [name, f"wav/{name}.wav", label, clips.attack[row], speaker, split]
            )

TABLE = WORK / "table.csv"
with open(TABLE, "w", newline="") as file:
    csv.writer(file).writerows(lines)
print(*TABLE.read_text().splitlines()[:3], "…", sep="\n")

# %% [markdown]
# On the command line, `mldg corpus build manifest --source table.csv` turns the table
# into a corpus; this is the function behind it:

# %%
folder, _ = prepare.from_manifest(TABLE, WORK / "data", workers=1, progress=False)
print((folder.parent / "report.txt").read_text())

# %% [markdown]
# Invalid tables are refused with a reason, and no corpus is built: numeric labels (half
# of the field uses 1 for spoof), missing columns or missing files. Unusable recordings
# (silent, clipped, not finite, shorter than 0.2 s) are excluded and listed in
# `skipped.tsv`; more than 1 % of a split stops the build.

# %%
for title, text in {
    "a number for a label": "path,label,attack\nwav/a.wav,1,-",
    "no column attack": "path,label\nwav/a.wav,spoof",
    "no such recording": "path,label,attack\nwav/a.wav,spoof,my_tts",
}.items():
    (WORK / "wrong.csv").write_text(text)
    try:
        prepare.from_manifest(WORK / "wrong.csv", WORK / "data", progress=False)
    except mldg_jax.UserError as error:
        print(f"{title}:\n{error}\n")

# %% [markdown]
# ## Train with and without the attack
#
# For each seed we train two detectors that differ only in `episode.exclude`: *with* is
# trained on the attack, *without* is not. The increase of the error from the first to
# the second is the cost of not knowing the attack. Every step takes as many attacks as
# *without* has, so that both are trained on the same number of utterances. Seeds differ
# in initialisation and sampling; a single seed is a single random draw. `jobs.run`
# trains in parallel, one run per core, and scores the split `eval`.

# %%
METHODS = {"with": (), "without": (LEFT_OUT,)}
TEST = jobs.Test("eval", folder, "eval")
todo = {method: [] for method in METHODS}
for method, without in METHODS.items():
    for seed in range(SEEDS):
        config = with_values(
            read_config_file(f"{CONFIGS}/debspoof.py:mldg" + (",smoke" * SMOKE)),
            {
                "seed": seed,
                "episode.exclude": without,
                "episode.attacks_per_episode": len(known) - 1,  # a step
                "corpus.name": "manifest",
                "corpus.config": folder.parent.name,
                "corpus.sha256": corpus_sha256(folder),
            },
        )
        todo[method].append(
            jobs.Job(WORK / f"{method}-{seed}", config, folder, (TEST,))
        )

cores = 0 if SMOKE else len(os.sched_getaffinity(0))
jobs.run("training", [job for method in METHODS for job in todo[method]], workers=cores)
print(*sorted(path.parent.name for path in WORK.glob("with*/scores_eval.txt")))

# %% [markdown]
# ## The numbers
#
# The table has the EER on the held-out attack, on the other attacks and on all: the
# mean over seeds, with a 95 % interval from resampling seeds and speakers. The
# difference is *paired*: both detectors are evaluated on the same seeds and speakers,
# so what makes a speaker hard for both cancels. Read the difference, not the overlap of
# the two intervals.

# %%
rows = TEST.rows()
(scored,) = scored_tests.scored(todo, SEEDS)[TEST.name]
others = tuple(name for name in known if name != LEFT_OUT)
sets = {f"{LEFT_OUT} (left out)": (LEFT_OUT,), "other attacks": others, "all": None}
table = []
for title, attacks in sets.items():
    rates = statistics.rates([statistics.Condition(scored, attacks)])
    eers = [statistics.rate(rates, method).text() for method in METHODS]
    rise = statistics.difference(rates, "without", "with")
    table.append([title, *eers, rise.text(), f"{rise.p:.3f}"])
head = ["EER, %", "with", "without", "without − with, points", "p"]
HTML(html_table((head, table)))

# %% [markdown]
# How to read a row: the interval says where the EER may lie for *other speakers* of the
# same kind and other seeds, not for other attacks, languages or channels. If the
# interval of the difference includes zero (p above 0.05), this experiment cannot tell
# whether holding out the attack costs anything; that is not the same as "no
# difference".
#
# Do not trust the result if
#
# - there are fewer than about ten speakers of a class, or fewer than about fifty
#   utterances: the interval itself is then unreliable (and where an attack has a single
#   speaker, its utterances are resampled instead, which makes the interval too narrow);
# - you looked at the result, changed something and looked again: the test has become
#   training;
# - you tried every attack as `LEFT_OUT` and report the most striking one: the p-value
#   is valid for a single question.

# %%
real = rows.label == BONAFIDE
own = rows.attack == LEFT_OUT
for title, its in (("bona fide", real), (LEFT_OUT, own)):
    print(f"{title}: {its.sum()} clips, {len(set(rows.speaker[its]))} speakers")

# %% [markdown]
# ## The report
#
# `mldg evaluate` compares score files against keys; the table above also serves as
# keys. Here are the first seeds of both methods, as a self-contained page and as
# figures for a paper (SVG and PDF).

# %%
found = evaluate.evaluate(
    {method: todo[method][0].scores(TEST) for method in METHODS}, TABLE
)
report.write(found, WORK / "report.html", WORK / "figures")
print(WORK / "report.html")
display(HTML(html_table(report.systems_table(found))))

# %% [markdown]
# These runs are not calibrated (`mldg calibrate`, on a split that is used for neither
# training nor test), so act DCF and Cllr mean nothing here; EER and min DCF do not
# depend on calibration.
#
# The figure shows the EER by attack, hardest first; look for the held-out one. A point
# without a line has fewer than five speakers. The two lines of an attack may overlap
# although the paired difference above is clear: they share the speakers that are hard
# for both.

# %%
drawn = figures.draw(found)
SVG(drawn["by_attack"][0])

# %% [markdown]
# Your application may not want equal error rates, so here are all thresholds. If
# accepting a fake is expensive, read the left end of the curves.

# %%
SVG(drawn["det"][0])

# %% [markdown]
# ## What to report
#
# Report the EER on the held-out attack and the paired difference, each with its
# interval; the number of seeds, speakers and utterances; and what the detector was
# trained on. Ideally, hold out every attack in turn and report all of them:

# %%
first = statistics.rates([statistics.Condition(scored, (LEFT_OUT,))])
rise = statistics.difference(first, "without", "with")
print(
    f"EER on {LEFT_OUT} {statistics.rate(first, 'without').text()} % when it is "
    f"unknown, {statistics.rate(first, 'with').text()} % when it is trained on; "
    f"difference {rise.text()} points; {SEEDS} seed(s), "
    f"{len(set(rows.speaker[real]))} human speakers."
)

# %% [markdown]
# ## Model selection with held-out attacks
#
# Do not use the test to choose the learning rate, the step to stop at, or the method.
# Hold out *another* training attack for that, and let it select the checkpoint. Your
# table then needs a split `dev` with other speakers, with bona fide speech and that
# attack:
#
#     mldg train --config configs/debspoof.py:mldg --workdir runs/mine \
#         --set corpus.name=manifest --set corpus.config=table \
#         --set 'validation.attacks=[lpc_voc]' --set validation.every=50
#
# The run keeps the checkpoint with the lowest EER on `lpc_voc`, and `MODEL_CARD.md`
# records it. The attacks of `eval` stay unseen until the end.
#
# To see how the held-out attack changed the adapters (how far apart the two updates
# are, projection by projection):
#
#     mldg analyse runs/notebooks/your_attacks/with-0 \
#         runs/notebooks/your_attacks/without-0 \
#         --data-dir runs/notebooks/your_attacks/data --split eval
#
# Next: [Your data](../docs/your-data.md) and
# [Training and resuming](../docs/training.md).
