"""The training step: compiled once, nothing baked in, the same however computed."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mldg_jax import mldg
from mldg_jax.common.config_values import with_values
from mldg_jax.common.errors import UserError
from mldg_jax.models.detector import DTYPES, create_detector
from mldg_jax.models.loss import cross_entropy
from mldg_jax.training import averaging
from mldg_jax.training.build import build_batch_stats, build_state, build_step
from mldg_jax.training.config_files import read_config_file
from mldg_jax.training.objective_section import (
    OBJECTIVES,
    build_objective,
    gradient_evaluations,
)
from mldg_jax.training.tpu_plan.flops import count_flops
from tests import small

KEY = jax.random.key(3)


def apply(objective, trainable, episode, key):
    """Applies an objective that is in its first state; returns ``(value, aux)``."""
    value, (_, aux) = objective.apply(
        trainable, objective.init(trainable), episode, key
    )
    return value, aux


def gradient_of(config, episode, **options):
    """Returns the meta-gradient of one episode and its aux, in double precision."""
    detector = small.detector(**options)
    state, frozen = small.double(small.init(config, small.detector()))
    parts = config.compute.micro_batches

    @jax.jit
    def run(trainable, frozen, episode):
        loss_fn = cross_entropy(detector, state.batch_stats, frozen, parts)
        objective = functools.partial(apply, build_objective(config)(loss_fn))
        return jax.grad(objective, has_aux=True)(trainable, episode, KEY)

    return run(state.trainable, frozen, small.double(episode))


@pytest.fixture
def episode():
    corpus, domains = small.domains()
    return small.load_episode(
        small.sample_episode(domains, 0, examples_per_attack=2), corpus
    )


def assert_close(one, other, atol):
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=0, atol=atol), one, other
    )


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("order", ["first", "second"])
def test_micro_batches_remat_and_scan_leave_the_meta_gradient_exact(order, episode):
    """Batch statistics included: the head sees the whole half."""
    plain = small.config(f"objective.order={order}")
    parts = small.config(f"objective.order={order}", "compute.micro_batches=2")
    gradient, aux = gradient_of(plain, episode)
    in_parts, parts_aux = gradient_of(parts, episode)
    again, _ = gradient_of(plain, episode, remat=True, scan=True)
    assert_close(in_parts, gradient, 1e-12)
    assert_close(again, gradient, 1e-12)
    assert_close(parts_aux.train_aux, aux.train_aux, 1e-12)


@pytest.mark.usefixtures("float64")
def test_micro_batches_that_do_not_divide_are_refused(episode):
    config = small.config("compute.micro_batches=3")
    with pytest.raises(UserError, match=r"8 utterances .* into 3 micro-batches"):
        gradient_of(config, episode)


def test_bfloat16_points_where_float32_does(episode):
    """Compute is bfloat16; parameters, gradient and statistics stay float32.

    The small head sees frames less their mean, where eight bits leave little.
    """
    gradients = {}
    for dtype in ("float32", "bfloat16"):
        config = small.config(f"compute.dtype={dtype}")
        detector = small.detector(dtype=DTYPES[dtype])
        state, frozen = small.init(config, detector)
        loss_fn = cross_entropy(detector, state.batch_stats, frozen)
        objective = functools.partial(apply, build_objective(config)(loss_fn))
        compute = jax.jit(jax.grad(objective, has_aux=True))
        gradients[dtype], aux = compute(state.trainable, episode, KEY)
    outputs = aux.train_aux._replace(label=None)
    found = jax.tree.leaves((gradients["bfloat16"], outputs))
    assert {x.dtype for x in found} == {jnp.dtype("float32")}
    matrices = [x for x in jax.tree.leaves(frozen) if x.ndim == 2]
    assert {x.dtype for x in matrices} == {jnp.dtype("bfloat16")}
    assert mldg.cosine(gradients["bfloat16"], gradients["float32"]) > 0.9
    assert any(
        np.any(x != y)
        for x, y in zip(*map(jax.tree.leaves, gradients.values()), strict=True)
    )


def test_the_step_compiles_once_over_twenty_splits_of_the_attacks():
    config, detector = small.config(), small.detector()
    state, frozen = small.init(config, detector)
    step = jax.jit(build_step(config, detector), donate_argnums=0)
    corpus, domains = small.domains()
    held_out = set()
    for number in range(20):
        drawn = small.sample_episode(domains, number, examples_per_attack=2)
        held_out.add(tuple(sorted(drawn["meta_test"]["domain"])))
        state, _ = step(state, frozen, small.load_episode(drawn, corpus))
    assert len(held_out) > 5 and step._cache_size() == 1


def test_frozen_parameters_are_no_constants_of_the_program(episode):
    config, detector = small.config(), small.detector()
    state, frozen = small.init(config, detector)
    lowered = jax.jit(build_step(config, detector)).lower(state, frozen, episode)
    text = lowered.compile().as_text()
    shapes = re.findall(r" = \w+\[([\d,]*)\]\S* constant\(", text)
    constants = [int(np.prod([int(n) for n in x.split(",") if n])) for x in shapes]
    assert 201 * 80 in constants  # the mel filters are, so this finds constants
    kernels = {x.size for x in jax.tree.leaves(frozen) if x.ndim > 1}
    assert len(kernels) > 3 and not kernels & set(constants)


def test_the_step_never_calls_the_host(episode):
    config, detector = small.config("objective.order=second"), small.detector()
    state, frozen = small.init(config, detector)
    text = str(jax.make_jaxpr(build_step(config, detector))(state, frozen, episode))
    assert "dot_general" in text and "callback" not in text and "infeed" not in text


@pytest.mark.parametrize("method", ["erm", "mldg", "mldg2"])
@pytest.mark.parametrize("file", ["xlsr", "debspoof"])
def test_the_step_lowers_for_cpu_cuda_and_tpu(file, method):
    """As configured for training, from shapes alone; no device is needed."""
    overrides = ["compute.dtype=bfloat16", "compute.remat=true"]
    config = read_config_file(f"configs/{file}.py:{method},smoke", overrides)
    detector = create_detector(config.model, None, config.compute)
    waveform = jax.ShapeDtypeStruct((4, 2, config.crop_samples), jnp.float32)
    key = jax.random.key(0)
    frontend = jax.eval_shape(detector.frontend.init, key, waveform.update(
        shape=(1, config.crop_samples)
    ))["params"]  # fmt: skip
    state, frozen = jax.eval_shape(
        lambda frontend, x: build_state(config, detector, frontend, x),
        frontend,
        jax.ShapeDtypeStruct((2, config.crop_samples), jnp.float32),
    )
    label = jax.ShapeDtypeStruct((4, 2), jnp.int32)
    seed = jax.ShapeDtypeStruct((4, 2), jnp.uint32)
    half = {"waveform": waveform, "label": label, "seed": seed}
    step = jax.jit(build_step(config, detector))
    platforms = ("cpu", "cuda", "tpu")
    exported = jax.export.export(step, platforms=platforms)(
        state, frozen, {"meta_train": half, "meta_test": half}
    )
    assert exported.platforms == platforms


@pytest.mark.parametrize(
    ("precision", "expected"), [("default", {"DEFAULT"}), ("highest", {"HIGHEST"})]
)
def test_products_have_the_precision_of_the_config(episode, precision, expected):
    """Of the front-end and the head; the mel filters are always in full float32."""
    config = small.config(f"compute.precision={precision}")
    detector = small.detector()
    state, frozen = small.init(config, detector)
    step = jax.jit(build_step(config, detector))
    lowered = jax.export.export(step, platforms=["cuda"])(state, frozen, episode)
    products = re.findall(r"dot_general .*", lowered.mlir_module())
    assert len(products) > 20
    found = [set(re.findall("DEFAULT|HIGHEST", x)) or {"DEFAULT"} for x in products]
    assert expected in found and (precision == "default" or {"DEFAULT"} not in found)


def test_the_logged_cosine_is_that_of_both_gradients_in_both_orders(episode):
    """Free in a first-order step; computed in logged second-order steps only."""
    found = {}
    for order in ("first", "second"):
        for every in (1, 2):
            config = small.config(f"objective.order={order}", f"log_every={every}")
            detector = small.detector()
            state, frozen = small.init(config, detector)
            step = jax.jit(build_step(config, detector))
            found[order, every] = step(state, frozen, episode)[1]["gradient_cosine"]
    assert found["second", 1] == pytest.approx(float(found["first", 1]), abs=1e-5)
    assert found["first", 2] == found["first", 1]
    assert np.isnan(found["second", 2])


def test_clips_are_augmented_in_the_step_each_from_its_seed(episode):
    """It depends on the utterance and its seed, not on the place in the episode."""
    losses = {}
    for gain in (0.0, 6.0):
        config, detector = small.config(f"augment.gain={gain}"), small.detector()
        state, frozen = small.init(config, detector)
        step = jax.jit(build_step(config, detector))
        for name, order in (("as drawn", [0, 1]), ("turned", [1, 0])):
            turned = jax.tree.map(
                lambda x, order=order: x[:, order] if x.ndim > 1 else x, episode
            )
            losses[gain, name] = float(step(state, frozen, turned)[1]["loss"])
    assert losses[6.0, "as drawn"] != pytest.approx(losses[0.0, "as drawn"], rel=1e-4)
    assert losses[6.0, "as drawn"] == pytest.approx(losses[6.0, "turned"], rel=1e-5)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("part", ["frontend", "head"])
def test_the_inner_step_of_one_part_leaves_the_other(part, episode):
    config = small.config(f"objective.adapt={part}")
    _, aux = gradient_of(config, episode)
    whole = gradient_of(small.config(), episode)[1].adapted
    start = small.double(small.init(config, small.detector()))[0].trainable
    for name, leaves in aux.adapted.items():
        expected = whole if name == part else start
        assert_close(leaves, expected[name], 1e-12)
    assert any(map(np.any, jax.tree.leaves(aux.inner_gradient)))


ONE_PASS = {*("coral", "mmd", "vrex", "irm", "group_dro", "fish", "fishr", "mixup")}


@pytest.mark.parametrize(
    ("objective", "passes"),
    [
        ({"name": "erm"}, 6),
        ({"name": "mldg", "order": "first", "inner_steps": 1}, 4 + 2),
        ({"name": "mldg", "order": "first", "inner_steps": 3}, 3 * 4 + 2),
        # the gradient of F, its Hessian times a vector, the gradient of G
        ({"name": "mldg", "order": "second", "inner_steps": 1}, 4 + 2 * 4 + 2),
        *(({"name": name}, 12) for name in ("sam", "sagm", "domainbed")),
        *(({"name": name}, 6) for name in sorted(ONE_PASS)),
    ],
)
def test_gradient_evaluations(objective, passes):
    config = small.config("episode.num_meta_test=2")
    config = with_values(config, {"objective": objective})
    found = gradient_evaluations(config, attacks=6)
    assert found == passes * config.episode.examples_per_attack


def test_a_second_order_step_pays_about_what_is_counted(episode):
    """Compares the count, which equalises methods, with the program's own FLOPs."""
    detector = small.detector()

    def flops(order):
        config = small.config(f"objective.order={order}")
        state, frozen = small.init(config, detector)
        loss_fn = cross_entropy(detector, state.batch_stats, frozen)
        objective = functools.partial(apply, build_objective(config)(loss_fn))
        gradient = jax.grad(objective, has_aux=True)
        arguments = (state.trainable, episode, KEY)
        return count_flops(jax.make_jaxpr(gradient)(*arguments), "cpu")

    counted = [
        gradient_evaluations(small.config(f"objective.order={order}"), 6)
        for order in ("first", "second")
    ]
    ratio = flops("second") / flops("first")
    # The stem runs once whatever the order, so the true ratio is a little smaller.
    assert 0.6 < ratio / (counted[1] / counted[0]) < 1.05, (ratio, counted)


@pytest.mark.parametrize("name", sorted(OBJECTIVES.keys() - {"erm", "mldg"}))
def test_every_method_trains_in_one_program(name, episode):
    options = {"name": name}
    if name.startswith("mldg") or name == "domainbed":
        options["beta"] = 1.0
    if name.startswith("mldg"):
        options["inner_lr"] = 0.1
    config = with_values(small.config(), {"objective": options})
    detector = small.detector()
    state, frozen = small.init(config, detector, num_domains=6)
    step = jax.jit(build_step(config, detector, num_domains=6))
    after, metrics = step(state, frozen, episode)
    assert all(np.isfinite(x).all() for x in metrics.values()), metrics
    moved = jax.tree.map(lambda x, y: x - y, after.trainable, state.trainable)
    # The warm-up begins at 0; fish has taken six inner steps.
    assert (optax.tree.norm(moved) == 0) == (name != "fish")
    after, _ = step(after, frozen, episode)
    assert step._cache_size() == 1
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)
    assert after.step == 2 and not np.allclose(
        after.trainable["head"]["logits"]["kernel"],
        state.trainable["head"]["logits"]["kernel"],
    )


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ({"name": "mldg", "inner_lr": -0.1}, "inner_lr is -0.1"),
        ({"name": "mldg", "inner_lr": 0.1, "order": "third"}, "order is 'third'"),
        ({"name": "mldg_gc", "inner_lr": 0.1, "order": "first"}, "unexpected keyword"),
        ({"name": "domainbed", "beta": -1}, "beta is -1"),
        ({"name": "maml"}, "must be one of erm, mldg, mldg_gc, mldg_gn, domainbed, sa"),
        ({"name": "coral", "rho": 0.1}, "unexpected keyword argument 'rho'"),
        ({"name": "mixup", "alpha": 0.0}, "alpha is 0"),
    ],
)
def test_an_impossible_objective_is_refused_before_anything_is_loaded(
    objective, message
):
    config = with_values(small.config(), {"objective": objective})
    with pytest.raises(UserError, match=message):
        build_step(config, small.detector())


def test_part_of_phi_can_only_be_adapted_with_a_step_size():
    config = small.config("objective.adapt=head", "objective.inner_lr=null")
    with pytest.raises(UserError, match="objective: adapt head needs inner_lr"):
        build_objective(config)


def test_the_batchnorm_statistics_of_an_average_are_those_of_its_batches():
    """As in a step of training, but not those that the last step has left."""
    config, detector = small.config(), small.detector()
    corpus, domains = small.domains()
    episodes = [
        small.load_episode(small.sample_episode(domains, step), corpus)
        for step in range(3)
    ]
    state, frozen = small.init(config, detector)
    update = jax.jit(functools.partial(build_batch_stats(config, detector), frozen))
    far = jax.tree.map(lambda x: x + 1e3, state.batch_stats)
    found = averaging.batch_stats_of(
        update, state.trainable, far, episodes, momentum=0.9
    )
    zero = jax.tree.map(jnp.zeros_like, state.batch_stats)
    by_batch = [update(state.trainable, zero, episode) for episode in episodes]
    expected = jax.tree.map(lambda *xs: sum(xs) / (0.1 * len(xs)), *by_batch)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        found,
        expected,
    )
