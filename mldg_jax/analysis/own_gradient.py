"""The gradient that a run's own objective follows, against that of the mean loss.

Every objective is a function whose gradient is the method, so methods can be compared
by their gradients at the same parameters. Objectives with memory (a step count, weights
or averages of domains, the state of an optimiser) need the one that training left.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from mldg_jax import mldg
from mldg_jax.analysis import gradients, parameter_names
from mldg_jax.analysis.losses import as_tree
from mldg_jax.common.config import Config, ObjectiveSection
from mldg_jax.data.corpus import NO_ATTACK
from mldg_jax.mldg import LossFn
from mldg_jax.objectives import Objective
from mldg_jax.training.objective_section import BY_DOMAIN

INNER_LR = 0.01  # for runs without an inner learning rate, such as erm


class OwnGradient(NamedTuple):
    """The gradient of a run's objective at some parameters.

    Attributes:
      loss: the objective's value; for sam, sagm and fish the mean loss.
      penalty: what the objective adds to the mean loss, before its weight; NaN if it
        has no penalty.
      norm: norms of the objective's gradient and of the mean loss's.
      cosine: cosine between these two; NaN if one of them vanishes.
      by_attack: (attacks,) cosines with the gradient of every attack's loss. A small
        step along the objective's gradient lowers the loss of an attack if its cosine
        is positive.
    """

    loss: float
    penalty: float
    norm: tuple[float, float]
    cosine: float
    by_attack: np.ndarray


class InnerStep(NamedTuple):
    """The MLDG objective that a run is examined with.

    Attributes:
      inner_lr: inner learning rate α.
      beta: weight β of the meta-test loss.
      own: the run trained with this α.
      note: one sentence that says how this differs from what the run trained with; ""
        if it does not.
    """

    inner_lr: float
    beta: float
    own: bool
    note: str


def measure(
    objective: Callable[[LossFn], Objective],
    loss_fn: Callable,
    trainable: Any,
    state: Any,
    episode: Any,
    by_attack: gradients.Gradients,
    *,
    key: jax.Array,
) -> OwnGradient:
    """Computes the gradient of an objective and compares it with those of attacks.

    Args:
      objective: from ``training.build.objective_for``, the same object for all calls
        that should share a compiled program.
      loss_fn: a loss with a ``LossAux``, see ``losses.for_objectives``.
      trainable: φ.
      state: state of the objective.
      episode: ``{"meta_train": batch, "meta_test": batch}``.
      by_attack: gradients of all attacks of the episode at φ.
      key: PRNG key of the objective.

    Returns:
      The comparison.
    """
    loss, penalty, gradient = _gradient(
        objective, as_tree(loss_fn), trainable, state, episode, key
    )
    own = parameter_names.flatten(gradient).astype(np.float64)
    attacks = by_attack.matrix.astype(np.float64)
    mean = attacks.mean(axis=0)
    norm = float(np.linalg.norm(own)), float(np.linalg.norm(mean))
    return OwnGradient(
        float(loss),
        float("nan") if penalty is None else float(penalty),
        norm,
        _cosine(own, mean),
        np.array([_cosine(own, x) for x in attacks]),
    )


@functools.partial(jax.jit, static_argnames="objective")
def _gradient(objective, loss_fn, trainable, state, episode, key):
    method = jax.grad(objective(loss_fn).apply, has_aux=True)
    gradient, (_, aux) = method(trainable, state, episode, key)
    return aux.loss, aux.penalty, gradient


def _cosine(x: np.ndarray, y: np.ndarray) -> float:
    product = np.linalg.norm(x) * np.linalg.norm(y)
    return float(np.clip(x @ y / product, -1, 1)) if product else float("nan")


def numbers(
    config: Config, attacks: Sequence[str], trained_on: Mapping[str, Any]
) -> tuple[np.ndarray | None, str]:
    """Finds the number of every attack in the objective's state.

    Args:
      config: config of the run.
      attacks: attacks to analyse.
      trained_on: ``trained_on`` of the run's provenance.

    Returns:
      (attacks,) int32, each attack's number among the domains of training; None if the
      objective keeps a state for every domain and lacks one of these attacks, or its
      domains are not attacks. Then also one sentence that says so, otherwise "".
    """
    name = config.objective.name
    if name not in BY_DOMAIN:
        return np.arange(len(attacks), dtype=np.int32), ""
    known = sorted(set(trained_on.get("spoof", {})) - {NO_ATTACK})
    missing = [x for x in attacks if x not in known]
    if config.episode.domains != "attack":
        reason = "these are not the attacks"
    elif missing:
        verb = "is" if len(missing) == 1 else "are"
        reason = f"{', '.join(missing)} {verb} not among them"
    else:
        return np.array([known.index(x) for x in attacks], np.int32), ""
    return None, (
        f"The gradient of {name} itself is omitted: {name} keeps a state for every "
        f"domain of its training, and {reason}."
    )


def inner_step(objective: ObjectiveSection) -> InnerStep:
    """Chooses the MLDG objective to examine a run with.

    Args:
      objective: section ``objective`` of the run's config.

    Returns:
      One step of gradient descent on all of φ, with the run's α and β if it has them.
    """
    name, rate = objective.name, objective.inner_lr
    beta = objective.beta
    if beta is None or name not in ("mldg", "mldg_gc", "domainbed"):
        beta = mldg.BETA
    inner_lr = rate or INNER_LR
    reason = _difference(objective)
    note = reason and (
        f"{reason}: the effect of the inner step, the terms of the MLDG objective and "
        f"first against second order are those of one step of MLDG (α = {inner_lr:g}, "
        f"β = {beta:g}) at the parameters of this run."
    )
    return InnerStep(inner_lr, beta, bool(rate), note)


def _difference(objective: ObjectiveSection) -> str:
    """Says how a run's objective differs from MLDG with one inner step; "" if not."""
    name = objective.name
    special = {
        "mldg_gc": "mldg_gc rewards the cosine of F′ and G′ and makes no inner step",
        "mldg_gn": "mldg_gn penalises G′ after the inner step instead of G",
        "domainbed": "domainbed makes inner steps of Adam, for pairs of attacks",
        "fish": "fish makes an inner step for every attack and has no meta-test half",
    }  # fmt: skip
    if name in special:
        return special[name]
    if name != "mldg":
        return f"{name} has no inner step"
    if not objective.inner_lr:
        return "This run has inner_lr 0, so its inner step changes nothing"
    steps, adapt = objective.inner_steps or 1, objective.adapt or "all"
    changes = [f"{steps} inner steps"] if steps > 1 else []
    changes += [f"inner steps on the {adapt} alone"] if adapt != "all" else []
    return f"This run makes {' and '.join(changes)}" if changes else ""
