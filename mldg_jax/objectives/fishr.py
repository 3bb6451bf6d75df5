"""Fishr: equal variances of gradients (Rame et al., ICML 2022, arXiv 2109.02934).

    v_d = variance over the examples of domain d of ∂ℓ/∂(last linear layer)
    m_d ← ema · m_d + (1 − ema) · v_d,     s_d = m_d / (1 − ema)
    objective = CE over all examples + λ_t · mean_d mean_p (s_dp − mean_d s_dp)²

p runs over the weights and biases of the layer together. Only the current v_d carries
gradient, into the features as well as into the layer. s is not a normalised average, it
grows towards v / (1 − ema): so in the authors' code and in DomainBed (arXiv
2007.01434), as is λ_t = 0 in the first ``anneal_steps`` steps. DomainBed also makes
Adam anew when they end; here the optimiser goes on.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from mldg_jax.mldg import Aux, AxisName, LossFn
from mldg_jax.objectives.objective import (
    Objective,
    annealed,
    check,
    cross_entropies,
    domain_numbers,
    of_all_devices,
    pooled,
)

WEIGHT, ANNEAL_STEPS, EMA = 1_000.0, 1_500, 0.95  # of DomainBed


def fishr(
    loss_fn: LossFn,
    *,
    num_domains: int,
    num_parameters: int,
    penalty_weight: float = WEIGHT,
    anneal_steps: int = ANNEAL_STEPS,
    ema: float = EMA,
    axis_name: AxisName = None,
) -> Objective:
    """Returns Fishr on all attacks of the episode.

    Args:
      loss_fn: ``(trainable, batch, key) -> (loss, LossAux)``, with features, logits and
        labels.
      num_domains: number of domains in training, ≥ 1.
      num_parameters: P, weights and biases of the last linear layer.
      penalty_weight: λ after ``anneal_steps``, ≥ 0; at 0, the objective is ERM.
      anneal_steps: number of first steps with λ = 0, ≥ 0.
      ema: decay of the variances' average, in [0, 1).
      axis_name: the pmap axis.

    Returns:
      The objective; its state is ``(number of steps made, m (num_domains, P))``.

    Raises:
      ValueError: an option is out of range.
    """
    check(penalty_weight=penalty_weight, anneal_steps=anneal_steps, ema=ema)
    if ema >= 1:
        raise ValueError(f"ema is {ema}; it must be below 1")

    def init(trainable):
        dtype = jnp.result_type(*jax.tree.leaves(trainable))
        average = jnp.zeros((num_domains, num_parameters), dtype)
        return jnp.zeros((), jnp.int32), average

    def apply(trainable, state, episode, key):
        count, average = state
        batch = pooled(episode)
        _, aux = loss_fn(trainable, batch, key)
        aux = of_all_devices(axis_name, aux)
        sizes = jnp.array([len(x) for x in aux.label])
        loss = (sizes * aux.by_domain).sum() / sizes.sum()  # of all examples

        here = domain_numbers(batch, len(aux.by_domain))
        variance = variances(aux.features, aux.logits, aux.label)  # (D, P)
        current = ema * average[here] + (1 - ema) * variance
        scaled = current / (1 - ema)
        penalty = ((scaled - scaled.mean(0)) ** 2).mean()
        value = loss + annealed(count, anneal_steps, penalty_weight, 0.0) * penalty
        average = average.at[here].set(jax.lax.stop_gradient(current))
        return value, ((count + 1, average), Aux(value, aux, penalty=penalty))

    return Objective(init, apply)


def variances(
    features: Sequence[jax.Array],
    logits: Sequence[jax.Array],
    label: Sequence[jax.Array],
) -> jax.Array:
    """Computes the variance of the last layer's gradients in every domain.

    Args:
      features: for each domain (examples, F), the layer's input.
      logits: for each domain (examples, classes), its output.
      label: for each domain (examples,) int.

    Returns:
      (D, classes · F + classes): of the weights (torch's (out, in), flattened), then of
      the biases.
    """
    return jnp.stack(
        [
            example_gradients(x, z, y).var(axis=0)
            for x, z, y in zip(features, logits, label, strict=True)
        ]
    )


def example_gradients(
    features: jax.Array, logits: jax.Array, label: jax.Array
) -> jax.Array:
    """Computes the gradient of each example's loss by the last linear layer.

    Args:
      features: (examples, F).
      logits: (examples, classes).
      label: (examples,) int.

    Returns:
      (examples, classes · F + classes).
    """

    def gradient(x, z, y):
        def loss(weights, bias):  # how the layer's parameters differ from its own
            (entropy,) = cross_entropies([z + weights @ x + bias], [y])
            return entropy

        zeros = jnp.zeros((len(z), len(x)), z.dtype), jnp.zeros_like(z)
        weights, bias = jax.grad(loss, argnums=(0, 1))(*zeros)
        return jnp.concatenate([weights.ravel(), bias])

    return jax.vmap(gradient)(features, logits, label)
