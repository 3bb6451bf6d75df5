"""What several commands share."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mldg_jax.common.config import CorpusSection


def add_command(
    group: Any,
    name: str,
    function: Callable[[argparse.Namespace], int | None],
    text: str,
) -> argparse.ArgumentParser:
    """Adds a command that calls a function; returns its parser."""
    command = group.add_parser(name, help=text, description=text)
    command.set_defaults(command=function)
    return command


def add_data_dir(command: argparse.ArgumentParser) -> None:
    """``--data-dir``."""
    command.add_argument(
        "--data-dir",
        default="data",
        help="where corpora are kept; default: %(default)s",
    )


def add_corpus(command: argparse.ArgumentParser, whose: str) -> None:
    """``--corpus``; ``whose`` training corpus is the default."""
    command.add_argument(
        "--corpus",
        metavar="NAME[/CONFIG]",
        help=f"default: the corpus that the {whose} was trained on",
    )


def corpus_folder(arguments: argparse.Namespace, trained_on: CorpusSection) -> Path:
    """The folder of the corpus that ``--corpus`` names, or that of a run's config."""
    from mldg_jax.data.corpus import find_corpus

    name = arguments.corpus or f"{trained_on.name}/{trained_on.config}"
    name, _, size = name.partition("/")
    return find_corpus(name, size, arguments.data_dir)


def add_config(command: argparse.ArgumentParser) -> None:
    """``--config`` and ``--set``."""
    command.add_argument("--config", required=True, help="FILE.py:METHOD")
    add_overrides(command)


def add_overrides(command: argparse.ArgumentParser) -> None:
    """``--set``."""
    command.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", dest="overrides",
        help="change a config value, e.g. --set optimizer.lr=1e-3; may be repeated",
    )  # fmt: skip
