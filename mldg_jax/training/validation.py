"""Validation on held-out training attacks, and the choice of a checkpoint by it.

The development splits of spoofing corpora often contain the attacks of the training
split (ASVspoof 2019: A01–A06 in both), so an EER on them does not measure how a
detector generalises to new attacks. Here some training attacks are held out of
training, and the detector (the EMA of φ) is scored on a split's bona fide utterances
and its utterances of those attacks. Evaluation attacks are refused.
"""

from pathlib import Path
from typing import Any

import numpy as np

from mldg_jax import metrics
from mldg_jax.common.config import Config
from mldg_jax.common.errors import UserError
from mldg_jax.data.corpus import BONAFIDE, SPOOF, Corpus, spread
from mldg_jax.models.detector import create_detector
from mldg_jax.models.split import variables
from mldg_jax.scoring.scorer import Scorer, score_waveforms
from mldg_jax.step import TrainState
from mldg_jax.training import log, parallel

EER, LOSS = "validation_eer", "validation_loss"
RULE = (
    "the lowest EER on the held-out attacks, then the lower loss, then the earlier step"
)
History = dict[int, tuple[float, float]]  # step: EER, loss


def excluded(config: Any) -> tuple[str, ...]:
    """Returns the attacks that training does not see.

    Args:
      config: config of the run.

    Returns:
      The excluded and the held-out attacks together, sorted.
    """
    return tuple(sorted({*config.episode.exclude, *config.validation.attacks}))


def choose(
    config: Any,
    training: Corpus,
    split: Corpus | None,
    *,
    for_averages: bool = False,
) -> Corpus | None:
    """Chooses the utterances to validate on, the same for every run of a config.

    Args:
      config: the section ``validation``.
      training: the training split.
      split: the split that ``config.split`` names; None if it was not loaded.
      for_averages: whether ``config.every`` may be 0 all the same, because the
        utterances are for SWAD or for the choice of a threshold.

    Returns:
      At most ``config.utterances`` utterances per class (0: all), spread over the
      split; None without validation.

    Raises:
      UserError: values that are not valid, an attack that is missing from the training
        split or from this one, or no bona fide utterance.
    """
    attacks = sorted(config.attacks)
    if not config.every and not attacks:
        return None
    if not attacks or not (config.every or for_averages):
        raise UserError(
            f"validation.every is {config.every} and validation.attacks are "
            f"{', '.join(attacks) or 'none'}: set both, or neither"
        )
    if config.split.startswith(("train", "eval", "test")):
        raise UserError(
            f"validation.split is {config.split!r}: a checkpoint must not be chosen on "
            "training or test data; set it to 'dev'"
        )
    known = sorted(set(training.attack[training.label == SPOOF]))
    for attack in attacks:
        if attack not in known:
            raise UserError(
                f"validation.attacks has {attack!r}, which is not an attack of the "
                f"training split: choose from {', '.join(known)}, so that evaluation "
                "attacks stay unseen"
            )
    if split is None:
        raise UserError("validation is on, but no split to validate on is given")
    is_bonafide, is_held_out = split.label == BONAFIDE, np.isin(split.attack, attacks)
    missing = sorted(set(attacks) - set(split.attack[is_held_out]))
    if missing or not is_bonafide.any():
        raise UserError(
            f"split {config.split!r} has no {', '.join(missing) or 'bona fide'}: "
            "choose another validation.split or other validation.attacks"
        )
    rows = [spread(mask, config.utterances) for mask in (is_bonafide, is_held_out)]
    return split.take(np.concatenate(rows))


def evaluate(config: Config, rows: Corpus, state: TrainState, frozen: Any) -> dict:
    """Measures the errors of the EMA detector.

    Args:
      config: config of the run.
      rows: utterances from ``choose``.
      state: the training state.
      frozen: the frozen parameters, in the form that the step uses.

    Returns:
      ``validation_eer``, a fraction, and ``validation_loss``, see ``errors``.
    """
    parts = map(parallel.local, (state.ema, state.batch_stats, frozen))
    measured = np.array(errors(config, rows, *parts))
    # Rounding may differ between processes, and all must choose the same checkpoint.
    eer, loss = parallel.broadcast_from_primary(measured).tolist()
    return {EER: eer, LOSS: loss}


def errors(
    config: Config, rows: Corpus, trainable: Any, batch_stats: Any, frozen: Any
) -> tuple[float, float]:
    """Scores utterances as ``mldg score`` does, but with unmerged adapters.

    Merging them would need a second copy of the front-end in addition to the step's.

    Args:
      config: config of the run.
      rows: utterances from ``choose``.
      trainable, batch_stats, frozen: the detector, on one device.

    Returns:
      The EER, a fraction, and the cross-entropy in nats with equal weights for both
      classes.
    """
    scorer = Scorer(
        create_detector(config.model, compute=config.compute),
        variables(trainable, batch_stats, frozen),
        config.crop_samples,
        config,
    )
    waveforms = (rows.waveform(i) for i in range(len(rows.label)))
    scores = score_waveforms(scorer, waveforms)
    classes = scores[rows.label == BONAFIDE], scores[rows.label == SPOOF]
    return metrics.eer(*classes)[0], metrics.cllr(*classes) * np.log(2)


def read(workdir: Path, step: int) -> History:
    """Reads a run's validations from its log.

    Args:
      workdir: the run folder.
      step: last step to read.

    Returns:
      EER (a fraction) and loss by step.
    """
    lines = log.read(workdir, step)
    return {x["step"]: (x[EER], x[LOSS]) for x in lines if EER in x}


def best(history: History) -> list[int]:
    """Ranks the validated steps by ``RULE``.

    Args:
      history: EER and loss by step.

    Returns:
      The steps, best first.
    """
    return sorted(history, key=lambda step: (*history[step], step))


def exhausted(history: History, patience: int) -> bool:
    """Decides whether training should stop early.

    Args:
      history: EER and loss by step.
      patience: allowed number of validations since the best one; 0 never stops.

    Returns:
      True if at least ``patience`` validations came after the best one.
    """
    later = [step for step in history if step > best(history)[0]] if history else []
    return 0 < patience <= len(later)


def facts(config: Any, rows: Corpus, history: History, step: int) -> dict[str, Any]:
    """Describes the choice of a checkpoint, for config.json and the model card.

    Args:
      config: config of the run.
      rows: utterances from ``choose``.
      history: EER and loss by step.
      step: step of the chosen checkpoint, a key of ``history``.

    Returns:
      JSON values: the rule, its data, the step, and its EER (a fraction) and loss.
    """
    bonafide = int((rows.label == BONAFIDE).sum())
    return {
        "rule": RULE,
        "attacks": sorted(config.validation.attacks),
        "split": config.validation.split,
        "bonafide": bonafide,
        "spoof": len(rows.label) - bonafide,
        "validations": len(history),
        "step": step,
        "eer": history[step][0],
        "loss": history[step][1],
    }
