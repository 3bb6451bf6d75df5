"""MMD: features with the same distribution in every domain.

Li et al., "Domain generalization with adversarial feature learning", CVPR 2018, in the
form of DomainBed (arXiv 2007.01434), without the adversary:

    objective = mean_d L_d + weight · 2/(D(D−1)) · Σ_{i<j} P_ij
    P_ij = E k(i, i) + E k(j, j) − 2 E k(i, j),   k(x, y) = Σ_γ exp(−γ ‖x − y‖²)

with γ = 10⁻³ … 10³; E is the mean over pairs of examples, equal ones included.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from mldg_jax.mldg import AxisName, LossFn
from mldg_jax.objectives.objective import Objective, penalised

WEIGHT = 1.0
GAMMAS = (1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3)
_LEAST = 1e-30  # squared distances are at least this


def mmd(
    loss_fn: LossFn, *, penalty_weight: float = WEIGHT, axis_name: AxisName = None
) -> Objective:
    """Returns MMD on all attacks of the episode.

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
        lambda aux: discrepancy(aux.features),
        penalty_weight=penalty_weight,
        axis_name=axis_name,
    )


def discrepancy(features: Sequence[jax.Array]) -> jax.Array:
    """Computes the mean of P_ij over all pairs of domains.

    Args:
      features: for each domain (examples, F).

    Returns:
      (), 0 for a single domain.
    """
    domains, sizes = len(features), [len(x) for x in features]
    if domains == 1:
        return jnp.zeros(())
    x = jnp.concatenate(list(features))  # (N, F)
    squares = (x**2).sum(axis=1)
    apart = squares[:, None] + squares[None] - 2 * x @ x.T
    apart = jnp.maximum(apart, _LEAST)
    kernel = sum(jnp.exp(-gamma * apart) for gamma in GAMMAS)  # (N, N)
    owner = np.repeat(np.arange(domains), sizes)
    share = (owner[:, None] == np.arange(domains)) / np.array(sizes)  # (N, D)
    means = share.T @ kernel @ share  # (D, D), E k(i, j)
    # Σ_{i<j} (E_ii + E_jj − 2 E_ij) = D Σ_i E_ii − Σ_ij E_ij
    total = domains * jnp.trace(means) - means.sum()
    return 2 / (domains * (domains - 1)) * total
