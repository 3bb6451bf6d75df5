"""What is said while a program is compiled."""

import logging

from mldg_jax.training import loop
from mldg_jax.training.announcement import announced
from tests import signals, small


def test_the_first_call_is_announced_and_its_time_told(caplog):
    caplog.set_level(logging.INFO, "mldg_jax")
    said = []

    def function(x):
        said.append([record.message for record in caplog.records])
        return x + 1

    call = announced(function, "the step")
    assert [call(1), call(2)] == [2, 3]
    assert len(said[0]) == 1 and said[0][0].startswith("compiling the step")
    assert len(said[1]) == 2 and said[1][1].startswith("compiled in ")


def test_training_with_a_bar_says_that_it_compiles(tmp_path, caplog, capsys):
    caplog.set_level(logging.INFO, "mldg_jax")
    loop.train(small.smoke_config(), tmp_path, signals.corpus())
    assert "compiling the training step" in caplog.text
    assert "step" in capsys.readouterr().err  # the bar
