"""``--help`` of every command is text, printed before anything heavy is imported."""

import subprocess
import sys

HEAVY = (
    *("jax", "numpy", "flax", "orbax", "optax", "matplotlib", "librosa", "pandas"),
    *("scipy", "sklearn", "grain", "tensorflow_datasets", "jinja2", "torch"),
)
PROGRAM = """
import argparse, sys
from mldg_jax import cli

def commands(parser, words):
    yield words
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                yield from commands(command, [*words, name])

for words in commands(cli.make_parser(), []):
    try:
        cli.main([*words, "--help"])
    except SystemExit as end:
        assert not end.code, words
print("imported:", *sorted(sys.modules.keys() & set(sys.argv[1:])))
"""


def test_help_of_every_command_imports_nothing_heavy():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *HEAVY], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for command in ("", " demo", " corpus build", " score", " plan", " analyse"):
        assert f"usage: mldg{command} [-h]" in done.stdout
    assert done.stdout.splitlines()[-1] == "imported:"
