"""Error rates at a threshold that was fixed on other data, usually a dev set.

An EER is measured at the threshold that suits the evaluated trials best, which a
deployed detector cannot know: if all scores move, the EER stays and the decisions fail.
Here the threshold comes from dev trials, and the errors are counted on the evaluated
ones. A trial is accepted as bona fide if its score is at or above the threshold, as in
``metrics.act_dcf`` and ``asv.asv_rates``.

The half total error rate (HTER) is the mean of both error rates (Bengio and Mariéthoz
2004, A statistical significance test for person authentication).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy import ndarray as Array

from mldg_jax import metrics
from mldg_jax.common.errors import UserError
from mldg_jax.scoring.calibration import fit_calibration

POSITIVE = "spoof"  # the class that F1 counts as detected


@dataclass(frozen=True)
class ThresholdErrors:
    """The errors of one threshold on a set of trials.

    Attributes:
      threshold: a score; at or above it, a trial is accepted as bona fide.
      n_bonafide, n_spoof: numbers of trials, > 0.
      bonafide_rejected, spoof_accepted: numbers of errors.
    """

    threshold: float
    n_bonafide: int
    n_spoof: int
    bonafide_rejected: int
    spoof_accepted: int

    @property
    def frr(self) -> float:
        """The false rejection (miss) rate: rejected bona fide, a fraction."""
        return self.bonafide_rejected / self.n_bonafide

    @property
    def far(self) -> float:
        """The false acceptance (false alarm) rate: accepted spoofs, a fraction."""
        return self.spoof_accepted / self.n_spoof

    @property
    def hter(self) -> float:
        """The half total error rate (FRR + FAR) / 2, a fraction."""
        return (self.frr + self.far) / 2

    @property
    def f1(self) -> float:
        """The F1 score of detecting spoofs: spoof is the positive class.

        Rejected spoofs are true positives, rejected bona fide false positives. Unlike
        the error rates it depends on the proportion of spoof trials.
        """
        detected = self.n_spoof - self.spoof_accepted
        errors = self.bonafide_rejected + self.spoof_accepted
        return 2 * detected / (2 * detected + errors)

    def to_json(self) -> dict[str, float]:
        """Returns the threshold, the rates and the counts by name."""
        rates = {name: getattr(self, name) for name in ("frr", "far", "hter", "f1")}
        return {"threshold": self.threshold, **rates} | {
            name: getattr(self, name)
            for name in ("bonafide_rejected", "spoof_accepted", "n_bonafide", "n_spoof")
        }


@dataclass(frozen=True)
class DevThresholds:
    """The thresholds of one system, from its dev scores.

    Attributes:
      file: the dev scores.
      errors: on the dev trials, by the threshold's name: "eer", and "bayes" unless
        ``warnings`` says why there is none. The HTER of "eer" is the dev EER.
      warnings: reasons to distrust the thresholds.
    """

    file: str
    errors: dict[str, ThresholdErrors]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class FixedThresholds:
    """The errors of one system on the evaluated trials, at its dev thresholds.

    Attributes:
      dev: the thresholds.
      errors: on all trials, by the threshold's name as in ``dev.errors``.
      parts: the same by condition and value, {"attack": {"A07": {"eer": …}}}.
    """

    dev: DevThresholds
    errors: dict[str, ThresholdErrors]
    parts: dict[str, dict[str, dict[str, ThresholdErrors]]] = field(
        default_factory=dict
    )

    def to_json(self) -> dict[str, Any]:
        """Returns ``errors``, ``dev``, ``by_attack``, … and the model of costs."""
        result: dict[str, Any] = {
            "positive_class": POSITIVE,
            "cost_model": {
                "p_spoof": metrics.P_SPOOF,
                "c_miss": metrics.C_MISS,
                "c_false_alarm": metrics.C_FALSE_ALARM,
                "llr_threshold": float(metrics.BAYES_THRESHOLD),
            },
            "dev": {"scores": self.dev.file, **_json(self.dev.errors)},
            **_json(self.errors),
        }
        for condition, values in self.parts.items():
            result[f"by_{condition}"] = {k: _json(v) for k, v in values.items()}
        return result


def count_errors(
    bonafide_scores: Array, spoof_scores: Array, threshold: float
) -> ThresholdErrors:
    """Counts the errors of a threshold.

    Args:
      bonafide_scores, spoof_scores: (n,) and (m,) finite.
      threshold: a score at or above it is accepted as bona fide.

    Returns:
      The errors.

    Raises:
      ValueError: an empty class, or a score or threshold that is not finite.
    """
    bonafide = metrics.class_scores(bonafide_scores)
    spoof = metrics.class_scores(spoof_scores)
    metrics.require(
        bool(np.isfinite(threshold)), f"threshold is {threshold}, must be finite"
    )
    return ThresholdErrors(
        threshold=float(threshold),
        n_bonafide=bonafide.size,
        n_spoof=spoof.size,
        bonafide_rejected=int(np.sum(bonafide < threshold)),
        spoof_accepted=int(np.sum(spoof >= threshold)),
    )


def eer_threshold(bonafide_scores: Array, spoof_scores: Array) -> float:
    """Finds the threshold at which the given trials have their EER.

    It is the lowest score that is accepted at the point of ``metrics.eer(…,
    attainable=True)``, so that the HTER at this threshold is exactly that EER. The
    threshold that ``metrics.eer`` returns is the highest *rejected* score: accepting at
    or above it would accept its whole run of equal scores, with hard decisions (0 and
    1) every trial.

    Args:
      bonafide_scores, spoof_scores: (n,) and (m,) finite.

    Returns:
      One of the scores.

    Raises:
      ValueError: an empty class, a score that is not finite, or only one distinct
        score.
    """
    scores = np.r_[
        metrics.class_scores(bonafide_scores), metrics.class_scores(spoof_scores)
    ]
    lowest, highest = scores.min(), scores.max()
    metrics.require(
        bool(lowest < highest),
        f"every score is {lowest:g}, so no threshold separates the classes; check the "
        "detector's output",
    )
    rejected = metrics.eer(bonafide_scores, spoof_scores, attainable=True)[1]
    return float(scores[scores > rejected].min())


def bayes_threshold(bonafide_scores: Array, spoof_scores: Array) -> float:
    """Finds the score whose calibrated log-likelihood ratio is the Bayes threshold.

    The calibration is ``fit_calibration`` on the given trials; the threshold is
    ``metrics.BAYES_THRESHOLD``, that of ``metrics.act_dcf`` (spoof prior 0.05, costs of
    1 for rejecting bona fide and 10 for accepting a spoof).

    Args:
      bonafide_scores, spoof_scores: (n,) and (m,) finite.

    Returns:
      The threshold, on the scale of the scores.

    Raises:
      ValueError: an empty class, or a score that is not finite.
      UserError: the scores cannot be calibrated, see ``fit_calibration``.
    """
    bonafide = metrics.class_scores(bonafide_scores)
    spoof = metrics.class_scores(spoof_scores)
    labels = np.repeat([1, 0], [bonafide.size, spoof.size])
    fitted = fit_calibration(np.r_[bonafide, spoof], labels)
    return float((metrics.BAYES_THRESHOLD - fitted.offset) / fitted.scale)


def fit_thresholds(
    bonafide_scores: Array, spoof_scores: Array, file: str
) -> DevThresholds:
    """Fixes the thresholds of a system on its dev scores.

    Args:
      bonafide_scores, spoof_scores: (n,) and (m,) finite.
      file: the dev scores, for messages.

    Returns:
      The thresholds. If one separates the classes without an error, no calibration is
      best, so there is only the EER threshold, and a warning.

    Raises:
      ValueError: an empty class, or a score that is not finite.
      UserError: the scores are constant or inverted.
    """
    bonafide = metrics.class_scores(bonafide_scores)
    spoof = metrics.class_scores(spoof_scores)
    try:
        threshold = eer_threshold(bonafide, spoof)
    except ValueError as error:
        raise UserError(f"{file}: {error}") from None
    at_eer = count_errors(bonafide, spoof, threshold)
    if at_eer.hter > 0.5:
        raise UserError(
            f"{file}: the EER of these dev scores is {100 * at_eer.hter:.2f} %, must "
            "be at most 50 %: higher scores mean spoof; negate the scores, higher must "
            "mean bona fide"
        )
    try:
        at_bayes = count_errors(bonafide, spoof, bayes_threshold(bonafide, spoof))
    except UserError as error:
        if bonafide.min() < spoof.max():  # not separable: inverted by outliers
            raise UserError(f"{file}: {error}") from None
        warning = f"no Bayes threshold from {file}: {error}"
        return DevThresholds(file, {"eer": at_eer}, (warning,))
    return DevThresholds(file, {"eer": at_eer, "bayes": at_bayes})


def apply_thresholds(
    dev: DevThresholds,
    scores: Array,
    real: Array,
    groups: Mapping[str, Mapping[str, Array]],
) -> FixedThresholds:
    """Counts the errors of a system's dev thresholds on the evaluated trials.

    Args:
      dev: from ``fit_thresholds``.
      scores: (trials,) finite.
      real: (trials,) bool, bona fide.
      groups: indices of trials by condition and value, see ``metrics.groups``.

    Returns:
      The errors on all trials and on each group.

    Raises:
      ValueError: a class is empty, or a score is not finite.
    """

    def errors(part: Array) -> dict[str, ThresholdErrors]:
        bonafide, spoof = scores[part[real[part]]], scores[part[~real[part]]]
        return {
            name: count_errors(bonafide, spoof, at.threshold)
            for name, at in dev.errors.items()
        }

    parts = {
        condition: {value: errors(part) for value, part in values.items()}
        for condition, values in groups.items()
    }
    return FixedThresholds(dev, errors(np.arange(len(scores))), parts)


def _json(errors: Mapping[str, ThresholdErrors]) -> dict[str, dict[str, float]]:
    """Returns errors by the threshold's name as JSON."""
    return {name: at.to_json() for name, at in errors.items()}
