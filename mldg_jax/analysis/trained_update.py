"""The update that training made to a run, and the loss at points around the run."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from mldg_jax.analysis import fisher, geometry, losses, subjects


class Stage(NamedTuple):
    """A computation of an analysis that is about to start.

    Attributes:
      number: its number, from 1.
      total: number of computations of the analysis.
      task: description of the computation.
    """

    number: int
    total: int
    task: str


Report = Callable[[Stage], Any]


class Geometry(NamedTuple):
    """The update that training made to the front-end of a run with adapters.

    Attributes:
      name: name of the run.
      method: method of the run.
      seed: seed of the run.
      spectra: singular values and ranks of the updates.
      mass: mass of the updates under the empirical Fisher matrix.
    """

    name: str
    method: str
    seed: int
    spectra: geometry.Spectra
    mass: fisher.Mass


def describe(run: subjects.FinishedRun, chosen: subjects.Examples) -> Geometry:
    """Computes the spectra and the Fisher mass of a run's update.

    Args:
      run: a run with adapters.
      chosen: the utterances that the Fisher matrix is estimated from.

    Returns:
      The description of the update.

    Raises:
      UserError: the run has no adapters.
    """
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
    """Returns the loss of a run's model as a function of a ``landscape`` point.

    Args:
      run: provides the architecture and the frozen parameters.
      chosen: the utterances; the loss is the mean over all of them.

    Returns:
      ``evaluate(point) -> loss`` in nats.
    """
    batch = jax.device_put(chosen.batch)

    def evaluate(point: Mapping[str, Any]) -> float:
        loss = losses.evaluation(run.detector, point["batch_stats"], run.frozen)
        sequential = losses.one_by_one(loss)
        return float(_value(sequential, point["trainable"], batch))

    return evaluate


@jax.jit
def _value(loss_fn, trainable, batch):
    return loss_fn(trainable, batch)[0]
