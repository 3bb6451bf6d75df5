"""The command line: exit statuses, and one clear line for each error."""

import fcntl
import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from mldg_jax import cli
from mldg_jax.training import loop
from mldg_jax.training.config_files import read_config_file
from tests import signals


@pytest.fixture
def recording(tmp_path):
    path = tmp_path / "speech.wav"
    noise = np.random.default_rng(0).normal(size=44_100)
    soundfile.write(path, np.stack([0.1 * noise, 0.1 * noise], 1), 44_100)
    return path


def test_score_prints_name_and_score(smoke_run, recording, capsys):
    assert cli.main(["score", str(smoke_run), str(recording)]) == 0
    name, score = capsys.readouterr().out.split()
    assert name == str(recording) and np.isfinite(float(score))


def test_score_writes_a_file_on_request(smoke_run, recording, tmp_path, capsys):
    output = tmp_path / "out" / "scores.txt"
    arguments = ["score", str(smoke_run), str(recording), "--output", str(output)]
    assert cli.main(arguments) == 0
    assert not capsys.readouterr().out
    assert output.read_text().startswith(str(recording))


def test_bad_recordings_are_named_and_the_good_ones_scored(
    smoke_run, recording, tmp_path, capsys
):
    text, short = tmp_path / "text.wav", tmp_path / "short.wav"
    text.write_text("not audio")
    soundfile.write(short, 0.1 * np.ones(1_600), 16_000)
    files = [str(text), str(recording), str(short), str(tmp_path / "none.wav")]
    assert cli.main(["score", str(smoke_run), *files]) == 2
    captured = capsys.readouterr()
    assert captured.out.split()[0] == str(recording)
    meaning, *problems = captured.err.splitlines()
    assert "higher is more bona fide" in meaning and len(problems) == 3
    for problem, words in zip(
        problems, ("cannot be read", "0.100 s long", "no such file"), strict=True
    ):
        assert problem.startswith("mldg: ") and words in problem


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["score", "no/such/run", "a.wav"], "is not a run folder"),
        (["train", "--config", "none.py:mldg", "--workdir", "w"], "no config file"),
        (["train", "--config", "configs/debspoof.py:x", "--workdir", "w"], "methods"),
        (
            ["train", "--config", "configs/debspoof.py:mldg", "--workdir", "w",
             "--data-dir", "no/data"],
            "mldg corpus build debspoof --size small",
        ),
        (
            ["train", "--config", "configs/debspoof.py:mldg", "--workdir", "w",
             "--set", "optimizer.typo=1"],
            "typo",
        ),
    ],
)  # fmt: skip
def test_wrong_input_is_one_line_and_status_2(arguments, words, capsys):
    assert cli.main(arguments) == 2
    message = capsys.readouterr().err
    assert words in message and message.count("\n") == 1


def test_help_teaches(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--help"])
    assert stop.value.code == 0
    assert "higher for bona fide" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("form", "files"),
    [
        ("peft", {"adapter_model.safetensors", "adapter_config.json", "README.md"}),
        ("merged", {"model.safetensors", "config.json", "README.md"}),
    ],
)
def test_export_writes_what_torch_loads(smoke_run, form, files, tmp_path):
    """tests/parity/test_export.py tests that torch loads them."""
    folder = tmp_path / "out"
    assert cli.main(["export", str(smoke_run), str(folder), "--format", form]) == 0
    assert {path.name for path in folder.iterdir()} == files


def test_a_run_without_adapters_has_nothing_to_export(tmp_path, capsys):
    config = read_config_file("tests/tiny.py:frozen", ["steps=1"])
    loop.train(config, tmp_path, signals.corpus(), progress=lambda step: None)
    assert cli.main(["export", str(tmp_path), str(tmp_path / "out")]) == 2
    assert "trained no adapters" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def read_some(lines, *arguments):
    """Runs ``mldg … | head -N`` with a pipe of 4 KB: status, text, standard error."""
    reads, writes = os.pipe()
    fcntl.fcntl(writes, fcntl.F_SETPIPE_SZ, 4_096)
    process = subprocess.Popen(
        [sys.executable, "-m", "mldg_jax.cli", *map(str, arguments)],
        stdout=writes,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": ""},  # as it is for users
    )
    os.close(writes)
    with os.fdopen(reads, "rb", buffering=0) as pipe:
        text = b"".join(pipe.readline() for _ in range(lines))
    _, errors = process.communicate(timeout=300)
    return process.returncode, text.decode(), errors


def test_an_output_that_is_full_is_one_line(tmp_path):
    (tmp_path / "scores.txt").write_text("a 1.0\nb -1.0\n")
    (tmp_path / "keys.csv").write_text("utterance,label\na,bonafide\nb,spoof\n")
    files = str(tmp_path / "scores.txt"), "--keys", str(tmp_path / "keys.csv")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "mldg_jax.cli", "check", *files],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == "mldg: cannot write the output: No space left on device\n"


@pytest.mark.parametrize(
    ("words", "streams", "status", "message"),
    [
        ("--help", ">&-", 2, "standard output is closed"),
        ("plan --help", ">/dev/full", 2, "cannot write the output: No space"),
        ("score --help", "1</dev/null", 2, "cannot write the output: Bad file"),
        ("score no/run -", "<&-", 2, "standard input cannot be read (it is closed)"),
        ("score no/run a.wav", "2>&-", 2, ""),
        ("score no/run a.wav", "2>/dev/full", 2, ""),
        ("--help", "<&- 2>&-", 0, ""),
    ],
)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_streams_that_cannot_be_used_are_one_line(
    words, streams, status, message, unbuffered
):
    command = f"exec {sys.executable} -m mldg_jax.cli {words} {streams}"
    done = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
    )  # fmt: skip
    assert done.returncode == status
    assert message in done.stderr and done.stderr.count("\n") == bool(message)


def test_too_little_memory_is_one_line(smoke_run, monkeypatch, capsys):
    def score(*arguments, **options):
        raise MemoryError

    monkeypatch.setattr("mldg_jax.scoring.recordings.score", score)
    assert cli.main(["score", str(smoke_run), "a.wav"]) == 2
    message = capsys.readouterr().err
    assert "not enough memory" in message and message.count("\n") == 1


def test_a_reader_that_stops_reading_is_no_error(smoke_run, tmp_path):
    """15 KB of scores break the pipe while there are more to come."""
    names = [tmp_path / f"{i:0200}.wav" for i in range(60)]
    noise = 0.1 * np.random.default_rng(0).normal(size=3_200)
    soundfile.write(names[0], noise, 16_000)
    for name in names[1:]:
        name.hardlink_to(names[0])
    command = ("score", smoke_run, tmp_path)
    status, line, errors = read_some(1, *command)
    assert status == 0
    assert line.startswith(str(names[0])) and np.isfinite(float(line.split()[1]))
    (meaning,) = errors.splitlines()
    assert "higher is more bona fide" in meaning


def test_nor_is_one_that_is_gone_before_the_first_line(tmp_path):
    """Short output, like that of --help, meets the broken pipe in the last flush."""
    scores, keys = tmp_path / "scores.csv", tmp_path / "keys.csv"
    scores.write_text("utterance,score\na,1.0\nb,2.0\n")
    keys.write_text("utterance,label\na,spoof\nb,bonafide\n")
    assert read_some(0, "check", scores, "--keys", keys) == (0, "", "")
    assert read_some(0, "score", "--help") == (0, "", "")


LONG = "no-name-is-so-long" * 300


@pytest.mark.parametrize(
    "command",
    [
        f"score {LONG} a.wav",
        f"train --config {LONG} --workdir x",
        f"train --config debspoof:erm --workdir x --data-dir {LONG}",
        f"evaluate --scores A={LONG} --keys k",
        f"corpus info {LONG}",
        f"corpus build manifest --source {LONG}.csv",
        f"export {LONG} x --format onnx",
        f"calibrate {LONG}",
    ],
)
def test_a_name_that_is_too_long_is_one_message(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(command.split()) == 2
    said = capsys.readouterr().err
    assert "is too long for the name of a file: a name has at most 255 bytes" in said
    assert said.count("\n") == 1 and len(said) < 250


def test_a_name_that_is_too_long_stops_no_other(smoke_run, recording, capsys):
    names = [f"{LONG}.wav", str(recording), f"{LONG}.txt"]
    assert cli.main(["score", str(smoke_run), *names]) == 2
    captured = capsys.readouterr()
    assert captured.out.split()[0] == str(recording)
    assert captured.err.count("too long") == 2
