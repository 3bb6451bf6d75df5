"""SAM: the gradient at the worst point of a small ball (arXiv 2010.01412).

    ĝ = ∇L(φ)        ŵ = φ + ρ ĝ / ‖ĝ‖₂        the method follows ∇L(ŵ)

One norm over all trained parameters, of the bare gradient. First order: ŵ is a constant
shift of φ (``stop_gradient``). For speech deepfakes: Shim et al., "Improving
generalization ability of countermeasures with SAM" (SAM-AntiSpoofing), whose code the
tests compare with. It costs two gradients a step, as first-order MLDG does.
"""

import jax
import optax

from mldg_jax.mldg import Aux, AxisName, LossFn
from mldg_jax.objectives.objective import Objective, check, mean_over, pooled, stateless

RHO = 0.05  # of the paper and of both reference codes
EPSILON = 1e-12  # added to the norm


def sam(loss_fn: LossFn, *, rho: float = RHO, axis_name: AxisName = None) -> Objective:
    """Returns sharpness-aware minimisation on all attacks of the episode.

    Args:
      loss_fn: ``(trainable, batch, key) -> (loss, LossAux)``; both passes get the same
        key. The statistics of BatchNorm are those of the first pass.
      rho: radius of the ball, ≥ 0; at 0, the objective is ERM.
      axis_name: the pmap axis over which ĝ is averaged before its norm, so all devices
        share one ŵ.

    Returns:
      The objective; its value is L(ŵ), its aux's ``loss`` is L(φ) and ``penalty`` the
      difference, the sharpness.

    Raises:
      ValueError: rho is negative.
    """
    check(rho=rho)

    def objective(trainable, episode, key):
        batch = pooled(episode)
        loss, aux, gradient = first_pass(loss_fn, trainable, batch, key, axis_name)
        # ŵ = φ + ρ ĝ / ‖ĝ‖
        perturbed = shifted(trainable, rho / norm(gradient), gradient)
        value, _ = loss_fn(perturbed, batch, key)
        return value, Aux(loss, aux, penalty=value - loss)

    return stateless(objective)


def first_pass(
    loss_fn: LossFn, trainable, batch, key: jax.Array, axis_name: AxisName
) -> tuple:
    """Evaluates the loss and its gradient at φ, as constants.

    Args:
      loss_fn, axis_name: as for ``sam``.
      trainable: φ.
      batch, key: what the loss takes.

    Returns:
      ``(loss, aux, gradient)``; the gradient is averaged over devices.
    """
    evaluate = jax.value_and_grad(loss_fn, has_aux=True)
    (loss, aux), gradient = evaluate(trainable, batch, key)
    gradient = mean_over(axis_name, gradient)
    return jax.lax.stop_gradient((loss, aux, gradient))


def norm(gradient) -> jax.Array:
    """Computes ‖gradient‖₂ + 1e-12 over all leaves, as the reference codes do.

    Args:
      gradient: a tree.

    Returns:
      ().
    """
    return optax.tree.norm(gradient) + EPSILON


def shifted(trainable, step, direction):
    """Returns φ + step · direction, in which only φ is differentiated.

    Args:
      trainable: φ.
      step: ().
      direction: a tree like φ.

    Returns:
      A tree like φ.
    """
    return optax.tree.add(
        trainable, jax.lax.stop_gradient(optax.tree.scale(step, direction))
    )
