"""What training did to a run's front-end, and the loss of points around it."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from mldg_jax.analysis import fisher, geometry, losses, subjects

Report = Callable[[str], Any]  # what a study computes next


class Geometry(NamedTuple):
    """What training did to one run's front-end; None for runs without adapters.

    Attributes:
      name, method, seed: of the run.
      spectra: of the updates.
      mass: under the Fisher matrix.
    """

    name: str
    method: str
    seed: int
    spectra: geometry.Spectra
    mass: fisher.Mass


def describe(run: subjects.FinishedRun, chosen: subjects.Examples) -> Geometry:
    """The update of a run with adapters."""
    mass = fisher.mass(
        lambda frozen: losses.evaluation(run.detector, run.batch_stats, frozen),
        run.trainable,
        subjects.initial(run),
        run.frozen,
        chosen.batch,
        scale=run.scale,
    )
    spectra = geometry.spectra(run.trainable, run.scale)
    return Geometry(run.name, run.config.method, run.config.seed, spectra, mass)


def evaluator(
    run: subjects.FinishedRun, chosen: subjects.Examples
) -> Callable[[Any], float]:
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
