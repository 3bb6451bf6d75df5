"""Fish: gradients that agree between domains (Shi et al., ICLR 2022, arXiv 2104.09937).

    φ̃ ← φ;   for each domain d:  φ̃ ← optimiser(φ̃, ∇L_d(φ̃));   φ ← φ + meta_lr · (φ̃ − φ)

An inner loop like MLDG's, one step a domain, without a meta-test (Reptile over
domains). The pseudo-gradient φ − φ̃ is the gradient of ⟨φ, stop_gradient(φ − φ̃)⟩, so
``jax.grad`` of the objective is the method, and the outer step is plain gradient
descent with the learning rate ``meta_lr``. As in DomainBed (arXiv 2007.01434), the
inner optimiser's state lives on from step to step although φ̃ starts from φ again.
"""

import jax
import jax.numpy as jnp
import optax

from mldg_jax.mldg import Aux, AxisName, LossFn
from mldg_jax.objectives.objective import Objective, mean_over, pooled

META_LR = 0.5  # of DomainBed


def fish(
    loss_fn: LossFn,
    *,
    inner_optimizer: optax.GradientTransformation,
    axis_name: AxisName = None,
) -> Objective:
    """Returns Fish on all attacks of the episode, in their order.

    Args:
      loss_fn: ``(trainable, batch, key) -> (loss, LossAux)``, called with batches of
        one domain.
      inner_optimizer: the optimiser of the inner steps.
      axis_name: the pmap axis over which the inner gradients are averaged.

    Returns:
      The objective. Its state is the inner optimiser's; its value has no meaning of its
      own, its aux's losses are those of each domain at the φ̃ of its turn, and the
      statistics of BatchNorm are the mean over the domains.
    """
    evaluate = jax.value_and_grad(loss_fn, has_aux=True)

    def apply(trainable, state, episode, key):
        batch = pooled(episode)
        count = len(jax.tree.leaves(batch)[0])
        adapted, auxes = trainable, []
        for d, one_key in enumerate(jax.random.split(key, count)):
            one = jax.tree.map(lambda x, d=d: x[d : d + 1], batch)
            (_, aux), gradient = evaluate(adapted, one, one_key)
            gradient = mean_over(axis_name, gradient)
            updates, state = inner_optimizer.update(gradient, state, adapted)
            adapted = optax.apply_updates(adapted, updates)
            auxes.append(aux)
        # ∇⟨φ, sg(φ − φ̃)⟩ = φ − φ̃
        direction = jax.lax.stop_gradient(optax.tree.sub(trainable, adapted))
        value = optax.tree.vdot(trainable, direction)
        aux = auxes[0]._replace(
            by_domain=jnp.concatenate([x.by_domain for x in auxes]),
            batch_stats=jax.tree.map(
                lambda *x: sum(x) / count, *(x.batch_stats for x in auxes)
            ),
        )
        aux = jax.lax.stop_gradient(
            aux._replace(features=None, logits=None, label=None)
        )
        state = jax.lax.stop_gradient(state)
        return value, (state, Aux(mean_over(axis_name, aux.by_domain).mean(), aux))

    return Objective(inner_optimizer.init, apply)
