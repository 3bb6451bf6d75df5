"""The documents on publishing: their code runs, their commands exist."""

import re
import shlex
from pathlib import Path

import pytest

from mldg_jax.cli import make_parser

DOCS = Path(__file__).parents[2] / "docs"
TEXTS = {name: (DOCS / f"{name}.md").read_text() for name in ("hub", "arena")}


def test_the_eers_of_the_example_differ():
    (block,) = re.findall(r"```python\n(.*?)```", TEXTS["arena"], re.S)
    names: dict = {}
    exec(compile(block, "arena.md", "exec"), names)
    assert abs(names["arena"] - names["asvspoof"]) > 0.5


@pytest.mark.parametrize("name", TEXTS)
def test_commands_are_valid(name):
    text = TEXTS[name].replace("\\\n", " ")
    commands = re.findall(r"^ *(mldg .+)$", text, re.M)
    assert commands
    for command in commands:
        make_parser().parse_args(shlex.split(command)[1:])


def test_every_file_of_the_folder_is_listed():
    from mldg_jax.exporting import hub_detector

    for name in (*hub_detector.MODULES, "adapters/", "onnx/model.onnx", "config.json"):
        assert f"`{name}`" in TEXTS["hub"]
