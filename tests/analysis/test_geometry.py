"""Spectra, angles and Fisher mass against explicit ΔW, scipy and loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import subspace_angles

from mldg_jax import lora
from mldg_jax.analysis import fisher, geometry, losses
from mldg_jax.common.errors import UserError
from mldg_jax.models.split import variables

SCALE = 0.5


def adapters(seed, layers=(0, 10, 2), rank=3):
    """Draws adapters of (7, 5) matrices; "layers_10" sorts before "layers_2"."""
    rng = np.random.default_rng(seed)
    factors = {
        f"frontend/layers_{i}/attention/{name}/{factor}": rng.normal(size=shape)
        for i in layers
        for name in ("query", "value")
        for factor, shape in ((lora.A, (7, rank)), (lora.B, (rank, 5)))
    }
    factors["frontend/layers_2/mlp_in/lora_a"] = rng.normal(size=(7, rank))
    factors["frontend/layers_2/mlp_in/lora_b"] = rng.normal(size=(rank, 9))
    return lora._nest({**factors, "head/logits/kernel": rng.normal(size=(4, 2))})


def explicit(tree, layer, projection):
    owner = tree["frontend"][f"layers_{layer}"]
    owner = (
        owner["attention"][projection] if projection != "mlp_in" else owner["mlp_in"]
    )
    return SCALE * owner[lora.A] @ owner[lora.B]


def test_spectra_are_those_of_the_explicit_update():
    tree = adapters(0)
    found = geometry.spectra(tree, SCALE)
    assert found.layers == (0, 2, 10)
    assert found.projections == ("query", "value", "mlp_in")
    assert found.singular.shape == (3, 3, 3)
    for i, j in np.ndindex(3, 3):
        layer, projection = found.layers[i], found.projections[j]
        if projection == "mlp_in" and layer != 2:
            assert np.isnan(found.norm[i, j]) and np.isnan(found.singular[i, j]).all()
            continue
        update = explicit(tree, layer, projection)
        exact = np.linalg.svd(update, compute_uv=False)[:3]
        np.testing.assert_allclose(found.singular[i, j], exact, rtol=1e-12)
        assert found.norm[i, j] == pytest.approx(np.linalg.norm(update))
        assert found.stable_rank[i, j] == pytest.approx(
            (np.linalg.norm(update, "fro") / np.linalg.norm(update, 2)) ** 2
        )


def test_ranks_in_closed_form():
    assert geometry.effective_rank(np.array([2.0, 2, 2, 0])) == pytest.approx(3)
    assert geometry.stable_rank(np.array([2.0, 2, 2, 0])) == pytest.approx(3)
    share = np.array([0.75, 0.25])
    entropy = -(share * np.log(share)).sum()
    assert geometry.effective_rank(np.array([3.0, 1])) == pytest.approx(np.exp(entropy))
    assert geometry.stable_rank(np.array([3.0, 1])) == pytest.approx(10 / 9)
    assert np.isnan(geometry.effective_rank(np.zeros(3)))
    assert np.isnan(geometry.stable_rank(np.zeros(3)))


def test_svd_in_factors_is_that_of_the_product():
    tree = adapters(1)
    update = geometry.updates(tree, SCALE)[10, "value"]
    u, s, v = geometry.svd(update)
    np.testing.assert_allclose(
        u @ np.diag(s) @ v.T, explicit(tree, 10, "value"), atol=1e-12
    )
    np.testing.assert_allclose(u.T @ u, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(v.T @ v, np.eye(3), atol=1e-12)


@pytest.mark.parametrize("k", [None, 1, 2])
def test_angles_are_scipys_of_the_explicit_updates(k):
    trees = adapters(0), adapters(1)
    found = geometry.principal_angles(
        *(geometry.updates(tree, SCALE) for tree in trees), k
    )
    i, j = found.layers.index(10), found.projections.index("query")
    decomposed = [np.linalg.svd(explicit(tree, 10, "query")) for tree in trees]
    u1, u2 = (u[:, : k or 3] for u, _, _ in decomposed)
    v1, v2 = (vt[: k or 3].T for _, _, vt in decomposed)
    reads, writes = subspace_angles(u1, u2), subspace_angles(v1, v2)
    # cos x = 1 - x²/2 rounds to 1 for x below √(2 eps), so no arccosine resolves less;
    # twice that, because the cosines themselves are off by a few eps
    atol = 2 * np.degrees(np.sqrt(2 * np.finfo(np.float64).eps))
    np.testing.assert_allclose(found.reads[i, j], np.degrees(reads)[::-1], atol=atol)
    np.testing.assert_allclose(found.writes[i, j], np.degrees(writes)[::-1], atol=atol)


def test_angles_do_not_depend_on_how_an_update_is_factored():
    tree = adapters(0)
    one = geometry.updates(tree, SCALE)
    turn = np.random.default_rng(5).normal(size=(3, 3))
    other = {
        place: geometry.Update(x.a @ turn, np.linalg.inv(turn) @ x.b)
        for place, x in one.items()
    }
    found = geometry.principal_angles(one, other)
    assert np.nanmax(found.reads) < 1e-5 and np.nanmax(found.writes) < 1e-5


def test_a_run_without_adapters_is_refused():
    head = {"head": {"logits": {"kernel": np.ones((4, 2))}}}
    with pytest.raises(UserError, match=r"no adapters \(lora.rank is 0\)"):
        geometry.updates(head, 1.0)


@pytest.fixture(scope="module")
def mass(problem):
    """Computes the mass for two attacks; every factor has changed by a tenth."""
    with jax.enable_x64(True):
        batch = {k: v[:2] for k, v in problem.batch.items()}
        start = jax.tree.map(lambda x: 0.9 * x, problem.trainable)
        make = lambda frozen: losses.evaluation(  # noqa: E731
            problem.detector, problem.batch_stats, frozen
        )
        found = fisher.mass(
            make, problem.trainable, start, problem.frozen, batch, scale=SCALE, chunk=3
        )
        return found, batch


def merged_gradients(problem, batch, projection):
    """Computes ∂ loss / ∂ (W₀ + ΔW) of each example in a loop, as the gradient with
    respect to an additive perturbation of the projection's kernel."""
    adapters, head = lora.split(problem.trainable, [r".*/lora_[ab]"])
    params = lora.join(lora.merge(problem.frozen, adapters, scale=SCALE), head)
    kernel = params["frontend"]["layers_0"]["attention"][projection]["kernel"]

    @jax.jit
    def gradient(params, waveform, label):
        def loss(extra):
            moved = jax.tree.map(lambda x: x, params)
            owner = moved["frontend"]["layers_0"]["attention"][projection]
            owner["kernel"] = owner["kernel"] + extra
            logits = problem.detector.apply(
                {"params": moved, "batch_stats": problem.batch_stats}, waveform[None]
            )
            return -jax.nn.log_softmax(logits[0])[label]

        return jax.grad(loss)(jnp.zeros_like(kernel))

    pairs = zip(
        batch["waveform"].reshape(-1, batch["waveform"].shape[-1]),
        batch["label"].ravel(),
        strict=True,
    )
    return np.array([gradient(params, *pair) for pair in pairs])


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("projection", ["query", "out"])
def test_merged_mass_is_the_definition(problem, mass, projection):
    found, batch = mass
    j = found.projections.index(projection)
    square = (merged_gradients(problem, batch, projection) ** 2).mean(axis=0)
    owner = problem.trainable["frontend"]["layers_0"]["attention"][projection]
    update = SCALE * owner[lora.A] @ owner[lora.B]
    weighted = np.sqrt(square) * update
    assert found.merged[0, j] == pytest.approx(float((square * update**2).sum()))
    assert found.merged_rank[0, j] == pytest.approx(
        geometry.effective_rank(np.linalg.svd(weighted, compute_uv=False))
    )
    assert found.merged[0, j] > 1e-10


@pytest.mark.usefixtures("float64")
def test_factor_mass_is_the_definition(problem, mass):
    found, batch = mass
    gradient = jax.jit(jax.grad(lambda p, b: problem.loss(p, b)[0]))
    for j, projection in enumerate(found.projections):
        for f, name in enumerate((lora.A, lora.B)):
            owner = problem.trainable["frontend"]["layers_0"]["attention"][projection]
            moved = 0.1 * owner[name]
            square = 0.0
            for i, k in np.ndindex(*batch["label"].shape):
                one = {x: y[i : i + 1, k : k + 1] for x, y in batch.items()}
                tree = gradient(problem.trainable, one)
                g = tree["frontend"]["layers_0"]["attention"][projection][name]
                square = square + g**2 / batch["label"].size
            mass = float((square * moved**2).sum())
            assert found.factors[0, j, f] == pytest.approx(mass)
            weighted = np.linalg.svd(np.sqrt(square) * moved, compute_uv=False)
            share = weighted / weighted.sum()
            entropy = -(share * np.log(share)).sum()
            assert found.factors_rank[0, j, f] == pytest.approx(np.exp(entropy))


@pytest.mark.usefixtures("float64")
def test_the_merged_split_scores_as_the_run_does(problem):
    kernels, rest = fisher.merged_split(problem.trainable, problem.frozen, SCALE)
    assert len(jax.tree.leaves(kernels)) == 4
    waveform = problem.batch["waveform"][:, 0]
    logits = [
        jax.jit(problem.detector.apply)(
            variables(trained, problem.batch_stats, others), waveform
        )
        for trained, others in (
            (problem.trainable, problem.frozen),
            (kernels, rest),
        )
    ]
    np.testing.assert_allclose(*logits, rtol=0, atol=1e-12)


def test_shares_add_up_to_one():
    found = fisher.shares(np.array([[1.0, np.nan], [2.0, 5.0]]))
    np.testing.assert_allclose(found, [[0.125, np.nan], [0.25, 0.625]])
