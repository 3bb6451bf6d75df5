"""Group DRO: the worst domain counts most (Sagawa et al., ICLR 2020, arXiv 1911.08731).

    q_d ← q_d · exp(η · L_d), normalised        objective = Σ_d q_d L_d

with the weights already updated by this step's losses, as constants. As in DomainBed
(arXiv 2007.01434) all domains of an episode are updated; the paper's algorithm draws
one. If an episode has only some of the domains, their weights are normalised among
themselves.
"""

import jax
import jax.numpy as jnp

from mldg_jax.mldg import Aux, AxisName, LossFn
from mldg_jax.objectives.objective import (
    Objective,
    check,
    domain_numbers,
    of_all_devices,
    pooled,
)

ETA = 0.01  # of DomainBed


def group_dro(
    loss_fn: LossFn,
    *,
    num_domains: int,
    eta: float = ETA,
    axis_name: AxisName = None,
) -> Objective:
    """Returns group DRO on all attacks of the episode.

    Args:
      loss_fn: ``(trainable, batch, key) -> (loss, LossAux)``.
      num_domains: number of domains in training, ≥ 1.
      eta: step size of the weights, ≥ 0; at 0, the objective is ERM.
      axis_name: the pmap axis.

    Returns:
      The objective; its state is q, (num_domains,), which sums to 1.

    Raises:
      ValueError: eta is negative or num_domains is below 1.
    """
    check(eta=eta)
    if num_domains < 1:
        raise ValueError(f"num_domains is {num_domains}; it must be at least 1")

    def init(trainable):
        dtype = jnp.result_type(*jax.tree.leaves(trainable))
        return jnp.full(num_domains, 1 / num_domains, dtype)

    def apply(trainable, q, episode, key):
        batch = pooled(episode)
        _, aux = loss_fn(trainable, batch, key)
        aux = of_all_devices(axis_name, aux)
        losses, here = aux.by_domain, domain_numbers(batch, len(aux.by_domain))
        # q ← q · exp(η L), normalised
        q = q.at[here].multiply(jnp.exp(eta * jax.lax.stop_gradient(losses)))
        q = q / q.sum()
        weights = q[here] / q[here].sum()
        value = (weights * losses).sum()
        return value, (q, Aux(value, aux, penalty=value - losses.mean()))

    return Objective(init, apply)
