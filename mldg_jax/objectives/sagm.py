"""SAGM: sharpness-aware gradient matching (Wang et al., CVPR 2023, arXiv 2303.10353).

    ŵ = φ + (ρ / ‖g‖ − α) g,   g = ∇L(φ)        the method follows ½ (g + ∇L(ŵ))

The loss, the perturbed loss and their alignment are minimised together; α acts only in
the place where the second gradient is taken. As in the authors' code the sum of the two
gradients is halved; the paper adds the two losses.
"""

from mldg_jax.mldg import Aux, AxisName, LossFn
from mldg_jax.objectives.objective import Objective, check, pooled, stateless
from mldg_jax.objectives.sam import RHO, first_pass, norm, shifted

ALPHA = 0.001


def sagm(
    loss_fn: LossFn,
    *,
    rho: float = RHO,
    alpha: float = ALPHA,
    axis_name: AxisName = None,
) -> Objective:
    """Returns SAGM on all attacks of the episode.

    Args:
      loss_fn, rho, axis_name: as for ``sam``.
      alpha: step back along the gradient, ≥ 0; with ρ = α = 0 the objective is ERM.

    Returns:
      The objective; its value is ½ (L(φ) + L(ŵ)), its aux's ``penalty`` L(ŵ) − L(φ).

    Raises:
      ValueError: rho or alpha is negative.
    """
    check(rho=rho, alpha=alpha)

    def objective(trainable, episode, key):
        batch = pooled(episode)
        _, _, gradient = first_pass(loss_fn, trainable, batch, key, axis_name)
        # ŵ = φ + (ρ / ‖g‖ − α) g
        perturbed = shifted(trainable, rho / norm(gradient) - alpha, gradient)
        (loss, aux), (other, _) = (
            loss_fn(x, batch, key) for x in (trainable, perturbed)
        )
        return (loss + other) / 2, Aux(loss, aux, penalty=other - loss)

    return stateless(objective)
