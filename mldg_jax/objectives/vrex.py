"""V-REx: equal risks in all domains (Krueger et al., ICML 2021, arXiv 2003.00688).

    objective = mean_d L_d + λ_t · mean_d (L_d − mean L)²

As in DomainBed (arXiv 2007.01434) the losses are averaged, where the paper adds them,
and λ_t is 1 in the first ``anneal_steps`` steps. DomainBed also makes Adam anew when
that ends; here the optimiser goes on.
"""

from mldg_jax.mldg import AxisName, LossFn
from mldg_jax.objectives.objective import Objective, penalised

WEIGHT, ANNEAL_STEPS = 10.0, 500  # of DomainBed


def vrex(
    loss_fn: LossFn,
    *,
    penalty_weight: float = WEIGHT,
    anneal_steps: int = ANNEAL_STEPS,
    axis_name: AxisName = None,
) -> Objective:
    """Returns V-REx on all attacks of the episode.

    Args:
      loss_fn: ``(trainable, batch, key) -> (loss, LossAux)``.
      penalty_weight: λ after ``anneal_steps``, ≥ 0; at 0 (and no annealing), the
        objective is ERM.
      anneal_steps: number of first steps with λ = 1, ≥ 0.
      axis_name: the pmap axis.

    Returns:
      The objective; its state is the number of steps made.

    Raises:
      ValueError: an option is negative.
    """
    return penalised(
        loss_fn,
        lambda aux: aux.by_domain.var(),
        penalty_weight=penalty_weight,
        anneal_steps=anneal_steps,
        axis_name=axis_name,
    )
