"""Validation on attacks that training leaves out, and the choice of a checkpoint by it.

The development splits of spoofing corpora often hold the attacks of the training split
(ASVspoof 2019: A01–A06 in both), so their EER cannot see an attack shift. Here some
training attacks are left out of training, and the averaged detector is scored on a
split's bona fide and its utterances of those attacks. Evaluation attacks are refused.
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
RULE = "the lowest EER on the left-out attacks, then the lower loss, then the earlier"
History = dict[int, tuple[float, float]]  # step: EER, loss


def excluded(config: Any) -> tuple[str, ...]:
    """The attacks that training does not meet: excluded, or validated on."""
    return tuple(sorted({*config.episode.exclude, *config.validation.attacks}))


def choose(config: Any, training: Corpus, split: Corpus | None) -> Corpus | None:
    """The utterances to validate on, the same for every run of a config.

    Args:
      config: a config's ``validation`` section.
      training: the training split.
      split: that which ``config.split`` names.

    Returns:
      At most ``config.utterances`` of each class (0: all), spread over the split; None
      without validation.

    Raises:
      UserError: a section that makes no sense, an attack that is not of the training
        split or not in this one, or no bona fide.
    """
    attacks = sorted(config.attacks)
    if not config.every and not attacks:
        return None
    if config.every < 1 or not attacks:
        raise UserError(
            f"validation.every is {config.every} and validation.attacks are "
            f"{', '.join(attacks) or 'none'}: set both, or neither"
        )
    if config.keep < 1 or config.patience < 0 or config.utterances < 0:
        raise UserError(
            f"validation.keep is {config.keep}, patience {config.patience}, utterances "
            f"{config.utterances}; keep is at least 1, the others at least 0"
        )
    if config.split.startswith(("train", "eval", "test")):
        raise UserError(
            f"validation.split is {config.split!r}: what training has met or what the "
            "result is measured on must not choose it; set it to 'dev'"
        )
    known = sorted(set(training.attack[training.label == SPOOF]))
    for attack in attacks:
        if attack not in known:
            raise UserError(
                f"validation.attacks has {attack!r}, which is no attack of the "
                f"training split: only those may choose ({', '.join(known)}); "
                "evaluation attacks stay unseen"
            )
    if split is None:
        raise UserError("validation.every is set, and no split to validate on is given")
    chosen = [split.label == BONAFIDE, np.isin(split.attack, attacks)]
    lacking = sorted(set(attacks) - set(split.attack[chosen[1]]))
    if lacking or not chosen[0].any():
        raise UserError(
            f"split {config.split!r} has no {', '.join(lacking) or 'bona fide'}: "
            "choose another validation.split or other validation.attacks"
        )
    rows = [spread(which, config.utterances) for which in chosen]
    return split.take(np.concatenate(rows))


def evaluate(config: Config, rows: Corpus, state: TrainState, frozen: Any) -> dict:
    """Scores the averaged detector as ``mldg score`` does, adapters unmerged.

    Merging them would make a second copy of the front-end beside the step's.

    Args:
      config: the run's.
      rows: from ``choose``.
      state: the training state.
      frozen: the frozen parameters, as the step has them.

    Returns:
      ``validation_eer``, a fraction, and ``validation_loss``, the cross-entropy in nats
      with both classes weighing the same.
    """
    parts = state.ema, state.batch_stats, frozen
    scorer = Scorer(
        create_detector(config.model, compute=config.compute),
        variables(*map(parallel.local, parts)),
        config.crop_samples,
        config,
    )
    waveforms = (rows.waveform(i) for i in range(len(rows.label)))
    scores = score_waveforms(scorer, waveforms)
    classes = scores[rows.label == BONAFIDE], scores[rows.label == SPOOF]
    found = np.array([metrics.eer(*classes)[0], metrics.cllr(*classes) * np.log(2)])
    eer, loss = parallel.broadcast_from_primary(found).tolist()
    return {EER: eer, LOSS: loss}


def read(workdir: Path, step: int) -> History:
    """What a run's log says of its validations up to a step."""
    lines = log.read(workdir, step)
    return {x["step"]: (x[EER], x[LOSS]) for x in lines if EER in x}


def best(history: History) -> list[int]:
    """Steps by ``RULE``, best first."""
    return sorted(history, key=lambda step: (*history[step], step))


def exhausted(history: History, patience: int) -> bool:
    """Whether the best is so many validations old; never with a patience of 0."""
    later = [step for step in history if step > best(history)[0]] if history else []
    return 0 < patience <= len(later)


def facts(config: Any, rows: Corpus, history: History, step: int) -> dict[str, Any]:
    """What was chosen and by what, for config.json and the model card."""
    real = int((rows.label == BONAFIDE).sum())
    return {
        "rule": RULE,
        "attacks": sorted(config.validation.attacks),
        "split": config.validation.split,
        "bonafide": real,
        "spoof": len(rows.label) - real,
        "validations": len(history),
        "step": step,
        "eer": history[step][0],
        "loss": history[step][1],
    }
