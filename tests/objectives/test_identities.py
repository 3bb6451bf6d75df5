"""What every objective is when it is switched off, and that devices do not matter."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mldg_jax import mldg, objectives
from mldg_jax.objectives.coral import distance
from mldg_jax.objectives.mmd import discrepancy
from mldg_jax.objectives.objective import whole
from tests.objectives.oracle import KEY, NAMES, Case, close, make_loss

pytestmark = pytest.mark.usefixtures("float64")
LOSS = make_loss((6, 6, 6))
# each with the options at which it is ERM
NEUTRAL = {
    "sam": dict(rho=0.0),
    "sagm": dict(rho=0.0, alpha=0.0),
    "coral": dict(penalty_weight=0.0),
    "mmd": dict(penalty_weight=0.0),
    "vrex": dict(penalty_weight=0.0, anneal_steps=0),
    "irm": dict(penalty_weight=0.0, anneal_steps=0),
    "fishr": dict(penalty_weight=0.0, anneal_steps=0, num_domains=3, num_parameters=18),
    "group_dro": dict(eta=0.0, num_domains=3),
}
ACTIVE = {
    **{name: {} for name in ("sam", "sagm", "coral", "mmd", "mixup")},
    "vrex": dict(anneal_steps=0),
    "irm": dict(anneal_steps=0),
    "fishr": dict(anneal_steps=0, num_domains=3, num_parameters=18, ema=0.5),
    "group_dro": dict(eta=0.5, num_domains=3),
    "fish": dict(inner_optimizer=optax.adam(0.05)),
}


@pytest.fixture
def problem():
    case = Case("coral", "equal")
    batch = {k: v for k, v in case.batch(0).items() if k != "valid"}
    return case.tree("before"), {"meta_train": batch}


def gradient(objective, params, episode, key=KEY):
    state = objective.init(params)
    return jax.grad(objective.apply, has_aux=True)(params, state, episode, key)[0]


@pytest.mark.parametrize("name", NEUTRAL)
def test_switched_off_it_is_erm(problem, name):
    objective = getattr(objectives, name)(LOSS, **NEUTRAL[name])
    erm = objectives.stateless(mldg.erm(LOSS))
    close(gradient(objective, *problem), gradient(erm, *problem), 1e-15)


@pytest.mark.parametrize("name", ACTIVE)
def test_switched_on_it_is_not_erm(problem, name):
    objective = getattr(objectives, name)(LOSS, **ACTIVE[name])
    erm = gradient(objectives.stateless(mldg.erm(LOSS)), *problem)
    ours = gradient(objective, *problem)
    assert max(np.abs(ours[k] - erm[k]).max() for k in NAMES) > 1e-6


def test_fish_with_one_domain_and_one_step_is_gradient_descent(problem):
    params, episode = problem
    one = {"meta_train": jax.tree.map(lambda x: x[:1], episode["meta_train"])}
    fish = objectives.fish(LOSS, inner_optimizer=optax.sgd(0.1))
    erm = objectives.stateless(mldg.erm(LOSS))
    expected = jax.tree.map(lambda g: 0.1 * g, gradient(erm, params, one))
    close(gradient(fish, params, one), expected, 1e-14)


def test_sam_with_a_linear_loss_moves_nothing():
    """The gradient is the same everywhere, and so is that at ŵ."""

    def linear(params, batch, key):
        return (params * batch["waveform"]).sum(), objectives.LossAux(jnp.zeros(1), ())

    batch = {"waveform": jnp.arange(3.0), "label": jnp.zeros(1)}
    found = gradient(
        objectives.sam(linear, rho=0.3), jnp.ones(3), {"meta_train": batch}
    )
    close(found, jnp.arange(3.0))


def test_sharpness_is_what_a_step_of_rho_adds():
    """On a bowl ½‖w‖² the worst point of the ball is w (1 + ρ/‖w‖)."""

    def bowl(params, batch, key):
        loss = (params**2).sum() / 2
        return loss, objectives.LossAux(loss[None], ())

    w = jnp.array([3.0, 4.0])
    objective = objectives.sam(bowl, rho=0.5)
    (value, (_, aux)) = objective.apply(w, (), {"meta_train": {}}, KEY)
    close(value, 5.5**2 / 2)
    close(aux.penalty, (5.5**2 - 25) / 2)


@pytest.mark.parametrize("measure", [distance, discrepancy])
def test_equal_domains_are_at_no_distance(measure):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(8, 4)))
    assert abs(measure([x, x, x])) < 1e-13
    assert measure([x, x + 1]) > 0.1
    assert measure([x]) == 0


def test_group_dro_turns_to_the_worst_domain(problem):
    params, episode = problem
    objective = objectives.group_dro(LOSS, num_domains=3, eta=1.0)
    state = objective.init(params)
    for _ in range(100):
        _, (state, aux) = objective.apply(params, state, episode, KEY)
    worst = int(np.argmax(aux.train_aux.by_domain))
    assert state[worst] > 0.9 and state.sum() == pytest.approx(1)


def test_states_follow_the_domains_numbers(problem):
    """Episodes draw their domains in another order each step."""
    params, episode = problem
    order = jnp.array([2, 0, 1])
    moved = jax.tree.map(lambda x: x[order], episode["meta_train"])
    moved = {"meta_train": {**moved, "domain": order}}
    for name in ("group_dro", "fishr"):
        objective = getattr(objectives, name)(LOSS, **ACTIVE[name])
        (_, (here, _)), (_, (there, _)) = (
            objective.apply(params, objective.init(params), x, KEY)
            for x in (episode, moved)
        )
        close(here, there, 1e-14)


@pytest.mark.parametrize("name", ACTIVE)
def test_two_devices_have_the_gradient_of_one(problem, name):
    """The examples of a domain are dealt out; vmap's axis stands for the devices."""
    params, episode = problem
    dealt = jax.tree.map(
        lambda x: jnp.moveaxis(x.reshape(3, 3, 2, *x.shape[2:]), 2, 0), episode
    )
    alone = getattr(objectives, name)(LOSS, **ACTIVE[name])
    shared = getattr(objectives, name)(
        make_loss(()), axis_name="devices", **ACTIVE[name]
    )

    def on_device(params, episode):
        state = shared.init(params)
        found, (state, aux) = jax.grad(shared.apply, has_aux=True)(
            params, state, episode, KEY
        )
        return jax.lax.pmean(found, "devices"), state, aux.loss

    gradients, states, losses = jax.vmap(
        on_device, axis_name="devices", in_axes=(None, 0)
    )(params, dealt)
    first = jax.tree.map(lambda x: x[0], (gradients, states))
    expected, (state, aux) = jax.grad(alone.apply, has_aux=True)(
        params, alone.init(params), episode, KEY
    )
    close(first[0], expected, 1e-13)
    close(first[1], state, 1e-13)
    close(losses.mean(), aux.loss, 1e-13)


def test_examples_come_back_in_their_order():
    x = jnp.arange(24).reshape(2, 12)
    dealt = jnp.moveaxis(x.reshape(2, 6, 2), 2, 0)  # as loader.shard_episode
    found = jax.vmap(lambda y: whole("d", y), axis_name="d")(dealt)
    assert (found == x).all()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("sam", dict(rho=-1.0)),
        ("sagm", dict(alpha=float("nan"))),
        ("coral", dict(penalty_weight=float("inf"))),
        ("mmd", dict(penalty_weight=-1.0)),
        ("vrex", dict(anneal_steps=-1)),
        ("irm", dict(penalty_weight=-0.1)),
        ("group_dro", dict(num_domains=0)),
        ("group_dro", dict(num_domains=2, eta=-1.0)),
        ("fishr", dict(num_domains=2, num_parameters=3, ema=1.0)),
        ("mixup", dict(alpha=0.0)),
    ],
)
def test_options_out_of_range_are_refused(name, options):
    with pytest.raises(ValueError, match="must be"):
        getattr(objectives, name)(LOSS, **options)
