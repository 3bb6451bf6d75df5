import dataclasses

import pytest

from mldg_jax.common.config import Config, EpisodeSection
from mldg_jax.common.config_values import (
    RENAMED,
    complete,
    old_names,
    to_dict,
    with_values,
)
from mldg_jax.common.errors import UserError


def test_what_is_not_said_has_its_default():
    config = complete({"steps": 7, "model": {"lora": {"rank": 4}}})
    assert config.steps == 7 and config.model.lora.rank == 4
    assert config.model.lora.alpha == Config().model.lora.alpha
    assert config.episode == Config().episode


def test_json_and_back():
    values = {
        "corpus.fold": 2,
        "episode.exclude": ("A01", "A02"),
        "episode.weights": {"A03": 2},
        "model.frontend": {"kind": "wav2vec2", "channels": [16, 16]},
        "objective": {"name": "mldg", "inner_lr": 0.1},
    }
    config = with_values(Config(), values)
    assert complete(to_dict(config)) == config
    assert config.episode.weights == {"A03": 2.0}
    assert config.model.frontend["channels"] == (16, 16)
    assert config.objective.options() == {"inner_lr": 0.1}


def test_every_knob_can_be_set_and_is_its_own():
    config = Config()
    changed = with_values(config, {"model.lora.dropout": 0.1, "compute.scan": True})
    assert changed.model.lora.dropout == 0.1 and changed.compute.scan
    assert config == Config()  # a copy
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.steps = 3


OLD = {
    "arm": "mldg", "samples": 500, "averaging": 0.5, "prefixes": "kept",
    "episode": {
        "meta_test": 1, "examples": 6, "attacks": 3, "without": ["A01"],
        "domains": "voice", "crop": "first",
    },
    "selection": {"without": ["A02"], "meta_test": 3},
}  # fmt: skip


def test_the_names_of_the_last_release_are_understood():
    """They occur in the config.json of finished runs and in users' config files."""
    config = complete(OLD)
    assert (config.method, config.crop_samples) == ("mldg", 500)
    assert (config.ema_decay, config.feature_cache) == (0.5, "kept")
    assert config.episode == EpisodeSection(
        1, 6, ("A01",), 3, domains="speaker", crop="first"
    )
    assert config.selection.held_out == ("A02",)
    assert config.selection.num_meta_test == 3
    assert complete(to_dict(config)) == config
    assert OLD["episode"]["without"] == ["A01"]  # the argument is not modified


def test_old_names_are_known_nested_and_dotted():
    assert sorted(old_names(OLD)) == sorted(RENAMED)
    assert old_names({"episode.meta_test": 3}, {"samples": 4}) == [
        "samples",
        "episode.meta_test",
    ]
    assert old_names(to_dict(complete(OLD))) == []
    changed = with_values(Config(), {"episode.meta_test": 3, "averaging": 0.25})
    assert changed.episode.num_meta_test == 3 and changed.ema_decay == 0.25


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sed": 1}, "'sed' is not known; did you mean seed"),
        ({"train.steps": 1}, "'train.steps' is not known; did you mean steps?"),
        ({"optimizer.lrr": 1}, "'optimizer.lrr' is not known; did you mean optimizer"),
        ({"optimiser": {}}, "'optimiser' is not known; did you mean optimizer?"),
        ({"optimiser.lr": 1}, "'optimiser.lr' is not known; did you mean optimizer.lr"),
        ({"optimizer.ema": 2}, "'optimizer.ema' is not known; did you mean ema_decay?"),
        ({"optimizer.seed": 2}, "'optimizer.seed' is not known; did you mean seed?"),
        ({"optimizer.momentum": 2}, "'optimizer.momentum' is not known; known are"),
        ({"augment.rawbost": 5}, "rawbost.*rawboost"),
        ({"model.lora.rnk": 5}, "rnk.*rank"),
        ({"optimiser.lr": 1}, "'optimiser.lr'.*optimizer.lr"),
        ({"seed.lr": 1}, "'seed.lr' is not known"),
        ({"steps": "many"}, "steps is 'many'; it must be a whole number"),
        ({"steps": 1.5}, "steps is 1.5; it must be a whole number"),
        ({"steps": True}, "steps is True; it must be a whole number"),
        ({"optimizer.lr": "fast"}, "lr is 'fast'; it must be a number"),
        ({"tensorboard": 1}, "tensorboard is 1; it must be true or false"),
        ({"episode.exclude": "A01"}, "exclude is 'A01'; it must be a list"),
        ({"episode.exclude": [1]}, "exclude is 1; it must be text"),
        ({"optimizer": 3}, "optimizer is 3; it must be a section"),
        ({"optimizer.lr": -1}, r"optimizer.lr is -1.0; it must be 0 … 10"),
        ({"optimizer.lr": float("nan")}, "lr is nan; it must be a number"),
        ({"model.lora.alpha": float("inf")}, "alpha is inf; it must be a number"),
        ({"model.lora.rank": 10**5}, "rank is 100000; it must be 0 … 4,096"),
        ({"model.lora.rank": -4}, "rank is -4; it must be 0"),
        ({"steps": -1}, "steps is -1; it must be 0"),
        ({"steps": None}, "steps is None; it must be a whole number"),
        ({"crop_samples": 10**9}, "crop_samples is 1000000000; it must be 400"),
        ({"crop_samples": -5}, "crop_samples is -5; it must be 400"),
        ({"seed": -1}, "seed is -1; it must be 0"),
        ({"seed": 10**30}, "seed is 10+; it must be 0"),
        ({"checkpoint_every": 0}, "checkpoint_every is 0; it must be 1"),
        ({"log_every": 0}, "log_every is 0; it must be 1"),
        ({"keep_every": -1}, "keep_every is -1; it must be 0"),
        ({"ema_decay": 1}, "ema_decay is 1.0; it must be 0 … 0.999999"),
        ({"loader.threads": -1}, "threads is -1; it must be 0"),
        ({"compute.micro_batches": 0}, "micro_batches is 0; it must be 1"),
        ({"compute.dtype": "float16"}, "it must be float32 or bfloat16"),
        ({"episode.crop": "last"}, "it must be random or first"),
        ({"corpus.name": None}, "corpus.name is None; it must be text"),
        ({"optimizer.warmup": -1}, "warmup is -1; it must be 0"),
        ({"calibration.utterances": -1}, "utterances is -1; it must be 0"),
        ({"selection.lr": [1e-3, -1]}, r"selection.lr is -1.0; it must be 0"),
        ({"model.frontend": {"layers": 10**12}}, "layers is 1000000000000; it must"),
        ({"model.frontend": {"kind": {"a": 1}}}, "kind is .*; it must be text, true"),
        ({"model.head": {"dim": float("nan")}}, "dim is nan; it must be text, true"),
    ],
)
def test_a_wrong_name_or_type_is_said_in_one_line(values, message):
    with pytest.raises(UserError, match=message) as caught:
        with_values(Config(), values)
    assert "\n" not in str(caught.value)
