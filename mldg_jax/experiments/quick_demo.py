"""A first look: one detector, trained in a minute, judges three recordings.

The steps are those of the full demo (``demo``) for one method and one seed, without
tuning: a job trains the detector and scores the split eval, dev calibrates the scores.
Of eval, three recordings are shown: one bona fide, one of an attack that was trained
on, and one of an attack that was not.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mldg_jax import metrics
from mldg_jax.common import files
from mldg_jax.common.config import Config
from mldg_jax.common.config_values import with_values
from mldg_jax.common.html import render
from mldg_jax.common.tables import Table
from mldg_jax.data import audio
from mldg_jax.data.corpus import (
    BONAFIDE,
    SPOOF,
    Corpus,
    corpus_sha256,
    load_training,
)
from mldg_jax.experiments import demo_page, jobs
from mldg_jax.experiments.jobs import Job, Test
from mldg_jax.scoring import scorer
from mldg_jax.scoring.calibration import CALIBRATION_FILE
from mldg_jax.scoring.calibration_trials import load_trials, trials_of

REPORT = "report.html"
RECORDINGS = "recordings"
PREFERRED = ("piper_vits", "phase_voc")
"""Attacks to show if there are such: a neural synthesiser, and one never trained on."""


class Verdict(NamedTuple):
    """A recording and what the detector says about it.

    Attributes:
      file: the recording, a WAV file.
      kind: what it is, in words.
      label: 1 for bona fide, 0 for spoof.
      unseen: an attack that was not trained on.
      language: language of the recording.
      score: log-likelihood ratio, above 0 for bona fide.
      audio: data URI of the recording.
    """

    file: Path
    kind: str
    label: int
    unseen: bool
    language: str
    score: float
    audio: str

    @property
    def right(self) -> bool:
        """True if the score is on the side of the label."""
        return (self.score > 0) == (self.label == BONAFIDE)

    @property
    def word(self) -> str:
        """The decision, "bona fide" or "spoof"."""
        return "bona fide" if self.score > 0 else "spoof"

    def text(self) -> str:
        """Returns the decision in words, marked as right or wrong."""
        return f"{'✓' if self.right else '✗'} {self.word}"

    def score_text(self) -> str:
        """Returns the score with its sign and two decimals."""
        return f"{self.score:+.2f}".replace("-", "−")


class QuickResult(NamedTuple):
    """The result of ``run_quick_demo``.

    Attributes:
      run: folder of the trained detector.
      verdicts: of the three recordings.
      eer: equal error rate on the split eval, a fraction.
      trials: number of utterances of eval.
      unseen: attacks of eval that were not trained on.
      seconds: duration of training and scoring; None if the run existed.
    """

    run: Path
    verdicts: tuple[Verdict, ...]
    eer: float
    trials: int
    unseen: tuple[str, ...]
    seconds: float | None

    def table(self) -> Table:
        """Returns the verdicts, a row for each recording."""
        rows = [[str(v.file), v.kind, v.score_text(), v.text()] for v in self.verdicts]
        return ["recording", "what it is", "score", "verdict"], rows

    def summary(self) -> str:
        """Describes the detector's errors in a few sentences."""
        fooled = any(v.unseen and not v.right for v in self.verdicts)
        lesson = (
            "The attack that was never trained on went undetected: this is where "
            "detectors fail first, and what MLDG is meant to improve. "
        )
        return (
            (lesson if fooled else "")
            + f"Over all {self.trials} utterances of the test, {100 * self.eer:.0f} % "
            "are misjudged at the equal error rate. So small a corpus shows how the "
            "programs work, not how good the method is: mldg demo compares methods, "
            "also on harder attacks. The run's model card and an exported page call it "
            "not evaluated: they show only what mldg evaluate --card adds."
        )


def run_quick_demo(config: Config, corpus: Path, workdir: Path) -> QuickResult:
    """Trains a detector, judges three recordings and writes the report.

    Run again, it trains only what is missing.

    Args:
      config: config of the detector.
      corpus: folder of the prepared corpus, with splits train, dev and eval.
      workdir: folder for the run, the recordings and the report.

    Returns:
      The verdicts.

    Raises:
      UserError: the run's folder contains a run with another config, or ``workdir``
        cannot be written to.
    """
    files.check_folder(workdir)
    started = time.monotonic()
    config = with_values(config, {"corpus.sha256": corpus_sha256(corpus)})
    test = Test("eval", corpus, "eval")
    run = workdir / f"{config.method}-{config.seed}"
    job = Job(run, config, corpus, (test,))
    is_new = bool(job.unscored())
    # In this process: a worker would import everything again, and use one core
    jobs.run("training", [job], workers=0)
    if not (run / CALIBRATION_FILE).exists():
        section, split = config.corpus, config.calibration.split
        scorer.calibrate(
            run,
            load_trials(config, corpus, split),
            utterances=config.calibration.utterances,
            trials=trials_of(
                section, section.name, section.config, section.sha256, split
            ),
        )
    rows = test.rows()
    trained = set(load_training(corpus).attack.tolist())
    unseen = sorted({*rows.attack[rows.label == SPOOF].tolist()} - trained)
    scores, real = jobs.read_scores(job.scores(test), rows), rows.label == BONAFIDE
    result = QuickResult(
        run,
        tuple(_verdicts(run, workdir / RECORDINGS, rows, unseen)),
        metrics.eer(scores[real], scores[~real])[0],
        len(rows.label),
        tuple(unseen),
        time.monotonic() - started if is_new else None,
    )
    page = render("quick_demo.html", result=result)
    files.write_text(workdir / REPORT, page)
    return result


def _verdicts(
    run: Path, folder: Path, rows: Corpus, unseen: Sequence[str]
) -> list[Verdict]:
    """Scores the chosen recordings, which it writes as WAV files to a folder."""
    detector = scorer.load(run)
    verdicts = []
    for row in chosen_rows(rows, unseen):
        name, attack = str(rows.utterance[row]), str(rows.attack[row])
        kind = f"spoof: {attack}, an attack of the training"
        if attack in unseen:
            kind = f"spoof: {attack}, never trained on"
        if rows.label[row] == BONAFIDE:
            kind = "bona fide, a speaker never trained on"
        samples = rows.audio[row]
        file = folder / f"{name}.wav"
        with files.replacing(file) as part:
            part.write_bytes(demo_page.wav(samples))
        verdicts.append(
            Verdict(
                file,
                kind,
                int(rows.label[row]),
                attack in unseen,
                str(rows.language[row]),
                detector.score(rows.waveform(row), audio.SAMPLE_RATE),
                demo_page.audio_uri(samples),
            )
        )
    return verdicts


def chosen_rows(rows: Corpus, unseen: Sequence[str]) -> list[int]:
    """Chooses the recordings to judge, without looking at scores.

    Args:
      rows: the test utterances.
      unseen: attacks of the test that were not trained on.

    Returns:
      Indices of the longest bona fide utterance and of the longest utterances of a
      trained and of an unseen attack, as far as there are such.
    """
    spoof = rows.label == SPOOF
    attacks = sorted({*rows.attack[spoof].tolist()})
    lengths = np.array([len(clip) for clip in rows.audio])
    groups = [~spoof]
    for names in ([x for x in attacks if x not in unseen], unseen):
        attack = next((x for x in PREFERRED if x in names), None)
        attack = attack or next(iter(names), None)
        groups.append(spoof & (rows.attack == attack))
    candidates = [np.flatnonzero(group) for group in groups]
    return [int(c[lengths[c].argmax()]) for c in candidates if c.size]
