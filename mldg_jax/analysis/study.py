"""Everything of this room for finished runs: what ``mldg analyse`` computes."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from mldg_jax.analysis import (
    blocks,
    curvature,
    examples,
    fisher,
    geometry,
    gradients,
    landscape,
    losses,
    representation,
    runs,
    taylor,
)
from mldg_jax.errors import UserError

RATES = np.geomspace(10**-1.5, 10**1.5, 7)  # times the run's inner_lr
INNER_LR = 0.01  # of runs that have none
EIGENVALUES, LANCZOS_STEPS = 3, 30
GRID = np.linspace(-1, 1, 9)
LINE = np.linspace(0, 1, 9)

Tell = Callable[[str], Any]


class Moment(NamedTuple):
    """The gradients at one point of training.

    Attributes:
      step: of training.
      loss: (attacks,) float64, nats.
      similarity: between attacks.
      noise: the gradient noise scale.
    """

    step: int
    loss: np.ndarray
    similarity: gradients.Similarity
    noise: examples.Noise


class Geometry(NamedTuple):
    """What training did to one run's front-end; None for runs without adapters.

    Attributes:
      name, arm, seed: of the run.
      spectra: of the updates.
      mass: under the Fisher matrix.
    """

    name: str
    arm: str
    seed: int
    spectra: geometry.Spectra
    mass: fisher.Mass


class Single(NamedTuple):
    """The study of one run. Entries are None where the run has no adapters.

    Attributes:
      name, arm: of the run.
      attacks: names.
      held_out: names of those that are the meta-test half in what follows.
      inner_lr: the run's, or ``INNER_LR``.
      along: checkpoints in order, then the finished run.
      cosine_by_block: (layers, projections, factors, attacks, attacks).
      rest: similarity of the head's part.
      taylor, orders: of the episode with ``held_out``.
      top: largest eigenvalues of F's and of G's Hessian.
      density: their spectral densities.
      noise_by_block: noise scales, in examples.
      geometry: see ``Geometry``.
      cka: (layers + 1,) between the frozen and the adapted front-end.
      embedding: (attacks, examples, 2) principal components.
      explained: (2,) their shares of the variance.
      label: (attacks, examples), 1 bona fide.
      plane: the loss along two random directions.
    """

    name: str
    arm: str
    attacks: tuple[str, ...]
    held_out: tuple[str, ...]
    inner_lr: float
    along: tuple[Moment, ...]
    cosine_by_block: blocks.Blocks
    rest: gradients.Similarity
    taylor: taylor.Taylor
    orders: taylor.Orders
    top: dict[str, np.ndarray]
    density: dict[str, curvature.Density]
    noise_by_block: blocks.Blocks
    geometry: Geometry | None
    cka: np.ndarray | None
    embedding: np.ndarray
    explained: np.ndarray
    label: np.ndarray
    plane: landscape.Slice


class Several(NamedTuple):
    """The study of several runs of one front-end.

    Attributes:
      geometry: of each run.
      angles: principal angles of every pair of runs, by their names.
      paths: the loss between every pair of runs.
    """

    geometry: tuple[Geometry, ...]
    angles: dict[tuple[str, str], geometry.Angles]
    paths: dict[tuple[str, str], landscape.Path]


def single(
    run: runs.Run, chosen: runs.Examples, *, seed: int = 0, tell: Tell
) -> Single:
    """Studies one run.

    Args:
      run: from ``runs.load``.
      chosen: utterances of every attack, at least two attacks.
      seed: of the attacks that are held out and of random directions.
      tell: called with what is computed next.

    Raises:
      UserError: fewer than two attacks.
    """
    if len(chosen.attacks) < 2:
        raise UserError(
            f"the split has one attack, {chosen.attacks[0]}; at least 2 are compared"
        )
    key = jax.random.key(seed)
    held_out, episode = _hold_out(run, chosen, seed)
    inner_lr = run.config.objective.get("inner_lr") or INNER_LR
    beta = run.config.objective.get("beta", 1.0)
    loss = losses.one_by_one(run.loss)

    tell("gradients along training")
    saved = [x for x in runs.checkpoints(run) if x.step < run.step]
    along = tuple(_moment(x, chosen)[0] for x in saved)
    last, found, moments = _moment(run, chosen)
    by_block = gradients.similarity_by_block(found)[1]
    tell("Taylor parts, both orders of the meta-gradient")
    arguments = loss, run.trainable, episode, key
    parts = taylor.decompose(*arguments, inner_lr=inner_lr * RATES, beta=beta)
    orders = taylor.orders(*arguments, inner_lr=inner_lr, beta=beta)
    top, density = {}, {}
    for name, half in (("F", "meta_train"), ("G", "meta_test")):
        tell(f"curvature of {name}")
        operator = curvature.hessian(loss, run.trainable, episode[half], key)
        top[name] = curvature.eigenvalues(
            operator, EIGENVALUES, tolerance=1e-2, seed=seed
        ).values
        density[name] = curvature.spectral_density(
            operator, steps=LANCZOS_STEPS, probes=1, seed=seed
        )
    tell("embeddings, loss landscape")
    clips = chosen.batch["waveform"]
    flat = clips.reshape(-1, clips.shape[-1])
    embedded = representation.embeddings(run.detector, run.variables, flat)
    coordinates, explained = representation.pca(embedded)
    directions = [
        landscape.random_direction(k, run.trainable) for k in jax.random.split(key)
    ]
    plane = landscape.around(
        evaluator(run, chosen), run.point, *directions, x=GRID, y=GRID
    )
    cka, shape = None, None
    if run.config.model.lora.rank:
        tell("geometry and Fisher mass of the update")
        shape = describe(run, chosen)
        bare = {"params": run.frozen}
        cka = representation.cka_by_layer(run.detector, run.variables, bare, flat)
    return Single(
        run.name, run.config.arm, chosen.attacks, held_out, inner_lr, (*along, last),
        by_block, gradients.similarity_of_rest(found), parts, orders, top, density,
        examples.noise_by_block(moments), shape, cka,
        coordinates.reshape(*chosen.row.shape, 2), explained, chosen.batch["label"],
        plane,
    )  # fmt: skip


def several(them: Sequence[runs.Run], chosen: runs.Examples, *, tell: Tell) -> Several:
    """Compares runs; arguments as ``single``.

    Raises:
      UserError: two runs share a name, or are of different models or without adapters.
    """
    _check(them)
    shapes, updates = [], {}
    for run in them:
        tell(f"geometry and Fisher mass: {run.name}")
        shapes.append(describe(run, chosen))
        updates[run.name] = geometry.updates(run.trainable, run.scale)
    angles, paths = {}, {}
    for one, other in itertools.combinations(them, 2):
        tell(f"between {one.name} and {other.name}")
        pair = one.name, other.name
        angles[pair] = geometry.principal_angles(*(updates[name] for name in pair))
        paths[pair] = landscape.interpolate(
            evaluator(one, chosen), one.point, other.point, LINE
        )
    return Several(tuple(shapes), angles, paths)


def describe(run: runs.Run, chosen: runs.Examples) -> Geometry:
    """The update of a run with adapters."""
    mass = fisher.mass(
        lambda frozen: losses.evaluation(run.detector, run.batch_stats, frozen),
        run.trainable,
        runs.initial(run),
        run.frozen,
        chosen.batch,
        scale=run.scale,
    )
    spectra = geometry.spectra(run.trainable, run.scale)
    return Geometry(run.name, run.config.arm, run.config.seed, spectra, mass)


def evaluator(run: runs.Run, chosen: runs.Examples) -> Callable[[Any], float]:
    """The loss of a ``landscape`` point of a run's model, on all utterances."""
    batch = jax.device_put(chosen.batch)

    def evaluate(point: Mapping[str, Any]) -> float:
        moved = losses.evaluation(run.detector, point["batch_stats"], run.frozen)
        loss = losses.one_by_one(moved)
        return float(_value(loss, point["trainable"], batch))

    return evaluate


@jax.jit
def _value(loss_fn, trainable, batch):
    return loss_fn(trainable, batch)[0]


def _moment(run: runs.Run, chosen: runs.Examples):
    """A run's ``Moment``, its gradients by attack and the examples' moments."""
    found = gradients.per_attack(
        run.loss, run.trainable, chosen.batch, chosen.attacks, chunk=1
    )
    moments = examples.moments(run.loss, run.trainable, chosen.batch)
    noise = examples.noise_scale(moments)
    moment = Moment(run.step, found.loss, gradients.similarity(found), noise)
    return moment, found, moments


def _hold_out(run: runs.Run, chosen: runs.Examples, seed: int):
    """As many attacks as the run's episodes hold out, at random; and the episode."""
    total = len(chosen.attacks)
    count = min(run.config.episode.meta_test, total - 1)
    order = np.random.default_rng(seed).permutation(total)
    numbers = sorted(order[:count].tolist())
    return tuple(chosen.attacks[i] for i in numbers), chosen.episode(numbers)


def _check(them: Sequence[runs.Run]) -> None:
    names = [run.name for run in them]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"two runs are named {name!r}: rename one of the folders")
    for run in them:
        if not run.config.model.lora.rank:
            raise UserError(
                f"{run.folder} has no adapters (lora.rank is 0): leave it out, or "
                "analyse it alone"
            )
        first, this = (x.config.model.to_dict() for x in (them[0], run))
        for part in ("weights", "frontend", "head"):
            if first[part] != this[part]:
                raise UserError(
                    f"{run.folder} has model.{part} {this[part]}, {them[0].folder} has "
                    f"{first[part]}: only runs of the same model can be compared"
                )


def arrays(tree: Any, name: str = "") -> dict[str, np.ndarray]:
    """All of a study by name, for ``np.savez``: ``along/0/similarity/cosine``, ….

    Whole meta-gradients and the tables of leaves are left out.
    """
    if tree is None or name.rpartition("/")[2] in ("leaves", "first", "second"):
        return {}
    if hasattr(tree, "_asdict"):
        items = tree._asdict().items()
    elif isinstance(tree, Mapping):
        items = (
            (" - ".join(k) if isinstance(k, tuple) else k, v) for k, v in tree.items()
        )
    elif isinstance(tree, tuple) and any(hasattr(x, "_asdict") for x in tree):
        items = ((str(i), x) for i, x in enumerate(tree))
    else:
        return {name: np.asarray(tree)}
    found: dict[str, np.ndarray] = {}
    for key, value in items:
        found |= arrays(value, f"{name}/{key}" if name else key)
    return found
