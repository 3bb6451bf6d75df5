"""The meta-objectives against the MLDG authors' code and their own identities."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mldg_jax import mldg

GOLDEN = Path(__file__).parent / "golden" / "mldg_li2018.npz"
KEY = jax.random.key(0)
pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture
def oracle():
    return np.load(GOLDEN)


def parameters(oracle):
    return {k: jnp.asarray(oracle[k]) for k in ("W1", "b1", "W2", "b2")}


def summed_loss(params, batch, key):
    """Cross-entropy of the oracle's 5 → 8 → 2 tanh net, summed over domains."""
    del key

    def one(x, y):
        hidden = jnp.tanh(x @ params["W1"].T + params["b1"])
        log_p = jax.nn.log_softmax(hidden @ params["W2"].T + params["b2"])
        return -jnp.mean(jnp.take_along_axis(log_p, y[:, None], 1))

    return jnp.sum(jax.vmap(one)(batch["x"], batch["y"])), {}


def episode(oracle):
    def stack(*domains):
        return {
            "x": jnp.stack([jnp.asarray(oracle[f"x{d}"]) for d in domains]),
            "y": jnp.stack([jnp.asarray(oracle[f"y{d}"]) for d in domains]),
        }

    return {"meta_train": stack(0, 1, 2), "meta_test": stack(3)}


def value_and_grad(objective, oracle):
    params = parameters(oracle)
    return jax.value_and_grad(objective, has_aux=True)(params, episode(oracle), KEY)


@pytest.mark.parametrize("order", ["first", "second"])
def test_equals_the_authors_code(oracle, order):
    objective = mldg.mldg(
        summed_loss,
        inner_lr=float(oracle["inner_lr"]),
        beta=float(oracle["beta"]),
        order=order,
    )
    (_, aux), gradient = value_and_grad(objective, oracle)
    for name in ("meta_train_loss", "meta_test_loss"):
        assert getattr(aux, name) == pytest.approx(
            oracle[f"{order}_order/{name}"], abs=1e-12
        )
    for name, value in gradient.items():
        expected = oracle[f"{order}_order/grad_{name}"]
        np.testing.assert_allclose(value, expected, rtol=0, atol=1e-12)


def test_orders_differ(oracle):
    """Otherwise the test above could pass with one of them broken."""
    first, second = (oracle[f"{o}_order/grad_W1"] for o in ("first", "second"))
    assert np.abs(first - second).max() > 1e-4


def test_first_order_is_second_order_with_a_constant_inner_gradient(oracle):
    """d/dφ [F(φ) + β G(φ − α c)] at c = ∇F(φ)."""
    params, halves = parameters(oracle), episode(oracle)
    constant = jax.grad(lambda p: summed_loss(p, halves["meta_train"], KEY)[0])(params)

    def written_out(p):
        adapted = jax.tree.map(lambda x, g: x - 0.3 * g, p, constant)
        f, g = (
            summed_loss(p, halves["meta_train"], KEY)[0],
            summed_loss(adapted, halves["meta_test"], KEY)[0],
        )
        return f + 0.7 * g

    objective = mldg.mldg(summed_loss, inner_lr=0.3, beta=0.7, order="first")
    _, gradient = value_and_grad(objective, oracle)
    expected = jax.grad(written_out)(params)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, atol=1e-14), gradient, expected
    )


def test_beta_zero_is_erm_on_meta_train(oracle):
    objective = mldg.mldg(summed_loss, inner_lr=0.3, beta=0.0, order="second")
    (value, _), gradient = value_and_grad(objective, oracle)
    only = {"meta_train": episode(oracle)["meta_train"]}
    (expected, _), expected_gradient = jax.value_and_grad(
        mldg.erm(summed_loss), has_aux=True
    )(parameters(oracle), only, KEY)
    assert value == expected
    jax.tree.map(np.testing.assert_array_equal, gradient, expected_gradient)


def test_inner_lr_zero_is_both_losses_at_the_same_parameters(oracle):
    objective = mldg.mldg(summed_loss, inner_lr=0.0, beta=1.0, order="second")
    (value, _), gradient = value_and_grad(objective, oracle)
    (pooled, _), expected = value_and_grad(mldg.erm(summed_loss), oracle)
    # the loss is a sum over domains
    assert value == pytest.approx(float(pooled), abs=1e-14)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, atol=1e-14), gradient, expected
    )


def test_second_order_gradient_agrees_with_finite_differences(oracle):
    objective = mldg.mldg(summed_loss, inner_lr=0.3, beta=0.7, order="second")
    _, gradient = value_and_grad(objective, oracle)
    agrees_with_finite_differences(objective, gradient, oracle)


def test_taylor_remainder_shrinks_with_the_square_of_inner_lr(oracle):
    """G(φ') = G(φ) − α F'·G' + O(α²)."""
    params, halves = parameters(oracle), episode(oracle)
    f_grad = jax.grad(lambda p: summed_loss(p, halves["meta_train"], KEY)[0])(params)
    g, g_grad = jax.value_and_grad(
        lambda p: summed_loss(p, halves["meta_test"], KEY)[0]
    )(params)
    inner = sum(jax.tree.leaves(jax.tree.map(jnp.vdot, f_grad, g_grad)))
    rates = np.array([1e-2, 1e-3])
    remainders = []
    for rate in rates:
        objective = mldg.mldg(summed_loss, inner_lr=rate)
        (_, aux), _ = value_and_grad(objective, oracle)
        remainders.append(abs(aux.meta_test_loss - (g - rate * inner)))
    slope = np.diff(np.log(remainders)) / np.diff(np.log(rates))
    assert slope == pytest.approx(2.0, abs=0.05)


def test_gradient_cosine_is_that_of_two_separate_gradients(oracle):
    objective = mldg.mldg(summed_loss, inner_lr=0.3, beta=0.7)
    (_, aux), gradient = value_and_grad(objective, oracle)
    params, halves = parameters(oracle), episode(oracle)
    f_grad = jax.grad(lambda p: summed_loss(p, halves["meta_train"], KEY)[0])(params)
    adapted = jax.tree.map(lambda p, g: p - 0.3 * g, params, f_grad)
    g_grad = jax.grad(lambda p: summed_loss(p, halves["meta_test"], KEY)[0])(adapted)
    a, b = (
        np.concatenate([np.ravel(x) for x in jax.tree.leaves(t)])
        for t in (f_grad, g_grad)
    )
    expected = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    actual = mldg.gradient_cosine(gradient, aux.inner_gradient, 0.7)
    assert actual == pytest.approx(float(expected), abs=1e-12)


@pytest.mark.parametrize(
    "options",
    [
        {"inner_lr": -0.1},
        {"inner_lr": 0.1, "beta": -1},
        {"inner_lr": 1, "order": "third"},
    ],
)
def test_impossible_options_are_refused(options):
    with pytest.raises(ValueError, match=r"must be"):
        mldg.mldg(summed_loss, **options)


def domainbed_oracle():
    """The golden file, its initial parameters, loss and episode of stacked pairs."""
    golden = np.load(GOLDEN.with_name("mldg_domainbed.npz"))
    params = {
        k.removeprefix("before/"): jnp.asarray(golden[k])
        for k in golden.files
        if k.startswith("before/")
    }

    def loss_fn(params, batch, key):
        del key
        hidden = batch["x"] @ params["0.weight"].T + params["0.bias"]
        logits = hidden @ params["1.weight"].T + params["1.bias"]
        return optax.softmax_cross_entropy_with_integer_labels(
            logits, batch["y"]
        ).mean(), {}

    def stack(domains):
        return {
            "x": jnp.stack([jnp.asarray(golden[f"x{d}"]) for d in domains]),
            "y": jnp.stack([jnp.asarray(golden[f"y{d}"]) for d in domains]),
        }

    train, test = golden["pairs"].T
    return (
        golden,
        params,
        loss_fn,
        {"meta_train": stack(train), "meta_test": stack(test)},
    )


def test_equals_domainbed():
    """Loss, accumulated gradient and the parameters after one Adam step."""
    golden, params, loss_fn, pairs = domainbed_oracle()
    # torch adds epsilon outside the square root, as optax does
    adam = optax.adam(float(golden["lr"]))
    objective = mldg.domainbed(
        loss_fn, inner_optimizer=adam, beta=float(golden["beta"]), num_domains=3
    )
    (value, aux), gradient = jax.value_and_grad(objective, has_aux=True)(
        params, pairs, KEY
    )
    updates, _ = adam.update(gradient, adam.init(params))
    after = optax.apply_updates(params, updates)
    assert value == aux.loss == pytest.approx(golden["loss"], abs=1e-12)
    for name in params:
        for ours, theirs in ((gradient, "grad"), (after, "after")):
            np.testing.assert_allclose(
                ours[name], golden[f"{theirs}/{name}"], rtol=0, atol=1e-12
            )


@pytest.mark.parametrize("order", ["first", "second"])
def test_inner_steps_are_a_loop_of_gradient_steps(oracle, order):
    params, halves = parameters(oracle), episode(oracle)

    def descend(p, batch):
        gradient = jax.grad(lambda p: summed_loss(p, batch, KEY)[0])(p)
        if order == "first":
            gradient = jax.lax.stop_gradient(gradient)
        return jax.tree.map(lambda x, g: x - 0.1 * g, p, gradient)

    def written_out(p):
        adapted = p
        for _ in range(3):
            adapted = descend(adapted, halves["meta_train"])
        f = summed_loss(p, halves["meta_train"], KEY)[0]
        return f + 0.7 * summed_loss(adapted, halves["meta_test"], KEY)[0]

    objective = mldg.mldg(
        summed_loss, inner_lr=0.1, beta=0.7, inner_steps=3, order=order
    )
    (value, _), gradient = value_and_grad(objective, oracle)
    expected, expected_gradient = jax.value_and_grad(written_out)(params)
    assert value == pytest.approx(float(expected), abs=1e-12)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-12),
        gradient,
        expected_gradient,
    )


@pytest.mark.parametrize("order", ["first", "second"])
def test_an_inner_optimiser_of_plain_descent_is_the_inner_learning_rate(oracle, order):
    plain = mldg.mldg(summed_loss, inner_lr=0.3, order=order)
    same = mldg.mldg(summed_loss, inner_optimizer=optax.sgd(0.3), order=order)
    jax.tree.map(
        np.testing.assert_array_equal,
        value_and_grad(plain, oracle),
        value_and_grad(same, oracle),
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "either inner_lr or inner_optimizer"),
        ({"inner_lr": 0.1, "inner_optimizer": optax.sgd(0.1)}, "either inner_lr or"),
        ({"inner_lr": 0.1, "inner_steps": 0}, "inner_steps is 0"),
    ],
)
def test_impossible_inner_steps_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        mldg.mldg(summed_loss, **options)


def two_gradients(oracle):
    """∇F and ∇G at φ, as flat vectors, and the losses."""
    params, halves = parameters(oracle), episode(oracle)
    losses_and_gradients = [
        jax.value_and_grad(lambda p, half=half: summed_loss(p, halves[half], KEY)[0])(
            params
        )
        for half in ("meta_train", "meta_test")
    ]
    losses = [loss for loss, _ in losses_and_gradients]
    return losses, [
        jax.flatten_util.ravel_pytree(g)[0] for _, g in losses_and_gradients
    ]


def test_mldg_gc_is_its_equation(oracle):
    """F + β G − β α F'·G' / (‖F'‖ ‖G'‖)."""
    (f, g), (f_grad, g_grad) = two_gradients(oracle)
    objective = mldg.mldg_gc(summed_loss, inner_lr=0.3, beta=0.7)
    (value, aux), gradient = value_and_grad(objective, oracle)
    angle = f_grad @ g_grad / jnp.sqrt((f_grad @ f_grad) * (g_grad @ g_grad))
    assert value == pytest.approx(float(f + 0.7 * g - 0.21 * angle), abs=1e-12)
    norm = float(jnp.linalg.norm(f_grad))
    assert aux.inner_gradient_norm == pytest.approx(norm, abs=1e-12)
    agrees_with_finite_differences(objective, gradient, oracle)


def test_mldg_gn_is_its_equation(oracle):
    """F + β ‖G'(φ − α F')‖²."""
    objective = mldg.mldg_gn(summed_loss, inner_lr=0.3, beta=0.7)
    (value, aux), gradient = value_and_grad(objective, oracle)
    (f, _), _ = two_gradients(oracle)
    moved = mldg.mldg(summed_loss, inner_lr=0.3)
    (_, moved_aux), _ = value_and_grad(moved, oracle)
    halves = episode(oracle)
    g_grad = jax.grad(lambda p: summed_loss(p, halves["meta_test"], KEY)[0])(
        moved_aux.adapted
    )
    square = sum(jnp.sum(x**2) for x in jax.tree.leaves(g_grad))
    assert value == pytest.approx(float(f + 0.7 * square), abs=1e-12)
    assert aux.meta_test_loss == pytest.approx(float(moved_aux.meta_test_loss))
    agrees_with_finite_differences(objective, gradient, oracle)


def test_mldg_gc_is_the_expansion_of_mldg_when_gradients_are_unit(oracle):
    """At inner_lr = |F'| |G'| · α its value is that of MLDG at α, up to α²."""
    _, (f_grad, g_grad) = two_gradients(oracle)
    scale = float(jnp.linalg.norm(f_grad) * jnp.linalg.norm(g_grad))
    rates, remainders = np.array([1e-2, 1e-3]), []
    for rate in rates:
        expanded = mldg.mldg_gc(summed_loss, inner_lr=rate * scale)
        whole = mldg.mldg(summed_loss, inner_lr=rate)
        (a, _), _ = value_and_grad(expanded, oracle)
        (b, _), _ = value_and_grad(whole, oracle)
        remainders.append(abs(a - b))
    slope = np.diff(np.log(remainders)) / np.diff(np.log(rates))
    assert slope == pytest.approx(2.0, abs=0.05)


def agrees_with_finite_differences(objective, gradient, oracle):
    params, direction = parameters(oracle), jax.tree.map(jnp.cos, parameters(oracle))

    def along(t):
        moved = jax.tree.map(lambda p, d: p + t * d, params, direction)
        return objective(moved, episode(oracle), KEY)[0]

    numeric = (along(1e-5) - along(-1e-5)) / 2e-5
    exact = sum(jax.tree.leaves(jax.tree.map(jnp.vdot, gradient, direction)))
    assert numeric == pytest.approx(float(exact), rel=1e-8)


@pytest.mark.parametrize("variant", [mldg.mldg_gc, mldg.mldg_gn])
def test_variants_refuse_what_mldg_refuses(variant):
    with pytest.raises(ValueError, match=r"inner_lr is -0\.1; it must be at least 0"):
        variant(summed_loss, inner_lr=-0.1)
    with pytest.raises(ValueError, match=r"beta is nan; it must be at least 0"):
        variant(summed_loss, inner_lr=0.1, beta=float("nan"))


def test_pairs_hold_every_domain_once_on_each_side():
    halves = {"meta_train": {"x": jnp.arange(4)}, "meta_test": {"x": jnp.arange(4, 6)}}
    paired = mldg.pairs(halves)
    assert paired["meta_train"]["x"][:, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert paired["meta_test"]["x"][:, 0].tolist() == [1, 2, 3, 4, 5, 0]


def test_no_objective_has_state(oracle):
    """The same arguments give the same bits, whatever ran in between."""
    objective = mldg.mldg(summed_loss, inner_lr=0.3, inner_optimizer=None)
    first = value_and_grad(objective, oracle)
    objective(parameters(oracle), episode(oracle), jax.random.key(7))
    jax.tree.map(
        np.testing.assert_array_equal, first, value_and_grad(objective, oracle)
    )
