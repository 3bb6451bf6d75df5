"""The plan for a TPU slice; tests that need the TPU compiler are marked `full`."""

import importlib.util
import json
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.extend import core

from mldg_jax import cli
from mldg_jax.common.errors import UserError
from mldg_jax.data import loader
from mldg_jax.training import lowered_step
from mldg_jax.training.config_files import read_config_file
from mldg_jax.training.tpu_plan import compiled_step, plan_text, slices
from mldg_jax.training.tpu_plan.chips import CHIPS, GIB, Collective, collectives
from tests import small

ROOT = Path(__file__).parents[3]
XLSR = str(ROOT / "configs" / "xlsr.py")
DEBSPOOF = str(ROOT / "configs" / "debspoof.py")


def smoke(method, *overrides):
    return read_config_file(f"{XLSR}:{method},smoke", overrides)


@pytest.fixture
def on_cpu(monkeypatch):
    """Replaces the slice by one chip: this machine's CPU."""
    monkeypatch.setattr(slices, "topology", lambda name: jax.devices()[:1])


def of_chips(monkeypatch, count):
    monkeypatch.setattr(slices, "topology", lambda name: [None] * count)


@pytest.mark.parametrize(
    ("chips", "options", "words"),
    [
        (8, {}, "12 utterances per step over 8 chips.* --batch 6,"),
        (8, {"batch": 16}, "--batch 16 over.* --batch 12 or 18, .* multiple of 6"),
        (1, {"batch": 6}, "--batch 12"),  # three of an attack are not half bona fide
        (4, {"batch": 8, "attacks": 8}, "meta_test is 9 of 8"),
        (8, {"batch": -6}, "--batch 6, or another"),
    ],
)
def test_an_impossible_batch_is_refused(monkeypatch, chips, options, words):
    of_chips(monkeypatch, chips)
    config = smoke("mldg", f"episode.num_meta_test={9 if 'attacks' in options else 2}")
    with pytest.raises(UserError, match=words):
        compiled_step.plan(config, "v5e:2x4", **options)


def test_a_chip_without_published_figures_is_refused():
    with pytest.raises(UserError, match="one of v4, v5e, v5p, v6e and a shape"):
        compiled_step.plan(smoke("mldg"), "v1:1x1")


def test_a_missing_compiler_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    arguments = ["--config", f"{XLSR}:mldg", "--topology", "v5e:2x4"]
    assert cli.main(["plan", *arguments]) == 2
    assert "pip install 'mldg_jax[tpu-plan]'" in capsys.readouterr().err


@pytest.mark.parametrize("count", [1, 4])
def test_the_episode_is_the_samplers(count):
    """It has the layout, shapes and dtypes of the episodes that training loads."""
    corpus, domains = small.domains()
    make = loader.sampler(
        domains,
        corpus,
        seed=0,
        options={"num_meta_test": 2, "examples_per_attack": 8},
        samples=1_600,
        devices=(count, range(count)),
    )
    config = smoke("mldg", "crop_samples=1600")
    ours = compiled_step._episode(config, len(domains.attacks), 8, count)

    def shapes(tree):
        return jax.tree.map(lambda x: (x.shape, x.dtype), tree)

    assert shapes(ours) == shapes(make(0)[1])


@pytest.mark.parametrize("method", ["mldg", "mldg2"])
def test_the_step_lowers_for_a_tpu(method):
    """Every primitive has a lowering for TPUs; needs no TPU compiler."""
    config = smoke(method, "model.frontend.layers=1", "crop_samples=3000")
    jaxpr, _ = compiled_step.lower(config, jax.devices()[:1], attacks=3, examples=2)
    function = jax.jit(core.jaxpr_as_fun(jaxpr))
    shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in jaxpr.in_avals]
    lowered = function.trace(*shapes).lower(lowering_platforms=("tpu",))
    assert "stablehlo.convolution" in lowered.as_text()


def test_the_command_end_to_end(on_cpu, monkeypatch, capsys):
    make, plans = compiled_step.plan, []

    def kept(*arguments, **options):
        plans.append(make(*arguments, **options))
        return plans[-1]

    monkeypatch.setattr(compiled_step, "plan", kept)
    arguments = ["plan", "--config", f"{DEBSPOOF}:mldg,smoke", "--topology", "v5e:1x1"]
    arguments += ["--attacks", "3", "--batch", "6"]
    arguments += ["--set", "crop_samples=3200", "--set", "episode.num_meta_test=1"]
    assert cli.main([*arguments, "--json"]) == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert "compiling for v5e:1x1, 6 utterances per chip" in captured.err
    assert result["examples"] == 2 and result["chips"] == 1
    memory = result["memory"]
    assert memory["total"] == sum(v for k, v in memory.items() if k != "total")
    assert memory["arguments"] > 4 * 4_000_000  # Whisper tiny.en's lower half
    bound = result["bound_seconds"]
    assert bound["compute"] == result["flops"] / 197e12
    (plan,) = plans
    assert plan.to_json() == result and "largest_batch" not in result
    text = plan_text.text(plan)
    assert ": fits\n" in text and "roofline bound (memory), not a prediction" in text


def test_a_program_that_is_refused_is_described():
    plan = compiled_step.StepPlan(
        topology="v5e:2x4", chips=8, attacks=6, examples=16, batch=12, samples=64_600,
        objective={"name": "mldg", "order": "second"},
        compute={
            "dtype": "bfloat16", "remat": True, "scan": False, "micro_batches": 2
        },
        hbm=1.0, bound_seconds={"compute": 0.005}, largest_batch=6,
        program=compiled_step.Program(
            None, "RESOURCE_EXHAUSTED", 10**12, 2 * 10**12, {}
        ),
    )  # fmt: skip
    text = plan_text.text(plan)
    assert "does not fit: RESOURCE_EXHAUSTED" in text
    assert "at least 5 ms" in text and "19,200 utterances/s" in text
    assert "1.00 TFLOP per chip and step (2.00 in logged steps)" in text
    assert "mldg, second order, bfloat16, layers recomputed (remat), 2 micro" in text
    assert text.endswith("largest batch that fits: 6 utterances per chip")


def test_collectives_are_read_from_the_program():
    text = """
  %a.1 = (f32[3]{0:T(128)S(1)}, bf16[4,2]{1,0}) all-reduce(%x, %y), channel_id=1
  %s = (f32[8]{0}, f32[64]{0}) all-gather-start(%z), dimensions={0}
  ROOT %d = f32[64]{0} all-gather-done(%s)
  %b = f32[] all-reduce(%a.1), metadata={op_name="jit/psum"}
  %c = pred[5]{0} fusion(%b), kind=kLoop, calls=%all-reduce.clone
"""
    assert collectives(text) == {
        "all-reduce": Collective(count=2, bytes=12 + 16 + 4),
        "all-gather": Collective(count=1, bytes=256),
    }


needs_compiler = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None,
    reason="needs the TPU's compiler: pip install 'mldg_jax[tpu-plan]'",
)


@pytest.mark.full
@needs_compiler
def test_a_tpu_slice():
    config = smoke("mldg", "crop_samples=3000")
    plan = compiled_step.plan(config, "v5e:2x4", batch=6)
    assert plan.chips == 8 and 0 < plan.program.memory.total < GIB
    jaxpr, _ = compiled_step.lower(config, jax.devices()[:1], attacks=6, examples=8)
    trained = sum(x.size for x in jaxpr.out_avals) // 4  # φ, its average, Adam's two
    # The inner and the outer gradient cross the chips, and BatchNorm's moments.
    reduced = plan.program.collectives["all-reduce"]
    assert reduced.count > 2 and reduced.bytes > 2 * 4 * 0.9 * trained


@pytest.mark.full
@needs_compiler
@pytest.mark.parametrize("name", ["v4:2x2x1", "v5e:2x2", "v5p:2x2x1", "v6e:2x2"])
def test_the_compiler_refuses_what_is_larger_than_the_chips_memory(name):
    """The error names the size that ``CHIPS`` has."""
    devices = slices.topology(name)
    assert len(devices) == 4  # a v4 chip is one device, not two
    shape = jax.ShapeDtypeStruct((2**18, 2**18), np.float32)

    def step(state, frozen, episode):
        return state @ state, {}

    _, lowered = lowered_step.lower_step(step, devices[:1], shape, shape, shape)
    program, refused = compiled_step._compile(lowered)
    hbm = CHIPS[name.partition(":")[0]].hbm / GIB
    assert program is None and f"available HBM ({hbm:.2f}G)" in refused
