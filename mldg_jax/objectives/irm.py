"""IRM: one classifier that is optimal in every domain (IRMv1, arXiv 1907.02893).

    objective = mean_d L_d + λ_t · mean_d g_d^even · g_d^odd
    g = d/dw CE(w · logits, y) at w = 1

over the examples 0, 2, 4, … and 1, 3, 5, … of a domain: an unbiased estimate of the
squared gradient, which can be negative. As in DomainBed (arXiv 2007.01434), λ_t is 1 in
the first ``anneal_steps`` steps. DomainBed also makes Adam anew when that ends; here
the optimiser goes on. A domain of an episode has its spoofs first, then as many bona
fide utterances, so both halves hold both classes.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from mldg_jax.mldg import AxisName, LossFn
from mldg_jax.objectives.objective import Objective, cross_entropies, penalised

WEIGHT, ANNEAL_STEPS = 100.0, 500  # of DomainBed


def irm(
    loss_fn: LossFn,
    *,
    penalty_weight: float = WEIGHT,
    anneal_steps: int = ANNEAL_STEPS,
    axis_name: AxisName = None,
) -> Objective:
    """Returns IRM on all attacks of the episode.

    Args:
      loss_fn: ``(trainable, batch, key) -> (loss, LossAux)``, with logits and labels of
        at least two examples a domain.
      penalty_weight, anneal_steps, axis_name: as for ``vrex``.

    Returns:
      The objective; its state is the number of steps made.

    Raises:
      ValueError: an option is negative.
    """
    return penalised(
        loss_fn,
        lambda aux: invariance(aux.logits, aux.label).mean(),
        penalty_weight=penalty_weight,
        anneal_steps=anneal_steps,
        axis_name=axis_name,
    )


def invariance(logits: Sequence[jax.Array], label: Sequence[jax.Array]) -> jax.Array:
    """Computes g_d^even · g_d^odd for every domain.

    Args:
      logits: for each domain (examples, classes).
      label: for each domain (examples,) int.

    Returns:
      (D,).
    """

    def slope(logits, label):
        def loss(w):
            (entropy,) = cross_entropies([w * logits], [label])
            return entropy.mean()

        return jax.grad(loss)(jnp.ones((), logits.dtype))

    return jnp.stack(
        [
            slope(x[::2], y[::2]) * slope(x[1::2], y[1::2])
            for x, y in zip(logits, label, strict=True)
        ]
    )
