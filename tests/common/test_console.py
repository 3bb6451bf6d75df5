"""The library's log on the terminal, from this process and from its workers."""

import logging

from mldg_jax.common import console, processes

LOG = logging.getLogger("mldg_jax.somewhere")


def test_the_log_is_on_stderr_until_it_is_hidden(capsys, caplog):
    hide = console.show_log()
    LOG.info("a note")
    LOG.warning("%s is damaged", "a file")
    LOG.debug("a detail")
    hide()
    captured = capsys.readouterr()
    assert captured.err == "mldg: a note\nmldg: a file is damaged\n"
    assert not captured.out and not caplog.records
    LOG.warning("hidden")
    assert not capsys.readouterr().err and caplog.messages == ["hidden"]


def test_workers_show_it_too(capfd):
    with processes.pool(1) as workers:
        workers.submit(LOG.warning, "from a worker").result()
    assert capfd.readouterr().err == "mldg: from a worker\n"
