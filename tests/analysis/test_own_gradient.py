"""The gradient that a run's own objective follows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mldg_jax.analysis import gradients, losses, own_gradient, subjects
from mldg_jax.common.config import ObjectiveSection
from mldg_jax.training.build import objective_for
from mldg_jax.training.objective_section import OBJECTIVES
from tests import small

pytestmark = pytest.mark.usefixtures("float64")
KEY = jax.random.key(3)
ATTACKS, HELD_OUT = 3, [1]


@pytest.fixture(scope="module")
def examples(problem):
    names, batch, row = problem.examples
    batch = {name: x[:ATTACKS] for name, x in batch.items()}
    return subjects.Examples(names[:ATTACKS], batch, row[:ATTACKS])


@pytest.fixture(scope="module")
def by_attack(problem, examples):
    with jax.enable_x64(True):
        return gradients.per_attack(
            problem.loss, problem.trainable, examples.batch, examples.attacks
        )


@pytest.fixture
def measured(problem, examples, by_attack):
    """Returns ``(config, state, numbers) -> OwnGradient``."""
    loss = losses.for_objectives(problem.detector, problem.batch_stats, problem.frozen)

    def measure(config, state=None, numbers=range(ATTACKS)):
        objective = objective_for(config, problem.detector, num_domains=6)
        if state is None:
            state = objective(loss).init(problem.trainable)
        batch = {**examples.batch, "domain": np.array(numbers, np.int32)}
        episode = examples._replace(batch=batch).episode(HELD_OUT)
        return own_gradient.measure(
            objective, loss, problem.trainable, state, episode, by_attack, key=KEY
        )

    return measure


def config_of(name, *overrides):
    """Returns a config of an objective with its defaults, but for the inner rate."""
    inner = "0.1" if name in ("mldg", "mldg_gc", "mldg_gn") else "null"
    options = ("beta", "order", "inner_steps", "adapt")
    own = [f"objective.name={name}", f"objective.inner_lr={inner}"]
    own += [f"objective.{option}=null" for option in options]
    return small.config("model.lora.rank=2", "optimizer.warmup=0", *own, *overrides)


def test_that_of_erm_is_the_mean_of_the_attacks(measured, by_attack):
    found = measured(config_of("erm"))
    assert found.cosine == pytest.approx(1, abs=1e-12)
    assert found.norm[0] == pytest.approx(found.norm[1], rel=1e-10)
    assert found.loss == pytest.approx(by_attack.loss.mean(), rel=1e-12)
    assert np.isnan(found.penalty)
    mean = by_attack.matrix.mean(axis=0)
    norms = np.linalg.norm(by_attack.matrix, axis=1) * np.linalg.norm(mean)
    np.testing.assert_allclose(found.by_attack, by_attack.matrix @ mean / norms)


@pytest.mark.parametrize("name", sorted(set(OBJECTIVES) - {"erm"}))
def test_every_objective_has_one(measured, name):
    found = measured(config_of(name))
    assert np.isfinite([found.loss, *found.norm, *found.by_attack]).all()
    assert found.norm[0] > 0 and -1 <= found.cosine <= 1


def test_the_state_of_the_objective_counts(measured, by_attack):
    """Group DRO with all weight on one domain follows the gradient of that attack."""
    numbers = [3, 5, 0]
    weights = jnp.zeros(6).at[numbers[1]].set(1.0)  # of the attack in meta-test
    config = config_of("group_dro", "objective.eta=0")
    found = measured(config, weights, numbers)
    assert found.by_attack[1] == pytest.approx(1, abs=1e-12)
    assert found.loss == pytest.approx(by_attack.loss[1], rel=1e-12)


def test_the_penalty_grows_with_the_steps_made(measured):
    config = config_of("vrex", "objective.anneal_steps=5")
    before, after = (measured(config, jnp.array(count)) for count in (4, 5))
    assert before.penalty == after.penalty > 0
    assert before.cosine != pytest.approx(after.cosine, abs=1e-6)


def test_attacks_have_the_numbers_of_training():
    trained_on = {"spoof": {"C": 1, "-": 4, "A": 2, "B": 3}, "domains": 3}
    config = config_of("fishr")
    found, note = own_gradient.numbers(config, ("C", "A"), trained_on)
    np.testing.assert_array_equal(found, [2, 0])
    assert note == ""
    found, note = own_gradient.numbers(config, ("A", "X", "Y"), trained_on)
    assert found is None and note.endswith("and X, Y are not among them.")
    found, note = own_gradient.numbers(
        config_of("fishr", "episode.domains=speaker"), ("A",), trained_on
    )
    assert found is None and "fishr" in note and "not the attacks" in note
    found, note = own_gradient.numbers(config_of("vrex"), ("X", "A"), trained_on)
    np.testing.assert_array_equal(found, [0, 1])
    assert note == ""


@pytest.mark.parametrize(
    ("options", "alpha", "beta", "note"),
    [
        ({"name": "mldg", "inner_lr": 0.1, "beta": 0.5}, 0.1, 0.5, ""),
        ({"name": "mldg", "inner_lr": 0.0}, 0.01, 1, "changes nothing"),
        ({"name": "mldg", "inner_lr": 0.1, "inner_steps": 3}, 0.1, 1, "3 inner steps"),
        ({"name": "mldg", "inner_lr": 0.1, "adapt": "head"}, 0.1, 1, "the head alone"),
        ({"name": "mldg_gn", "inner_lr": 0.1, "beta": 0.5}, 0.1, 1, "instead of G"),
        ({"name": "domainbed", "beta": 0.5}, 0.01, 0.5, "of Adam"),
        ({"name": "fish"}, 0.01, 1, "no meta-test half"),
        ({"name": "sam"}, 0.01, 1, "sam has no inner step: "),
    ],
    ids=str,
)
def test_the_mldg_objective_of_a_run(options, alpha, beta, note):
    found = own_gradient.inner_step(ObjectiveSection(**options))
    assert (found.inner_lr, found.beta) == (alpha, beta)
    assert found.own == bool(options.get("inner_lr"))
    assert note in found.note and bool(note) == bool(found.note)
    assert not note or f"α = {alpha:g}, β = {beta:g}" in found.note
