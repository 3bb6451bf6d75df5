"""CORAL: features whose mean and covariance are those of every domain.

Sun and Saenko, "Deep CORAL", ECCV 2016 workshops (arXiv 1607.01719), in the form of
DomainBed (arXiv 2007.01434):

    objective = mean_d L_d + weight · 2/(D(D−1)) · Σ_{i<j} P_ij
    P_ij = ‖μ_i − μ_j‖² / F + ‖C_i − C_j‖² / F²

with the means μ_d (F,) and covariances C_d (F, F) of the features of domain d. The
paper's distance is ‖C_i − C_j‖² / (4 F²): without the means, and a quarter.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from mldg_jax.mldg import AxisName, LossFn
from mldg_jax.objectives.objective import Objective, penalised

WEIGHT = 1.0


def coral(
    loss_fn: LossFn, *, penalty_weight: float = WEIGHT, axis_name: AxisName = None
) -> Objective:
    """Returns CORAL on all attacks of the episode.

    Args:
      loss_fn: ``(trainable, batch, key) -> (loss, LossAux)``, with features.
      penalty_weight: weight of the penalty, ≥ 0; at 0, the objective is ERM.
      axis_name: the pmap axis.

    Returns:
      The objective.

    Raises:
      ValueError: the weight is negative.
    """
    return penalised(
        loss_fn,
        lambda aux: distance(aux.features),
        penalty_weight=penalty_weight,
        axis_name=axis_name,
    )


def distance(features: Sequence[jax.Array]) -> jax.Array:
    """Computes the mean of P_ij over all pairs of domains.

    Args:
      features: for each domain (examples, F), at least two examples.

    Returns:
      (), 0 for a single domain.
    """
    means = jnp.stack([x.mean(axis=0) for x in features])  # (D, F)
    centred = [x - mean for x, mean in zip(features, means, strict=True)]
    covariances = jnp.stack([x.T @ x / (len(x) - 1) for x in centred])  # (D, F, F)
    domains, width = means.shape
    if domains == 1:
        return jnp.zeros(())
    # Σ_{i<j} ‖x_i − x_j‖² = D Σ_i ‖x_i − mean‖²
    spread = ((means - means.mean(0)) ** 2).sum() / width
    spread += ((covariances - covariances.mean(0)) ** 2).sum() / width**2
    return 2 / (domains - 1) * spread
