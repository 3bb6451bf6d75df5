"""Wrong options: named with the command's own usage and the nearest option."""

import pytest

from mldg_jax import cli


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("score RUN a.wav --ouput x", "there is no option --ouput: did you mean --out"),
        ("bench --config x --second 3", "no option --second: did you mean --seconds?"),
        ("train --conifg debspoof:mldg --workdir x", "did you mean --config?"),
        ("corpus build debspoof --sizes=full", "did you mean --size?"),
        ("plan --zzzz", "no option --zzzz: see mldg plan --help"),
        ("doctor twice", "unrecognized arguments: twice"),
    ],
)
def test_an_unknown_option_is_named_by_its_command(command, message, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(command.split())
    errors = capsys.readouterr().err
    words = command.split()[: 2 if command.startswith("corpus") else 1]
    assert end.value.code == 2 and message in errors
    assert errors.startswith(f"usage: mldg {' '.join(words)} [-h]")


def test_what_follows_two_hyphens_is_no_option():
    arguments = cli.make_parser().parse_args(["score", "RUN", "--", "--ouput.wav"])
    assert "--ouput.wav" in arguments.audio


def test_without_a_command_the_help_is_printed(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main([])
    assert not end.value.code
    assert capsys.readouterr().out.startswith("usage: mldg [-h]")


def test_configs_list_is_configs(capsys):
    assert cli.main(["configs"]) == 0
    listed = capsys.readouterr().out
    assert cli.main(["configs", "list"]) == 0
    assert capsys.readouterr().out == listed and "debspoof" in listed
