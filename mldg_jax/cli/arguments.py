"""Arguments and helpers that several commands share."""

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mldg_jax.cli.verbosity import add_verbosity
from mldg_jax.common.config import CorpusSection

DATA_DIR = "data"  # default of --data-dir


def add_command(
    group: Any,
    name: str,
    function: Callable[[argparse.Namespace], int | None],
    text: str,
    details: str = "",
) -> argparse.ArgumentParser:
    """Adds a command that calls a function.

    Args:
      group: subparsers to add the command to.
      name: name of the command.
      function: called with the parsed arguments; returns the exit status, None for 0.
      text: one sentence, shown in the list of commands and in the command's help.
      details: more text for the command's help, such as examples; line breaks stay.

    Returns:
      The command's parser, to add arguments to.
    """
    command = group.add_parser(
        name,
        help=text,
        description=f"{text}\n\n{details}".strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(command=function)
    add_verbosity(command)
    return command


def add_data_dir(command: argparse._ActionsContainer) -> None:
    """Adds ``--data-dir``.

    Args:
      command: parser of a command, or a group of its options.
    """
    command.add_argument(
        "--data-dir",
        default=DATA_DIR,
        metavar="FOLDER",
        help="folder of the prepared corpora, which may be in a bucket (gs://… or "
        "s3://…); default: %(default)s",
    )


def add_corpus(command: argparse._ActionsContainer, whose: str) -> None:
    """Adds ``--corpus``.

    Args:
      command: parser of a command, or a group of its options.
      whose: run whose training corpus is the default, for the help text.
    """
    command.add_argument(
        "--corpus",
        metavar="NAME[/CONFIG]",
        help="a prepared corpus, e.g. debspoof/small; default: the corpus that the "
        f"{whose} was trained on",
    )


def corpus_title(
    arguments: argparse.Namespace, trained_on: CorpusSection
) -> tuple[str, str]:
    """Returns the corpus that ``--corpus`` names, or else a run's training corpus.

    Args:
      arguments: parsed arguments, with ``--corpus``.
      trained_on: section ``corpus`` of the run's config.

    Returns:
      Its name and its config; the config may be "".
    """
    name = arguments.corpus or f"{trained_on.name}/{trained_on.config}"
    name, _, size = name.partition("/")
    return name, size


def corpus_folder(arguments: argparse.Namespace, trained_on: CorpusSection) -> Path:
    """Finds the corpus that ``--corpus`` names, or else a run's training corpus.

    Args:
      arguments: parsed arguments, with ``--corpus`` and ``--data-dir``.
      trained_on: section ``corpus`` of the run's config.

    Returns:
      The folder of the corpus.

    Raises:
      UserError: there is no such corpus.
    """
    from mldg_jax.data.corpus import find_corpus

    name, size = corpus_title(arguments, trained_on)
    return find_corpus(name, size, arguments.data_dir)


def add_config(command: argparse.ArgumentParser) -> None:
    """Adds ``--config`` and ``--set``.

    Args:
      command: parser of a command.
    """
    command.add_argument(
        "--config",
        required=True,
        metavar="CONFIG:METHOD",
        help="a preset (see mldg configs) or a file, and a method, e.g. debspoof:mldg "
        "or my_config.py:mldg; methods: frozen, erm, control, mldg, mldg2, full, …",
    )
    add_overrides(command)


def add_overrides(command: argparse.ArgumentParser) -> None:
    """Adds ``--set``.

    Args:
      command: parser of a command.
    """
    command.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", dest="overrides",
        help="change a config value, e.g. --set optimizer.lr=1e-3; may be repeated. "
        "mldg_jax/common/config.py lists steps, seed and others without a section, "
        "mldg_jax/common/sections.py the rest",
    )  # fmt: skip


def whole_number(text: str) -> int:
    """Converts an argument that counts something; for ``add_argument(type=…)``.

    Args:
      text: the argument.

    Returns:
      The number, from 1.

    Raises:
      ArgumentTypeError: it is not such a number.
    """
    if not re.fullmatch("[1-9][0-9]{0,4}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)
