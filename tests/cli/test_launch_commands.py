"""The command ``mldg launch``."""

import re
import subprocess
import sys

import pytest
import yaml

from mldg_jax import cli
from mldg_jax.cli import launch_commands

RUN = [
    "--config", "xlsr:mldg2", "--workdir", "s3://b/runs/x/", "--data-dir",
    "s3://b/data",
]  # fmt: skip


def test_options_reach_the_manifest(capsys):
    options = ["--accelerator", "v5e:4x4", "--slices", "2", "--image", "i:1"]
    more = [
        "--set",
        "episode.examples_per_attack=32",
        "--restarts",
        "3",
        "--node-selector",
        "pool=a",
    ]
    assert cli.main(["launch", "--print", "jobset", *options, *more, *RUN]) == 0
    content = yaml.safe_load(capsys.readouterr().out)
    assert content["metadata"]["name"] == "xlsr-mldg2"
    assert content["spec"]["failurePolicy"]["maxRestarts"] == 3
    (job,) = content["spec"]["replicatedJobs"]
    assert job["replicas"] == 2
    pod = job["template"]["spec"]["template"]["spec"]
    assert pod["nodeSelector"]["pool"] == "a"
    assert pod["containers"][0]["image"] == "i:1"
    arguments = cli.make_parser().parse_args(pod["containers"][0]["args"])
    assert (
        arguments.overrides == ["episode.examples_per_attack=32"]
        and arguments.workdir == "s3://b/runs/x"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--volume", "claim"], "--volume 'claim': give CLAIM:/PATH"),
        (["--volume", "claim:disk"], "give CLAIM:/PATH"),
        (["--node-selector", "a"], "give LABEL=VALUE"),
        (["--accelerator", "v9:2x2"], "is not known"),
        (["--config", "configs/xslr.py:mldg"], "no config file or preset"),
        (["--config", "xlsr:mdlg"], "give one of the methods"),
        (["--set", "episode.exmaples=8"], "episode.exmaples"),
        (["--accelerator", "h100:8"], "4 examples per attack cannot be divided among"),
        (["--nodes", "3"], "give --set episode.examples_per_attack=6"),
    ],
)
def test_mistakes_are_named(options, message, capsys):
    command = ["launch", "--print", "jobset", "--accelerator", "cpu", *RUN, *options]
    assert cli.main(command) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.out == ""


def test_examples_of_the_help_are_launches(capsys):
    examples = re.findall(
        r"mldg (launch .*?)(?=\s*[|>]|$)",
        launch_commands.DETAILS.replace("\\\n", " "),
        re.MULTILINE,
    )
    assert len(examples) == 4
    for example in examples:
        assert cli.main(example.split()) == 0, capsys.readouterr().err


def test_it_starts_without_jax():
    program = (
        "import sys; from mldg_jax import cli; "
        "status = cli.main('launch --print dockerfile --accelerator cpu'.split()); "
        "sys.exit(status or bool({'jax', 'numpy'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", program]
    assert subprocess.run(command, stdout=subprocess.DEVNULL).returncode == 0
