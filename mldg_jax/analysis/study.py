"""Everything of this room for a finished run: what ``mldg analyse`` says of it."""

import itertools
from typing import Any, NamedTuple

import jax
import numpy as np

from mldg_jax.analysis import (
    curvature,
    example_gradients,
    gradients,
    landscape,
    losses,
    parameter_names,
    representation,
    subjects,
)
from mldg_jax.analysis.taylor import Orders, Taylor, compare_orders, decompose
from mldg_jax.analysis.trained_update import Geometry, Report, describe, evaluator
from mldg_jax.common.errors import UserError
from mldg_jax.mldg import BETA

RATES = np.geomspace(10**-1.5, 10**1.5, 7)  # times the run's inner_lr
INNER_LR = 0.01  # of runs that have none
EIGENVALUES = 3
PROBES, LANCZOS_STEPS = 2, 25
GRID = np.linspace(-1, 1, 9)


class Moment(NamedTuple):
    """Gradients and curvature at one point of training.

    Attributes:
      step: of training.
      loss: (attacks,) float64, nats.
      similarity: between attacks.
      noise: the gradient noise scale.
      taylor, orders: of the episode with the held-out attacks.
      top: largest eigenvalues of F's and of G's Hessian.
    """

    step: int
    loss: np.ndarray
    similarity: gradients.Similarity
    noise: example_gradients.NoiseScale
    taylor: Taylor
    orders: Orders
    top: dict[str, np.ndarray]


class RunAnalysis(NamedTuple):
    """The study of one run. Entries are None where the run has no adapters.

    Attributes:
      name, method: of the run.
      attacks: names.
      held_out: names of those that are the meta-test half.
      inner_lr: the run's, or ``INNER_LR``.
      along: checkpoints in order, then the finished run. The largest eigenvalue of
        each, of the finished run several.
      cosine_by_block: (layers, projections, factors, attacks, attacks).
      rest: similarity of the head's part.
      density: spectral densities of F's and of G's Hessian.
      noise_by_block: noise scales, in examples.
      geometry: see ``Geometry``.
      cka: (layers + 1,) between the frozen and the adapted front-end.
      embedding: (attacks, examples, 2) principal components.
      explained: (2,) their shares of the variance.
      label: (attacks, examples), 1 bona fide.
      plane: the loss along two random directions.
    """

    name: str
    method: str
    attacks: tuple[str, ...]
    held_out: tuple[str, ...]
    inner_lr: float
    along: tuple[Moment, ...]
    cosine_by_block: parameter_names.Blocks
    rest: gradients.Similarity
    density: dict[str, curvature.Density]
    noise_by_block: parameter_names.Blocks
    geometry: Geometry | None
    cka: np.ndarray | None
    embedding: np.ndarray
    explained: np.ndarray
    label: np.ndarray
    plane: landscape.Slice


class _Setting(NamedTuple):
    """What the moments of a run are computed of."""

    chosen: subjects.Examples
    episode: dict[str, Any]
    inner_lr: float
    beta: float
    seed: int


def analyse_run(
    run: subjects.FinishedRun,
    chosen: subjects.Examples,
    *,
    report: Report,
    seed: int = 0,
    eigenvalues: int = EIGENVALUES,
    lanczos_steps: int = LANCZOS_STEPS,
    grid: np.ndarray = GRID,
) -> RunAnalysis:
    """Studies one run.

    Args:
      run: from ``subjects.load``.
      chosen: utterances of every attack, at least two attacks.
      report: called with what is computed next.
      seed: of the attacks that are held out and of random directions.
      eigenvalues: of the finished run's Hessians, the largest; of checkpoints one.
      lanczos_steps: of the spectral densities.
      grid: places along either direction of the plane.

    Raises:
      UserError: fewer than two attacks.
    """
    if len(chosen.attacks) < 2:
        raise UserError(
            f"the split has one attack, {', '.join(chosen.attacks)}; at least 2 are "
            "compared"
        )
    held_out, episode = _hold_out(run, chosen, seed)
    objective = run.config.objective
    inner_lr = objective.inner_lr or INNER_LR
    beta = BETA if objective.beta is None else objective.beta
    setting = _Setting(chosen, episode, inner_lr, beta, seed)
    saved = [x for x in subjects.checkpoints(run) if x.step < run.step]
    total, number = len(saved) + 4, itertools.count(1)

    def next_is(what: str) -> None:
        report(f"{next(number)}/{total} {what}")

    along = []
    for point in saved:
        next_is(f"gradients and curvature after step {point.step}")
        along.append(_moment(point, setting, eigenvalues=1)[0])
    next_is("gradients and curvature of the finished run")
    last, found, moments = _moment(run, setting, eigenvalues=eigenvalues)
    next_is("spectral densities")
    density = {
        name: curvature.spectral_density(
            operator, steps=lanczos_steps, probes=PROBES, seed=seed
        )
        for name, operator in _hessians(run, setting).items()
    }
    next_is("embeddings, loss landscape")
    clips = chosen.batch["waveform"]
    flat = clips.reshape(-1, clips.shape[-1])
    embedded = representation.embeddings(run.detector, run.variables, flat)
    coordinates, explained = representation.pca(embedded)
    directions = [
        landscape.random_direction(k, run.trainable)
        for k in jax.random.split(jax.random.key(seed))
    ]
    plane = landscape.around(
        evaluator(run, chosen), run.point, *directions, x=grid, y=grid
    )
    cka, shape = None, None
    if run.config.model.lora.rank:
        next_is("geometry and Fisher mass of the update")
        shape = describe(run, chosen)
        bare = {"params": run.frozen}
        cka = representation.cka_by_layer(run.detector, run.variables, bare, flat)
    return RunAnalysis(
        run.name, run.config.method, chosen.attacks, held_out, inner_lr, (*along, last),
        gradients.similarity_by_block(found)[1], gradients.similarity_of_rest(found),
        density, example_gradients.noise_by_block(moments), shape, cka,
        coordinates.reshape(*chosen.row.shape, 2), explained, chosen.batch["label"],
        plane,
    )  # fmt: skip


def _moment(run: subjects.FinishedRun, setting: _Setting, eigenvalues: int):
    """A run's ``Moment``, its gradients by attack and the examples' moments."""
    chosen, episode, inner_lr, beta, seed = setting
    found = gradients.per_attack(
        run.loss, run.trainable, chosen.batch, chosen.attacks, chunk=1
    )
    moments = example_gradients.moments(run.loss, run.trainable, chosen.batch)
    key = jax.random.key(seed)
    arguments = losses.one_by_one(run.loss), run.trainable, episode, key
    top = {
        name: curvature.eigenvalues(
            operator, eigenvalues, tolerance=1e-2, seed=seed
        ).values
        for name, operator in _hessians(run, setting).items()
    }
    point = Moment(
        run.step,
        found.loss,
        gradients.similarity(found),
        example_gradients.noise_scale(moments),
        decompose(*arguments, inner_lr=inner_lr * RATES, beta=beta),
        compare_orders(*arguments, inner_lr=inner_lr, beta=beta),
        top,
    )
    return point, found, moments


def _hessians(run: subjects.FinishedRun, setting: _Setting) -> dict[str, Any]:
    """Of F and of G."""
    loss = losses.one_by_one(run.loss)
    halves = {"F": "meta_train", "G": "meta_test"}
    return {
        name: curvature.hessian(loss, run.trainable, setting.episode[half])
        for name, half in halves.items()
    }


def _hold_out(run: subjects.FinishedRun, chosen: subjects.Examples, seed: int):
    """As many attacks as the run's episodes hold out, at random; and the episode."""
    total = len(chosen.attacks)
    count = min(run.config.episode.num_meta_test, total - 1)
    order = np.random.default_rng(seed).permutation(total)
    numbers = sorted(order[:count].tolist())
    return tuple(chosen.attacks[i] for i in numbers), chosen.episode(numbers)
