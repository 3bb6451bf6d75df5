# %% [markdown]
# # Your attacks
#
# You have recordings and want to know: would a detector trained on the attacks that I
# know catch one that I do not? Leave one of them out of training and measure. This
# notebook does it, from a folder of WAV files and a table to the numbers that go into a
# paper; about eight minutes on two cores, and what is finished is not done again.
#
# Which attack is left out is yours to choose:

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
from mldg_jax.experiments import jobs, statistics
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
# The next cell stands for your recordings: it writes clips of DebSpoof as WAV files and
# a table that says what they are. **With your own, skip it** and write the table:
#
# | column | what | |
# | --- | --- | --- |
# | `path` | from the table's folder; any format, rate, channels | required |
# | `label` | `bonafide` or `spoof`, in words | required |
# | `attack` | name of the synthesiser or vocoder; `-` for bona fide | required |
# | `speaker` | who is heard; what intervals are made of | optional |
# | `split` | `train`, `dev`, `eval`, …; without it all is `eval` | optional |
# | `utterance` | a unique name; without it the path | optional |
#
# Two rules decide whether the result means anything. No human voice may be in two
# splits: else the test measures memory. And bona fide must be recorded, cut and coded
# as the spoof is: else the test measures that.

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
# On the command line the table becomes a corpus with
# `mldg corpus build manifest --source table.csv`; this is the function behind it:

# %%
folder, _ = prepare.from_manifest(TABLE, WORK / "data", workers=1, progress=False)
print((folder.parent / "report.txt").read_text())

# %% [markdown]
# What cannot be right is refused with a reason, and no corpus is made: numbers for
# labels (half of the field has 1 for spoof), columns or files that are missing.
# Recordings that cannot be used (silent, clipped, not finite, shorter than 0.2 s) are
# left out and listed in `skipped.tsv`; more than 1 % of a split stops the build.

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
# ## Train with it and without it
#
# Two detectors for each seed, equal but for `episode.exclude`: *with* has met the
# attack, *without* has not. How much the error rises from the one to the other is what
# not knowing the attack costs. Every step takes as many attacks as *without* has, so
# that both are trained on as many clips. Seeds differ in initialisation and in what is
# drawn; one seed is one throw of a die. `jobs.run` trains side by side, a core each,
# and scores the split `eval`.

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
# The EER on the left-out attack, on the others and on all: the mean over seeds, with a
# 95 % interval from resampling seeds and speakers. The difference is *paired*: both
# detectors are judged on the same seeds and speakers, so what makes a voice hard for
# both cancels. Read the difference, not the overlap of two intervals.

# %%
rows = TEST.rows()
(scored,) = statistics.scored(todo, SEEDS)[TEST.name]
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
# How to read a row. The interval says where the EER may lie for *other speakers* of
# the same kind and other seeds, not for other attacks, languages or channels. If the
# interval of the difference holds zero (p above 0.05), this experiment cannot tell
# whether leaving the attack out costs anything; that is not "no difference".
#
# When not to trust it:
#
# - fewer than about ten speakers of a class, or fewer than about fifty clips: the
#   interval itself is then unsure (and where an attack has one voice only, its clips
#   stand in for speakers, which is too narrow);
# - you looked at the result, changed something and looked again: the test has become
#   training;
# - you tried every attack as `LEFT_OUT` and report the most striking: the p is of one
#   question.

# %%
real = rows.label == BONAFIDE
own = rows.attack == LEFT_OUT
for title, its in (("bona fide", real), (LEFT_OUT, own)):
    print(f"{title}: {its.sum()} clips, {len(set(rows.speaker[its]))} speakers")

# %% [markdown]
# ## The report
#
# `mldg evaluate` compares score files on keys; the table of above is a key file as
# well. Here of the first seed of both, as a page that needs no network and as pictures
# for a paper (SVG and PDF).

# %%
found = evaluate.evaluate(
    {method: todo[method][0].scores(TEST) for method in METHODS}, TABLE
)
report.write(found, WORK / "report.html", WORK / "figures")
print(WORK / "report.html")
display(HTML(html_table(report.systems_table(found))))

# %% [markdown]
# These runs are not calibrated (`mldg calibrate`, on a split that neither training nor
# test has), so act DCF and Cllr say nothing here; EER and min DCF do not depend on it.
#
# By attack, hardest first; look for the left-out one. A point without a line has fewer
# than five voices. Two lines of an attack may overlap although the paired difference
# above is clear: they share the voices that are hard for both.

# %%
drawn = figures.draw(found)
SVG(drawn["by_attack"][0])

# %% [markdown]
# And at every threshold, because your application may not want equal errors: where
# accepting a fake is dear, read the curves at the left.

# %%
SVG(drawn["det"][0])

# %% [markdown]
# ## What to report
#
# The EER on the left-out attack with its interval, the paired difference with its
# interval, the number of seeds, speakers and clips, and what the detector was trained
# on. Best for every attack in turn, all of them:

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
# ## Choosing with left-out attacks
#
# A test must not choose the learning rate, the step to stop at, or the method. Leave
# *another* training attack out for that, and let it choose the checkpoint; your table
# then needs a split `dev`, of other speakers, with bona fide and that attack:
#
#     mldg train --config configs/debspoof.py:mldg --workdir runs/mine \
#         --set corpus.name=manifest --set corpus.config=table \
#         --set 'validation.attacks=[lpc_voc]' --set validation.every=50
#
# The detector of the lowest EER on `lpc_voc` is kept, and `MODEL_CARD.md` says so. The
# attacks of `eval` stay unseen until the end.
#
# What the left-out attack changed in the adapters (how far apart the two updates are,
# projection by projection) is a command as well:
#
#     mldg analyse runs/notebooks/your_attacks/with-0 \
#         runs/notebooks/your_attacks/without-0 \
#         --data-dir runs/notebooks/your_attacks/data --split eval
#
# Next: [README](../README.md#train).
