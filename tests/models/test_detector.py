"""The detector with both front-ends and back-ends: what is trained, what is frozen."""

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from mldg_jax import lora
from mldg_jax.common.errors import UserError
from mldg_jax.models import pretrained
from mldg_jax.models.detector import create_detector
from mldg_jax.models.loss import cross_entropy
from mldg_jax.models.split import init_parameters, variables
from mldg_jax.scoring.scorer import load
from mldg_jax.training import loop
from mldg_jax.training.config_files import read_config_file
from tests import signals

XLSR = "configs/xlsr.py"


def small(*overrides):
    """Returns the paper's model with tiny layers, in shapes that the head never has."""
    return read_config_file(
        f"{XLSR}:mldg,smoke",
        ["model.frontend.dim=48", "model.frontend.hidden=56", *overrides],
    )


def parts(config):
    """Returns detector, ``(trainable, batch_stats, frozen)`` and a two-domain batch."""
    detector = create_detector(config.model)
    frontend = pretrained.load_frontend(config.model)
    waveform = signals.speech_like(config.crop_samples)
    made = init_parameters(
        jax.random.key(0),
        detector,
        frontend,
        waveform,
        rank=config.model.lora.rank,
        adapted=config.model.lora.targets,
    )
    batch = {
        "waveform": jnp.asarray(np.stack([waveform, waveform[::-1]])),
        "label": jnp.array([[0, 1], [1, 0]]),
    }
    return detector, made, batch


def test_parameter_counts_of_the_paper():
    """3.6 M trained of 318 M; nothing is allocated."""
    config = read_config_file(f"{XLSR}:mldg")
    detector = create_detector(config.model)
    audio = jax.ShapeDtypeStruct((1, config.crop_samples), np.float32)
    frontend = jax.eval_shape(detector.frontend.init, jax.random.key(0), audio)
    trainable, _, frozen = jax.eval_shape(
        lambda key, frontend, x: init_parameters(key, detector, frontend, x, rank=16),
        jax.random.key(0),
        frontend["params"],
        audio,
    )
    assert lora.count(frozen) == 315_438_720
    assert lora.count(trainable["head"]) == 447_242
    assert lora.count(trainable["frontend"]) == 3_145_728
    assert lora.count(trainable) == 3_592_970


def products(jaxpr):
    """Returns the result shapes of all matrix products and convolutions."""
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("dot_general", "conv_general_dilated"):
            yield equation.outvars[0].aval.shape
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            yield from products(inner)


@pytest.mark.parametrize("targets", ["[query, key, value, out]", "[out, mlp_in]"])
def test_no_gradient_of_a_frozen_matrix_is_formed(targets):
    config = small(f"model.lora.targets={targets}")
    detector, (trainable, batch_stats, frozen), batch = parts(config)

    def loss(trainable, frozen):
        loss_fn = cross_entropy(detector, batch_stats, frozen)
        return loss_fn(trainable, batch, jax.random.key(0))[0]

    def formed(argnums):
        jaxpr = jax.make_jaxpr(jax.grad(loss, argnums))(trainable, frozen)
        return set(products(jaxpr.jaxpr))

    layers = [v for k, v in frozen["frontend"].items() if k.startswith("layers_")]
    matrices = {x.shape for x in jax.tree.leaves(layers) if x.ndim == 2}
    assert matrices == {(48, 48), (48, 56), (56, 48)}
    assert not formed(0) & matrices
    # With respect to everything they are formed: the check can fail.
    assert formed((0, 1)) >= matrices


def test_targets_choose_what_is_adapted():
    config = small("model.lora.targets=[query, mlp_out]")
    _, (trainable, _, _), _ = parts(config)
    owners = {
        name.rsplit("/", 1)[0]
        for name in traverse_util.flatten_dict(trainable["frontend"], sep="/")
    }
    assert owners == {
        f"layers_{i}/{name}"
        for i in range(2)
        for name in ("attention/query", "mlp_out")
    }


def test_training_mode_updates_the_statistics_and_drops_units():
    detector, (trainable, batch_stats, frozen), batch = parts(small())
    loss_fn = jax.jit(cross_entropy(detector, batch_stats, frozen))
    one, aux = loss_fn(trainable, batch, jax.random.key(1))
    other, _ = loss_fn(trainable, batch, jax.random.key(2))
    again, _ = loss_fn(trainable, batch, jax.random.key(1))
    assert one == again
    assert one != other
    assert jax.tree.structure(aux.batch_stats) == jax.tree.structure(batch_stats)
    changed = jax.tree.map(
        lambda a, b: bool((a != b).any()), aux.batch_stats, batch_stats
    )
    assert any(jax.tree.leaves(changed))


@pytest.mark.parametrize(
    "method", ["mldg", pytest.param("frozen", marks=pytest.mark.full)]
)
def test_the_papers_recipe_trains_and_scores(method, tmp_path):
    """Start to finish, with a tiny random encoder and the real back-end."""
    config = read_config_file(f"{XLSR}:{method},smoke")
    corpus = signals.corpus()
    loop.train(config, tmp_path, corpus, progress=lambda step: None)
    scorer = load(tmp_path)
    score = scorer.score(corpus.waveform(0), 16_000)
    assert np.isfinite(score)
    assert score == scorer.score(corpus.waveform(0), 16_000)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.frontend.kind=hubret", "kind is 'hubret'; it must be one of whisper"),
        ("model.head.kind=mlp", "kind is 'mlp'; it must be one of pooling, aasist"),
        ("model.lora.targets=[q]", r"targets is \('q',\); choose from query"),
        ("model.weights=no/such/folder", "neither a file nor a folder"),
        ("model.weights=whisper-tiny.en", "set it to 'whisper'"),
    ],
)
def test_an_impossible_model_gets_one_clear_message(override, message):
    config = read_config_file(f"{XLSR}:mldg,smoke", [override])
    with pytest.raises(UserError, match=message):
        parts(config)


def test_an_unknown_attribute_is_named():
    config = read_config_file(f"{XLSR}:mldg,smoke", ["model.frontend.depth=3"])
    with pytest.raises(UserError, match=r"model\.frontend\.depth is unknown.*layers"):
        create_detector(config.model)


def test_upper_layers_can_be_dropped(tmp_path):
    from safetensors.numpy import save_file

    from mldg_jax.models.pretrained import convert, key_tables

    whole = create_detector(small().model).frontend
    params = jax.jit(whole.init)(jax.random.key(0), np.zeros((1, 4_000)))
    save_file(
        convert.to_theirs(key_tables.WAV2VEC2_HF, params),
        tmp_path / "model.safetensors",
    )
    lower = pretrained.load(str(tmp_path), "wav2vec2", whole.clone(layers=1))
    kept = {k: v for k, v in params["params"].items() if k != "layers_1"}
    jax.tree.map(np.testing.assert_array_equal, lower, kept)
    assert pretrained.depth(str(tmp_path), "wav2vec2", whole.clone(layers=1)) == 2
    with pytest.raises(UserError, match="layers"):
        pretrained.load(str(tmp_path), "wav2vec2", whole.clone(layers=3))


POOLING = "model.head={kind: pooling, dim: 8}"


def test_chosen_layers_are_what_the_head_reads():
    config = small(POOLING, "model.frontend.layers=[0, 2]")
    detector, (trainable, batch_stats, frozen), batch = parts(config)
    assert (detector.frontend.layers, detector.read) == (2, (0, 2))
    assert trainable["head"]["layer_weights"].shape == (2,)
    given = variables(trainable, batch_stats, frozen)
    waveform = batch["waveform"].reshape(4, -1)
    states = detector.apply(given, waveform, method="layers")
    read = detector.apply(given, waveform, method="features")
    for ours, state in zip(read, (states[0], states[2]), strict=True):
        np.testing.assert_array_equal(ours, state)
    head = {"params": trainable["head"], "batch_stats": batch_stats["head"]}
    np.testing.assert_allclose(
        detector.apply(given, waveform),
        detector.head.apply(head, [states[0], states[2]]),
        rtol=1e-5,
    )


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([POOLING, "model.frontend.layers=[2, 1]"], r"layers is \(2, 1\); .* rising"),
        ([POOLING, "model.frontend.layers=[1, 1]"], "rising"),
        ([POOLING, "model.frontend.layers=[0]"], "rising"),
        ([POOLING, "model.frontend.layers=[]"], "rising"),
        ([POOLING, "model.frontend.layers=[-1, 2]"], "rising"),
        ([POOLING, "model.frontend.layers=[1.5]"], "rising"),
        (["model.frontend.layers=[1, 2]"], "head aasist reads the last layer only"),
    ],
)
def test_layers_that_cannot_be_chosen(overrides, message):
    config = read_config_file(f"{XLSR}:mldg,smoke", overrides)
    with pytest.raises(UserError, match=message):
        create_detector(config.model)
