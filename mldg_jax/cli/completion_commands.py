"""The command ``mldg completion``."""

import argparse
from typing import Any

from mldg_jax.cli.arguments import add_command
from mldg_jax.common.errors import UserError

TEXT = "Print a script with which the shell completes mldg's commands and options."
DETAILS = """\
The script is static: pressing Tab does not start Python. It needs the package shtab
(pip install 'mldg_jax[completion]') only when it is made, so make it again after an
update.

examples:
  mldg completion bash > ~/.local/share/bash-completion/completions/mldg
  mldg completion zsh > ~/.zfunc/_mldg          with ~/.zfunc in $fpath
  mldg completion tcsh > ~/.mldg.tcsh           and source it in ~/.tcshrc
"""
SHELLS = ("bash", "zsh", "tcsh")
PATHS = ("FILE", "FOLDER", "RUN", "AUDIO", "PATH")  # placeholders of paths


def add(commands: Any) -> None:
    """Adds the command.

    Args:
      commands: subparsers of the main parser.
    """
    completion = add_command(commands, "completion", _completion, TEXT, DETAILS)
    completion.add_argument("shell", choices=SHELLS, help="the shell")


def _completion(arguments: argparse.Namespace) -> None:
    from mldg_jax.cli import make_parser

    print(script(make_parser(), arguments.shell))


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Makes the script.

    Args:
      parser: of the whole command line; its arguments that are paths are marked so.
      shell: one of ``SHELLS``.

    Returns:
      The script.

    Raises:
      UserError: shtab is not installed.
    """
    try:
        import shtab
    except ImportError:
        raise UserError(
            "the package shtab, which makes the script, is not installed: pip install "
            "'mldg_jax[completion]'"
        ) from None
    _mark_paths(parser, shtab.FILE)
    return shtab.complete(parser, shell)


def _mark_paths(parser: argparse.ArgumentParser, mark: Any) -> None:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _mark_paths(command, mark)
        elif any(word in str(action.metavar) for word in PATHS):
            action.complete = mark  # type: ignore[attr-defined]
