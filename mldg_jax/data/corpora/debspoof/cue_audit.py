"""The cue audit: can the class be predicted without listening to the speech?

Simple classifiers are given trivial cues (length, level, silence, bandwidth, noise
floor, ...) and the language, trained on split train and tested on split eval. If the
best of them reaches a pooled EER below 30 %, the corpus has a shortcut.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mldg_jax import metrics
from mldg_jax.data.corpora.debspoof.neutralise import RATE, frame_energy

REQUIRED_EER = 0.30
CUES = (
    "duration",
    "level",
    "leading silence",
    "trailing silence",
    "offset",
    "bandwidth",
    "noise floor",
    "zeros",
    "crest",
)


@dataclass(frozen=True)
class Sample:
    """One utterance as the audit sees it.

    Attributes:
      split: "train", "dev" or "eval".
      bonafide: the class.
      attack: name of the attack, "-" for bona fide.
      language: ISO 639-1 code.
      cues: the values of ``CUES``.
    """

    split: str
    bonafide: bool
    attack: str
    language: str
    cues: tuple[float, ...]


@dataclass(frozen=True)
class Audit:
    """The result: EERs on split eval, as fractions.

    Attributes:
      eers: pooled EER by classifier.
      best: the classifier with the lowest pooled EER.
      by_attack: EER of the best classifier on each attack against all bona fide.
    """

    eers: dict[str, float]
    best: str
    by_attack: dict[str, float]

    @property
    def passed(self) -> bool:
        """True if no classifier is below the required EER."""
        return self.eers[self.best] >= REQUIRED_EER


def cues(samples: np.ndarray) -> tuple[float, ...]:
    """Computes the nine trivial cues of one utterance.

    Args:
      samples: (samples,) int16 at 16 kHz.

    Returns:
      Values in the order of ``CUES``: times in s, level, noise floor and crest factor
      in dB, bandwidth in Hz (99.95 % of the power), offset as a fraction of full scale
      and zeros as a fraction of the samples.
    """
    waveform = samples / 32768.0
    loud = np.abs(waveform) > 0.02 * np.abs(waveform).max()
    level = np.sqrt(np.mean(waveform**2)) + 1e-12
    power = np.abs(np.fft.rfft(waveform)) ** 2
    share = np.cumsum(power) / (power.sum() + 1e-20)
    bandwidth = np.searchsorted(share, 0.9995) * RATE / len(waveform)
    floor = np.percentile(10 * np.log10(frame_energy(waveform) + 1e-12), 5)
    return (
        len(waveform) / RATE,
        20 * np.log10(level),
        float(np.argmax(loud)) / RATE,
        float(np.argmax(loud[::-1])) / RATE,
        abs(float(waveform.mean())),
        float(bandwidth),
        float(floor),
        float(np.mean(samples == 0)),
        20 * np.log10(np.abs(waveform).max() / level + 1e-12),
    )


def audit(samples: Sequence[Sample]) -> Audit:
    """Trains every classifier on split train and measures it on split eval.

    Args:
      samples: utterances of both classes in splits train and eval; others are ignored.

    Returns:
      The EERs of all classifiers.
    """
    train = [s for s in samples if s.split == "train"]
    test = [s for s in samples if s.split == "eval"]
    truth = np.array([s.bonafide for s in test])
    scores = _scores(train, test)
    eers = {name: _eer(value, truth) for name, value in scores.items()}
    best = min(eers, key=lambda name: eers[name])
    attacks = np.array([s.attack for s in test])
    by_attack = {}
    for attack in sorted({s.attack for s in test if not s.bonafide}):
        mask = truth | (attacks == attack)
        by_attack[attack] = _eer(scores[best][mask], truth[mask])
    return Audit(eers, best, by_attack)


def _eer(scores: np.ndarray, bonafide: np.ndarray) -> float:
    # Attainable: "language alone" gives all utterances of a language the same score
    return metrics.eer(scores[bonafide], scores[~bonafide], attainable=True)[0]


def _scores(train, test) -> dict[str, np.ndarray]:
    from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    truth = np.array([s.bonafide for s in train])
    languages = _language_scores(train)
    chance = float(truth.mean())

    def table(rows):
        coded = [languages.get(s.language, chance) for s in rows]
        return np.column_stack([np.array([s.cues for s in rows]), coded])

    inputs, test_inputs = table(train), table(test)
    models = {
        "random forest": RandomForestClassifier(
            400, min_samples_leaf=3, class_weight="balanced", random_state=0
        ),
        "gradient boosting": GradientBoostingClassifier(
            max_depth=3, subsample=0.8, random_state=0
        ),
        "logistic regression": make_pipeline(
            StandardScaler(), LogisticRegression(class_weight="balanced")
        ),
    }
    scores = {}
    with warnings.catch_warnings():
        # Constant cues make scikit-learn warn, which is harmless here
        warnings.simplefilter("ignore", category=RuntimeWarning)
        for name, model in models.items():
            model.fit(inputs, truth)
            scores[name] = model.predict_proba(test_inputs)[:, 1]
    scores["language alone"] = test_inputs[:, -1]
    return scores


def _language_scores(train) -> dict[str, float]:
    """Returns P(bona fide) by language, shrunk towards the mean of the split."""
    chance = np.mean([s.bonafide for s in train])
    result = {}
    for language in {s.language for s in train}:
        hits = [s.bonafide for s in train if s.language == language]
        result[language] = (sum(hits) + 5 * chance) / (len(hits) + 5)
    return result


def table(result: Audit) -> str:
    """Formats the audit as text for people.

    Args:
      result: the audit.

    Returns:
      Several lines: EERs in per cent, lowest first, and the verdict.
    """
    lines = [
        "Cue audit: EER on split eval without listening to the speech (50 % = chance)"
    ]
    for name, eer in sorted(result.eers.items(), key=lambda item: item[1]):
        lines.append(f"  {name:<22}{100 * eer:5.1f} %")
    lines.append(f"  by attack, {result.best}:")
    for attack, eer in sorted(result.by_attack.items(), key=lambda item: item[1]):
        lines.append(f"    {attack:<20}{100 * eer:5.1f} %")
    verdict = "passed" if result.passed else "NOT PASSED: the corpus has a shortcut"
    lines.append(f"  required: at least {100 * REQUIRED_EER:.0f} %; {verdict}")
    return "\n".join(lines)
