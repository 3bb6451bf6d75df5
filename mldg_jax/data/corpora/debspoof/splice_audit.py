"""The splice audit: do the joins give partial spoofs away?

A classifier sees nothing of an utterance but how the signal changes at its joins, and
has to tell partial spoofs from bona fide utterances with bona fide parts. It is trained
on split train and tested on split eval. If its EER is below 35 %, the joins are a
shortcut.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mldg_jax import metrics
from mldg_jax.data.corpora.debspoof.neutralise import RATE

REQUIRED_EER = 0.35
CUES = (
    "level step",
    "low band step",
    "high band step",
    "spectral flux",
    "flux relative to the utterance",
    "zero crossing step",
    "click",
)
_WIDTH, _AWAY = 400, 64  # 25 ms on each side, from the end of the cross-fade
_EDGES = np.geomspace(80, 7_000, 17)  # Hz
_TINY = 1e-10


@dataclass(frozen=True)
class SplicedSample:
    """One spliced utterance as the audit sees it.

    Attributes:
      split: "train", "dev" or "eval".
      bonafide: whether the inserted parts are bona fide.
      attack: of the inserted parts, "-" for bona fide.
      cues: (2 · ``CUES``,) mean and maximum over its joins.
    """

    split: str
    bonafide: bool
    attack: str
    cues: np.ndarray


@dataclass(frozen=True)
class SpliceAudit:
    """The result on split eval.

    Attributes:
      eers: EER by classifier, fractions.
      by_attack: EER of the best one on each attack against all bona fide splices.
      n_bonafide, n_spoof: spliced utterances that it was tested on.
    """

    eers: dict[str, float]
    by_attack: dict[str, float]
    n_bonafide: int
    n_spoof: int

    @property
    def passed(self) -> bool:
        """True if no classifier is below the required EER."""
        return min(self.eers.values()) >= REQUIRED_EER


def join_cues(samples: np.ndarray, joins: Sequence[int]) -> np.ndarray:
    """Measures how a signal changes at its joins.

    Args:
      samples: (samples,) int16 at 16 kHz.
      joins: positions of the joins, at least 30 ms from both ends.

    Returns:
      (2 · ``CUES``,) the mean over the joins, then the maximum.
    """
    waveform = samples / 32768.0
    usual = np.median([_flux(waveform, x) for x in range(
        _WIDTH + _AWAY, len(waveform) - _WIDTH - _AWAY, _WIDTH)])  # fmt: skip
    values = np.array([_cues(waveform, join, float(usual)) for join in joins])
    return np.concatenate([values.mean(0), values.max(0)])


def _sides(waveform: np.ndarray, join: int) -> tuple[np.ndarray, np.ndarray]:
    before = waveform[join - _AWAY - _WIDTH : join - _AWAY]
    return before, waveform[join + _AWAY : join + _AWAY + _WIDTH]


def _bands(piece: np.ndarray) -> np.ndarray:
    """Returns the level of 16 bands in dB."""
    power = np.abs(np.fft.rfft(piece * np.hanning(len(piece)))) ** 2
    frequency = np.fft.rfftfreq(len(piece), 1 / RATE)
    index = np.digitize(frequency, _EDGES)
    total = np.bincount(index, power, len(_EDGES) + 1)[1:-1]
    return 10 * np.log10(total + _TINY)


def _flux(waveform: np.ndarray, join: int) -> float:
    before, after = (_bands(x) for x in _sides(waveform, join))
    return float(np.sqrt(np.mean((after - before) ** 2)))


def _cues(waveform: np.ndarray, join: int, usual: float) -> tuple[float, ...]:
    before, after = _sides(waveform, join)
    steps = _bands(after) - _bands(before)
    level = 10 * np.log10((np.mean(after**2) + _TINY) / (np.mean(before**2) + _TINY))
    crossings = [np.mean(np.diff(np.signbit(x))) for x in (before, after)]
    bend = np.abs(np.diff(waveform[join - 64 : join + 64], 2)).max()
    around = np.abs(np.diff(np.concatenate([before, after]), 2)).max()
    flux = _flux(waveform, join)
    return (
        abs(level),
        abs(float(steps[:6].mean())),
        abs(float(steps[-5:].mean())),
        flux,
        flux / (usual + 1.0),
        abs(float(crossings[1] - crossings[0])),
        float(np.log((bend + _TINY) / (around + _TINY))),
    )


def audit(samples: Sequence[SplicedSample]) -> SpliceAudit:
    """Trains the classifiers on split train and tests them on split eval.

    Args:
      samples: spliced utterances of both classes in splits train and eval; others are
        ignored.

    Returns:
      The EERs.
    """
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    train = [x for x in samples if x.split == "train"]
    test = [x for x in samples if x.split == "eval"]
    truth = np.array([x.bonafide for x in test])
    attacks = np.array([x.attack for x in test])
    models = {
        "logistic regression": make_pipeline(
            StandardScaler(), LogisticRegression(class_weight="balanced")
        ),
        "random forest": RandomForestClassifier(
            300, min_samples_leaf=5, class_weight="balanced", random_state=0
        ),
    }
    eers, scores = {}, {}
    for name, model in models.items():
        model.fit(np.stack([x.cues for x in train]), [x.bonafide for x in train])
        score = model.predict_proba(np.stack([x.cues for x in test]))[:, 1]
        scores[name], eers[name] = score, _eer(score, truth)
    best = scores[min(eers, key=lambda name: eers[name])]
    by_attack = {}
    for attack in sorted(set(attacks[~truth].tolist())):
        mask = truth | (attacks == attack)
        by_attack[attack] = _eer(best[mask], truth[mask])
    return SpliceAudit(eers, by_attack, int(truth.sum()), int((~truth).sum()))


def _eer(score: np.ndarray, bonafide: np.ndarray) -> float:
    return metrics.eer(score[bonafide], score[~bonafide], attainable=True)[0]


def table(result: SpliceAudit) -> str:
    """Formats the audit as text for people.

    Args:
      result: the audit.

    Returns:
      Several lines: EERs in per cent and the verdict.
    """
    lines = [
        "Splice audit: EER of telling partial spoofs from bona fide splices by their "
        f"joins alone, on split eval ({result.n_spoof} and {result.n_bonafide}; 50 % = "
        "chance)"
    ]
    lines += [f"  {name:<22}{100 * eer:5.1f} %" for name, eer in result.eers.items()]
    lines.append("  by attack:")
    for attack, eer in sorted(result.by_attack.items(), key=lambda item: item[1]):
        lines.append(f"    {attack:<20}{100 * eer:5.1f} %")
    verdict = "passed" if result.passed else "NOT PASSED: the joins are a shortcut"
    lines.append(f"  required: at least {100 * REQUIRED_EER:.0f} %; {verdict}")
    return "\n".join(lines)
