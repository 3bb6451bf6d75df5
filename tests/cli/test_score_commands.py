"""mldg score: a run and recordings in another order than RUN AUDIO."""

import pytest

from mldg_jax import cli


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a recording's name, and two run folders below runs/quick."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.wav").touch()
    for name in ("mldg-0", "erm-0"):
        (tmp_path / "runs" / "quick" / name).mkdir(parents=True)
        (tmp_path / "runs" / "quick" / name / "config.json").write_text("{}")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("a.wav runs/quick/mldg-0", "mldg score runs/quick/mldg-0 a.wav"),
        ("a.wav b.wav runs/quick/mldg-0", "mldg score runs/quick/mldg-0 a.wav b.wav"),
        ("a.wav b.wav", "a.wav is a file, not a run folder; the run comes first"),
        ("a.wav", "the run comes first: mldg score RUN a.wav"),
        ("runs/quick/mldg-0", "no recording: mldg score runs/quick/mldg-0 your.wav"),
        ("runs/quick a.wav", "give one of them (runs/quick/erm-0, runs/quick/mldg-0)"),
        ("nothing a.wav", "nothing is not a run folder (it has no config.json)"),
    ],
)
def test_the_order_of_run_and_recordings(place, capsys, arguments, message):
    assert cli.main(["score", *arguments.split()]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "needs"),
    [
        ("--overlap 0.5", "--timeline"),
        ("--overlap 0", "--timeline"),
        ("--threshold 1", "--segments"),
        ("--segment-keys k", "--segments"),
        ("--no-figures", "--segments"),
    ],
)
def test_an_option_of_an_output_needs_the_output(place, capsys, option, needs):
    command = ["score", "runs/quick/mldg-0", "a.wav", *option.split()]
    assert cli.main(command) == 2
    said = capsys.readouterr().err
    assert f"{option.split()[0]} applies to {needs} FOLDER" in said
    assert said.count("\n") == 1
