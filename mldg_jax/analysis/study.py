"""The full analysis of one finished run, for ``mldg analyse``."""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from mldg_jax.analysis import (
    curvature,
    example_gradients,
    gradients,
    landscape,
    losses,
    own_gradient,
    parameter_names,
    representation,
    subjects,
)
from mldg_jax.analysis.taylor import Orders, Taylor, compare_orders, decompose
from mldg_jax.analysis.trained_update import (
    Geometry,
    Report,
    Stage,
    describe,
    evaluator,
)
from mldg_jax.common.errors import UserError
from mldg_jax.mldg import LossFn
from mldg_jax.objectives import Objective
from mldg_jax.training.build import objective_for

RATES = np.geomspace(10**-1.5, 10**1.5, 7)  # multiples of the run's inner_lr
EIGENVALUES = 3
PROBES, LANCZOS_STEPS = 2, 25
GRID = np.linspace(-1, 1, 9)
MOMENT_STAGES = 5  # computations at every step of training that is analysed


class Moment(NamedTuple):
    """Gradients and curvature at one step of training.

    Attributes:
      step: training step.
      loss: (attacks,) float64, nats.
      similarity: similarity of the attacks' gradients.
      noise: gradient noise scale.
      own: gradient of the run's objective for that episode; None if it is omitted.
      taylor: expansion of the MLDG objective, for the episode with the held-out
        attacks.
      orders: first- and second-order meta-gradient of that episode.
      top: largest eigenvalues of the Hessians of F and G, by the names "F" and "G".
    """

    step: int
    loss: np.ndarray
    similarity: gradients.Similarity
    noise: example_gradients.NoiseScale
    own: own_gradient.OwnGradient | None
    taylor: Taylor
    orders: Orders
    top: dict[str, np.ndarray]


class RunAnalysis(NamedTuple):
    """The analysis of one run.

    Attributes:
      name: name of the run.
      method: method of the run.
      objective: name of its objective.
      attacks: names of the attacks.
      held_out: names of the attacks in the meta-test half.
      inner: the MLDG objective that the run is examined with.
      notes: sentences about parts that are omitted or that are not about the run's own
        objective.
      along: the checkpoints in order, then the finished run. ``top`` has one eigenvalue
        per Hessian for checkpoints and several for the finished run.
      cosine_by_block: ``values`` (layers, projections, factors, attacks, attacks).
      rest: similarity of the attacks' gradients in the head.
      density: spectral densities of the Hessians of F and G, by the names "F" and "G".
      noise_by_block: noise scales, in examples.
      geometry: the update that training made; None without adapters.
      cka: (layers + 1,) float64, CKA between the frozen and the adapted front-end; None
        without adapters.
      embedding: (attacks, examples, 2), first two principal components.
      explained: (2,), their shares of the variance.
      label: (attacks, examples) int32, 1 for bona fide.
      plane: the loss along two random directions.
    """

    name: str
    method: str
    objective: str
    attacks: tuple[str, ...]
    held_out: tuple[str, ...]
    inner: own_gradient.InnerStep
    notes: tuple[str, ...]
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
    """Inputs that all moments of a run share."""

    chosen: subjects.Examples
    episode: dict[str, Any]
    inner: own_gradient.InnerStep
    objective: Callable[[LossFn], Objective] | None
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
    """Analyses one run and its checkpoints.

    Args:
      run: the run, from ``subjects.load``.
      chosen: utterances of at least two attacks.
      report: called with the ``Stage`` of each computation before it starts.
      seed: seed of the held-out attacks and of all random directions.
      eigenvalues: number of largest eigenvalues of the finished run's Hessians;
        checkpoints get one.
      lanczos_steps: Lanczos steps per probe of the spectral densities.
      grid: (n,) coordinates along both directions of the plane.

    Returns:
      The analysis.

    Raises:
      UserError: there are fewer than two attacks, or the run has no checkpoints.
    """
    if len(chosen.attacks) < 2:
        raise UserError(
            f"the split has one attack, {', '.join(chosen.attacks)}; at least 2 are "
            "needed: use a split with more attacks"
        )
    inner = own_gradient.inner_step(run.config.objective)
    setting, held_out, omitted = _setting(run, chosen, inner, seed)
    *_, newest = points = list(subjects.checkpoints(run))
    run = run._replace(objective_state=newest.objective_state)
    saved = [x for x in points if x.step < run.step]
    is_adapted = bool(run.config.model.lora.rank)
    total = MOMENT_STAGES * (len(saved) + 1) + 2 + is_adapted
    number = itertools.count(1)

    def announce(task: str) -> None:
        report(Stage(next(number), total, task))

    along = [_moment(point, setting, announce, eigenvalues=1)[0] for point in saved]
    last, by_attack, moments = _moment(run, setting, announce, eigenvalues=eigenvalues)
    announce("spectral densities")
    density = {
        name: curvature.spectral_density(
            operator, steps=lanczos_steps, probes=PROBES, seed=seed
        )
        for name, operator in _hessians(run, setting).items()
    }
    announce("embeddings, loss landscape")
    waveform = chosen.batch["waveform"]
    flat = waveform.reshape(-1, waveform.shape[-1])
    embedded = representation.embeddings(run.detector, run.variables, flat)
    coordinates, explained = representation.pca(embedded)
    directions = [
        landscape.random_direction(k, run.trainable)
        for k in jax.random.split(jax.random.key(seed))
    ]
    plane = landscape.around(
        evaluator(run, chosen), run.point, *directions, x=grid, y=grid
    )
    cka, update = None, None
    if is_adapted:
        announce("geometry and Fisher mass of the update")
        update = describe(run, chosen)
        frozen = {"params": run.frozen}
        cka = representation.cka_by_layer(run.detector, run.variables, frozen, flat)
    return RunAnalysis(
        run.name, run.config.method, run.config.objective.name, chosen.attacks,
        held_out, inner, tuple(x for x in (inner.note, omitted) if x), (*along, last),
        gradients.similarity_by_block(by_attack)[1],
        gradients.similarity_of_rest(by_attack),
        density, example_gradients.noise_by_block(moments), update, cka,
        coordinates.reshape(*chosen.row.shape, 2), explained, chosen.batch["label"],
        plane,
    )  # fmt: skip


def _moment(
    run: subjects.FinishedRun,
    setting: _Setting,
    announce: Callable[[str], None],
    eigenvalues: int,
):
    """Returns a run's ``Moment``, its gradients by attack and the examples' moments.

    Announces ``MOMENT_STAGES`` tasks.
    """
    chosen, episode, inner, objective, seed = setting
    step = f"step {run.step}"
    announce(f"{step}: gradients of {len(chosen.attacks)} attacks")
    by_attack = gradients.per_attack(
        run.loss, run.trainable, chosen.batch, chosen.attacks, chunk=1
    )
    announce(f"{step}: gradients of {chosen.row.size} utterances")
    moments = example_gradients.moments(run.loss, run.trainable, chosen.batch)
    announce(f"{step}: gradient of the objective")
    key, own = jax.random.key(seed), None
    if objective is not None:
        own = own_gradient.measure(
            objective, run.loss_for_objectives, run.trainable, run.objective_state,
            episode, by_attack, key=key,
        )  # fmt: skip
    arguments = losses.one_by_one(run.loss), run.trainable, episode, key
    announce(f"{step}: largest eigenvalues of the Hessians")
    top = {
        name: curvature.eigenvalues(
            operator, eigenvalues, tolerance=1e-2, seed=seed
        ).values
        for name, operator in _hessians(run, setting).items()
    }
    announce(f"{step}: terms of the MLDG objective")
    point = Moment(
        run.step,
        by_attack.loss,
        gradients.similarity(by_attack),
        example_gradients.noise_scale(moments),
        own,
        decompose(*arguments, inner_lr=inner.inner_lr * RATES, beta=inner.beta),
        compare_orders(*arguments, inner_lr=inner.inner_lr, beta=inner.beta),
        top,
    )
    return point, by_attack, moments


def _hessians(run: subjects.FinishedRun, setting: _Setting) -> dict[str, Any]:
    """Returns the Hessians of F and of G."""
    loss = losses.one_by_one(run.loss)
    halves = {"F": "meta_train", "G": "meta_test"}
    return {
        name: curvature.hessian(loss, run.trainable, setting.episode[half])
        for name, half in halves.items()
    }


def _setting(
    run: subjects.FinishedRun,
    chosen: subjects.Examples,
    inner: own_gradient.InnerStep,
    seed: int,
) -> tuple[_Setting, tuple[str, ...], str]:
    """Holds out as many random attacks as the run's episodes do.

    Returns:
      The setting, the names of these attacks, and why there is no objective in the
      setting, or "".
    """
    total = len(chosen.attacks)
    count = min(run.config.episode.num_meta_test, total - 1)
    order = np.random.default_rng(seed).permutation(total)
    indices = sorted(order[:count].tolist())
    held_out = tuple(chosen.attacks[i] for i in indices)
    trained_on = run.trained_on
    domain, omitted = own_gradient.numbers(run.config, chosen.attacks, trained_on)
    if domain is None:
        setting = _Setting(chosen, chosen.episode(indices), inner, None, seed)
        return setting, held_out, omitted
    objective = objective_for(
        run.config, run.detector, num_domains=trained_on.get("domains")
    )
    numbered = chosen._replace(batch={**chosen.batch, "domain": domain})
    setting = _Setting(chosen, numbered.episode(indices), inner, objective, seed)
    return setting, held_out, ""
