"""Inter-domain mixup (arXiv 1710.09412, 2001.00677), in the form of DomainBed.

    pair i = (π_i, π_{i+1 mod D}),  λ_i ~ Beta(α, α),  x = λ_i x_a + (1 − λ_i) x_b
    objective = 1/D Σ_i [λ_i CE(x, y_a) + (1 − λ_i) CE(x, y_b)]

with a random order π of the domains, and one λ a pair, not an example. Waveforms are
mixed, so x is the sum of two recordings.
"""

import jax
import jax.numpy as jnp

from mldg_jax.mldg import Aux, AxisName, Batch, LossFn
from mldg_jax.objectives.objective import (
    Objective,
    check,
    cross_entropies,
    mean_over,
    pooled,
    stateless,
)

ALPHA = 0.2  # of DomainBed
MIXED = ("waveform", "prefix")


def mixup(
    loss_fn: LossFn, *, alpha: float = ALPHA, axis_name: AxisName = None
) -> Objective:
    """Returns inter-domain mixup on all attacks of the episode.

    Args:
      loss_fn: ``(trainable, batch, key) -> (loss, LossAux)``, with logits.
      alpha: of the Beta distribution of λ, > 0.
      axis_name: the pmap axis; the devices draw the same π and λ.

    Returns:
      The objective; a domain's loss in its aux is that of the pair that it begins.

    Raises:
      ValueError: alpha is not positive.
    """
    check(alpha=alpha)
    if not alpha:
        raise ValueError("alpha is 0; it must be above 0")

    def objective(trainable, episode, key):
        batch = pooled(episode)
        count = len(batch["label"])
        order_key, mix_key, key = jax.random.split(key, 3)
        order = jax.random.permutation(order_key, count)
        share = jax.random.beta(mix_key, alpha, alpha, (count,))
        first = jax.tree.map(lambda x: x[order], batch)
        second = jax.tree.map(lambda x: jnp.roll(x[order], -1, axis=0), batch)
        by_pair, aux = mixed_losses(loss_fn, trainable, first, second, share, key)
        by_domain = jnp.zeros_like(by_pair).at[order].set(by_pair)
        loss = mean_over(axis_name, by_domain).mean()
        return loss, Aux(loss, aux._replace(by_domain=by_domain))

    return stateless(objective)


def mixed_losses(
    loss_fn: LossFn, trainable, first: Batch, second: Batch, share, key: jax.Array
) -> tuple:
    """Computes the loss of pairs of domains, mixed.

    Args:
      loss_fn: as for ``mixup``.
      trainable: φ.
      first, second: batches of D domains, ``a`` and ``b`` of every pair.
      share: (D,) λ.
      key: of the loss.

    Returns:
      ``(losses, aux)``: (D,) λ CE(x, y_a) + (1 − λ) CE(x, y_b), and the loss's aux.
    """

    def mix(x, y):
        weight = share.reshape(-1, *[1] * (x.ndim - 1)).astype(x.dtype)
        return weight * x + (1 - weight) * y

    mixed = {
        name: mix(x, second[name]) if name in MIXED else x for name, x in first.items()
    }
    _, aux = loss_fn(trainable, mixed, key)
    other = jnp.stack([x.mean() for x in cross_entropies(aux.logits, second["label"])])
    return share * aux.by_domain + (1 - share) * other, aux
