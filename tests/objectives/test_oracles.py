"""Every objective against its reference code, step by step, in float64.

The files and the traps in them are described in ../shared/oracles/objectives.md.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mldg_jax import objectives
from mldg_jax.objectives.fishr import example_gradients, variances
from mldg_jax.objectives.irm import invariance
from mldg_jax.objectives.mixup import mixed_losses
from tests.objectives.oracle import DOMAINS, KEY, NAMES, Case, close, make_loss

pytestmark = pytest.mark.usefixtures("float64")
CASES = pytest.mark.parametrize("case", ["equal", "ragged"])


def follow(case: Case, objective: objectives.Objective, *, value=True, restart=None):
    """Takes all steps and compares gradients, parameters and Adam's moments.

    Args:
      case: the reference's results.
      objective: ours.
      value: whether the objective's value was recorded.
      restart: the step at which the reference makes Adam anew.

    Yields:
      ``(step, state, aux, value and gradient function)`` after each step.
    """
    params, optimizer = case.tree("before"), case.optimizer()
    state, adam = objective.init(params), optimizer.init(params)
    for t in range(case.steps):
        evaluate = jax.value_and_grad(objective.apply, has_aux=True)
        episode = {"meta_train": case.batch(t)}
        (found, (state, aux)), gradient = evaluate(params, state, episode, KEY)
        if value:
            close(found, case.get(f"step{t}/objective"))
        close(gradient, case.tree(f"step{t}/grad"))
        if t == restart:
            adam = optimizer.init(params)
        updates, adam = optimizer.update(gradient, adam, params)
        params = optax.apply_updates(params, updates)
        close(params, case.tree(f"step{t}/after"))
        moments = adam[1][0]
        close(moments.mu, case.tree(f"step{t}/adam/exp_avg"))
        close(moments.nu, case.tree(f"step{t}/adam/exp_avg_sq"))
        yield t, state, aux


@CASES
@pytest.mark.parametrize("name", ["coral", "mmd"])
def test_coral_and_mmd(name, case):
    case = Case(name, case)
    objective = getattr(objectives, name)(
        make_loss(case.sizes), penalty_weight=case.hparam("mmd_gamma")
    )
    for t, _, aux in follow(case, objective):
        close(aux.penalty, case.get(f"step{t}/penalty"))
        close(aux.train_aux.by_domain, case.get(f"step{t}/domain_loss"))


@CASES
def test_group_dro(case):
    case = Case("groupdro", case)
    objective = objectives.group_dro(
        make_loss(case.sizes), num_domains=DOMAINS, eta=case.hparam("groupdro_eta")
    )
    for t, q, aux in follow(case, objective):
        close(q, case.get(f"step{t}/q"))
        close(aux.train_aux.by_domain, case.get(f"step{t}/domain_loss"))


@CASES
def test_vrex(case):
    case = Case("vrex", case)
    anneal = int(case.hparam("vrex_penalty_anneal_iters"))
    objective = objectives.vrex(
        make_loss(case.sizes),
        penalty_weight=case.hparam("vrex_lambda"),
        anneal_steps=anneal,
    )
    for t, count, aux in follow(case, objective, restart=anneal):
        close(aux.penalty, case.get(f"step{t}/penalty"))
        assert count == case.get(f"step{t}/update_count")


@CASES
def test_irm(case):
    case = Case("irm", case)
    anneal = int(case.hparam("irm_penalty_anneal_iters"))
    objective = objectives.irm(
        make_loss(case.sizes),
        penalty_weight=case.hparam("irm_lambda"),
        anneal_steps=anneal,
    )
    for t, count, aux in follow(case, objective, restart=anneal):
        close(aux.penalty, case.get(f"step{t}/penalty"))
        found = invariance(aux.train_aux.logits, aux.train_aux.label)
        close(found, case.get(f"step{t}/domain_penalty"))
        assert count == case.get(f"step{t}/update_count")


@CASES
def test_fishr(case):
    case = Case("fishr", case)
    anneal = int(case.hparam("penalty_anneal_iters"))
    width = sum(case.get(f"before/{name}").size for name in NAMES[2:])
    options = dict(
        num_domains=DOMAINS, num_parameters=width, ema=case.hparam("ema"),
        penalty_weight=case.hparam("lambda"), anneal_steps=anneal,
    )  # fmt: skip
    objective = objectives.fishr(make_loss(case.sizes), **options)

    def both(t, name):  # weights, then biases
        return np.concatenate(
            [case.get(f"step{t}/{name}/{part}") for part in NAMES[2:]], axis=1
        )

    for t, (count, average), aux in follow(case, objective, restart=anneal):
        close(average, both(t, "ema"))
        close(aux.penalty, case.get(f"step{t}/penalty"))
        seen = aux.train_aux
        close(variances(seen.features, seen.logits, seen.label), both(t, "variance"))
        each = [
            example_gradients(*x)
            for x in zip(seen.features, seen.logits, seen.label, strict=True)
        ]
        close(jnp.concatenate(each), both(t, "per_sample_grad"))
        assert count == case.get(f"step{t}/update_count")


@CASES
def test_fish(case):
    """Its pseudo-gradient is θ − θ̃, and the outer step descends along it."""
    case = Case("fish", case)
    objective = objectives.fish(make_loss(case.sizes), inner_optimizer=case.optimizer())
    params = case.tree("before")
    state = objective.init(params)
    for t in range(case.steps):
        episode = {"meta_train": case.batch(t)}
        gradient, (state, aux) = jax.grad(objective.apply, has_aux=True)(
            params, state, episode, KEY
        )
        inner = case.tree(f"step{t}/inner{DOMAINS - 1}/after")
        close(jax.tree.map(lambda a, g: a - g, params, gradient), inner)
        params = jax.tree.map(
            lambda a, g: a - case.hparam("meta_lr") * g, params, gradient
        )
        close(params, case.tree(f"step{t}/after"))
        close(aux.train_aux.by_domain, case.get(f"step{t}/domain_loss"))
        assert state[1][0].count == DOMAINS * (t + 1)
        close(state[1][0].mu, case.tree(f"step{t}/adam/exp_avg"))


@CASES
def test_mixup(case):
    """With the order and the shares that were drawn there."""
    case = Case("mixup", case)
    params, optimizer = case.tree("before"), case.optimizer()
    adam = optimizer.init(params)
    for t in range(case.steps):
        order, share = case.get(f"step{t}/permutation"), case.get(f"step{t}/lam")

        def objective(params, t=t, order=order, share=share):
            losses = []
            for i in range(DOMAINS):
                names = order[i], order[(i + 1) % DOMAINS]
                size = min(case.sizes[d] for d in names)
                first, second = (
                    {
                        "waveform": jnp.asarray(case.get(f"step{t}/x{d}")[None, :size]),
                        "label": jnp.asarray(case.get(f"step{t}/y{d}")[None, :size]),
                    }
                    for d in names
                )
                loss, _ = mixed_losses(
                    make_loss((size,)), params, first, second, share[i : i + 1], KEY
                )
                losses.append(loss[0])
            return sum(losses) / DOMAINS

        value, gradient = jax.value_and_grad(objective)(params)
        close(value, case.get(f"step{t}/objective"))
        close(gradient, case.tree(f"step{t}/grad"))
        updates, adam = optimizer.update(gradient, adam, params)
        params = optax.apply_updates(params, updates)
        close(params, case.tree(f"step{t}/after"))


BATCHNORM = ("0.weight", "1.weight", "1.bias", "3.weight", "3.bias")
STATISTICS = ("1.running_mean", "1.running_var")


def batchnorm_loss(buffers: dict, case: Case):
    """Linear → BatchNorm → tanh → Linear; the aux's statistics are after the batch."""
    momentum, epsilon = case.hparam("bn_momentum"), case.hparam("bn_eps")

    def loss_fn(params, batch, key):
        del key
        x, label = batch["waveform"].reshape(-1, 6), batch["label"].ravel()
        hidden = x @ params["0.weight"].T
        mean, variance = hidden.mean(0), hidden.var(0)
        normal = (hidden - mean) / jnp.sqrt(variance + epsilon)
        hidden = jnp.tanh(normal * params["1.weight"] + params["1.bias"])
        logits = hidden @ params["3.weight"].T + params["3.bias"]
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, label).mean()
        unbiased = variance * len(x) / (len(x) - 1)
        batch_stats = {
            name: (1 - momentum) * buffers[name] + momentum * new
            for name, new in zip(STATISTICS, (mean, unbiased), strict=True)
        }
        return loss, objectives.LossAux(loss[None], batch_stats)

    return loss_fn


def weighted_loss(weights):
    """Cross-entropy whose classes count differently, divided by the weights' sum."""

    def loss_fn(params, batch, key):
        _, aux = make_loss(())(params, batch, key)
        each = optax.softmax_cross_entropy_with_integer_labels(
            aux.logits, batch["label"]
        )
        weight = weights[batch["label"]] * batch["valid"]
        return (each * weight).sum() / weight.sum(), aux

    return loss_fn


def base_optimizer(case: Case, name: str) -> optax.GradientTransformation:
    if name.startswith("adam"):
        return case.optimizer()
    decay = case.hparam("weight_decay") if name == "sgd_momentum" else 0.0
    momentum = case.hparam("momentum") if name == "sgd_momentum" else None
    return optax.chain(
        optax.add_decayed_weights(decay), optax.sgd(case.hparam("lr"), momentum)
    )


@pytest.mark.parametrize(
    "name", ["sgd", "sgd_momentum", "adam", "adam_weighted", "adam_batchnorm"]
)
def test_sam(name):
    case = Case("sam", name)
    names = BATCHNORM if name == "adam_batchnorm" else NAMES
    params, optimizer = case.tree("before", names), base_optimizer(case, name)
    state, buffers = optimizer.init(params), {}
    loss_fn = make_loss(case.sizes, reduce="examples")
    if name == "adam_weighted":
        loss_fn = weighted_loss(jnp.asarray(case.get("hparams/class_weight")))
    if name == "adam_batchnorm":
        buffers = case.tree("before/buffers", STATISTICS)
    for t in range(case.steps):
        if buffers:
            loss_fn = batchnorm_loss(buffers, case)
        objective = objectives.sam(loss_fn, rho=case.hparam("rho"))
        evaluate = jax.value_and_grad(objective.apply, has_aux=True)
        episode = {"meta_train": case.batch(t)}
        (value, (_, aux)), gradient = evaluate(params, (), episode, KEY)
        close(aux.loss, case.get(f"step{t}/loss"))
        close(value, case.get(f"step{t}/perturbed_loss"))
        close(gradient, case.tree(f"step{t}/perturbed_grad", names))
        if buffers:  # of the first pass alone
            buffers = aux.train_aux.batch_stats
            close(buffers, case.tree(f"step{t}/buffers_second", STATISTICS))
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        close(params, case.tree(f"step{t}/after", names))


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_sagm(name):
    case = Case("sagm", name)
    objective = objectives.sagm(
        make_loss(case.sizes, reduce="examples"),
        rho=case.hparam("rho"),
        alpha=case.hparam("alpha"),
    )
    params = case.tree("before")
    optimizer = case.optimizer() if name == "adam" else optax.sgd(case.hparam("lr"))
    state = optimizer.init(params)
    for t in range(case.steps):
        evaluate = jax.value_and_grad(objective.apply, has_aux=True)
        episode = {"meta_train": case.batch(t)}
        (_, (_, aux)), gradient = evaluate(params, (), episode, KEY)
        close(aux.loss, case.get(f"step{t}/loss"))
        close(gradient, case.tree(f"step{t}/update_grad"))
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        # there the parameters are restored by a subtraction
        close(params, case.tree(f"step{t}/after"))
