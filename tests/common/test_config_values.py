import dataclasses

import pytest

from mldg_jax.common.config import Config
from mldg_jax.common.config_values import complete, to_dict, with_values
from mldg_jax.common.errors import UserError


def test_what_is_not_said_has_its_default():
    config = complete({"steps": 7, "model": {"lora": {"rank": 4}}})
    assert config.steps == 7 and config.model.lora.rank == 4
    assert config.model.lora.alpha == Config().model.lora.alpha
    assert config.episode == Config().episode


def test_json_and_back():
    values = {
        "corpus.fold": 2,
        "episode.without": ("A01", "A02"),
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


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sed": 1}, "'sed' is not known; did you mean seed"),
        ({"optimizer.lrr": 1}, "'optimizer.lrr' is not known; did you mean optimizer"),
        ({"augment.rawbost": 5}, "rawbost.*rawboost"),
        ({"model.lora.rnk": 5}, "rnk.*rank"),
        ({"optimiser.lr": 1}, "'optimiser.lr'.*optimizer.lr"),
        ({"seed.lr": 1}, "'seed.lr' is not known"),
        ({"steps": "many"}, "steps is 'many'; it must be a whole number"),
        ({"steps": 1.5}, "steps is 1.5; it must be a whole number"),
        ({"steps": True}, "steps is True; it must be a whole number"),
        ({"optimizer.lr": "fast"}, "lr is 'fast'; it must be a number"),
        ({"tensorboard": 1}, "tensorboard is 1; it must be true or false"),
        ({"episode.without": "A01"}, "without is 'A01'; it must be a list"),
        ({"episode.without": [1]}, "without is 1; it must be text"),
        ({"optimizer": 3}, "optimizer is 3; it must be a section"),
    ],
)
def test_a_wrong_name_or_type_is_said_in_one_line(values, message):
    with pytest.raises(UserError, match=message) as caught:
        with_values(Config(), values)
    assert "\n" not in str(caught.value)
