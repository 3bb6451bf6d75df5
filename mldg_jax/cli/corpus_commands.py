"""``mldg corpus build`` and ``mldg corpus info``."""

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any

from mldg_jax.cli.arguments import add_command, add_data_dir
from mldg_jax.common.errors import UserError

CORPORA = (
    *("asvspoof2019_la", "asvspoof2021_la", "asvspoof2021_df", "asvspoof5"),
    *("in_the_wild", "fakeavceleb", "debspoof", "manifest"),
)


def add(commands: Any) -> None:
    """Adds the commands."""
    corpus = commands.add_parser("corpus", help="Build corpora and look at them.")
    actions = corpus.add_subparsers(required=True, metavar="ACTION")
    build = add_command(
        actions, "build", _build, "Build a corpus; started again it continues."
    )
    build.add_argument(
        "name",
        choices=CORPORA,
        metavar="NAME",
        help=f"one of {', '.join(CORPORA)}; manifest: any CSV, TSV or Parquet table "
        "with the columns path, label, attack (and speaker, split, codec, language)",
    )
    build.add_argument(
        "--source",
        help="the folder that the official archives were unpacked into, or the table; "
        "debspoof needs none",
    )
    build.add_argument(
        "--size", choices=("small", "full"), help="of debspoof; default: small"
    )
    build.add_argument(
        "--allow-incomplete",
        action="store_true",
        help="build what is there, though it is not all of the official corpus",
    )
    build.add_argument(
        "--workers", type=int, help="processes; one a CPU core by default"
    )
    build.add_argument(
        "--beam",
        nargs="?",
        const="",
        metavar="OPTIONS",
        help="make the records with Apache Beam (pip install 'mldg_jax[beam]'): alone "
        "on this machine, or with Beam's options, as in "
        '--beam="--runner=DataflowRunner --region=europe-west4 …"; source and data '
        "directory must be on a disk that all its workers see",
    )
    add_data_dir(build)

    info = add_command(actions, "info", _info, "Say what a prepared corpus holds.")
    info.add_argument("name", help="NAME or NAME/CONFIG, e.g. debspoof/small")
    info.add_argument("--json", action="store_true", help="one JSON object")
    add_data_dir(info)


def _build(arguments: argparse.Namespace) -> None:
    if arguments.name == "debspoof":
        if arguments.source is not None or arguments.beam is not None:
            raise UserError("debspoof needs no --source and no --beam: leave them out")
        build_debspoof(arguments)
        return
    if arguments.source is None:
        raise UserError(
            f"{arguments.name} needs --source: the folder that its archives were "
            "unpacked into, or the table of a manifest"
        )
    from mldg_jax.data.corpora import prepare

    folder, report = prepare.build(
        arguments.name,
        arguments.source,
        arguments.data_dir,
        workers=arguments.workers,
        allow_incomplete=arguments.allow_incomplete,
        beam=None if arguments.beam is None else shlex.split(arguments.beam),
    )
    if report is None:
        print(f"{folder}: it is there already; to build it anew, delete it first")
        return
    print(report.short(), file=sys.stderr)
    print(f"{folder}: built; {folder.parent / 'report.txt'} says what is in it")


def build_debspoof(arguments: argparse.Namespace) -> Path:
    """Builds DebSpoof and prints what is in it; returns its folder."""
    from mldg_jax.data.corpora import debspoof

    folder, report = debspoof.build(
        arguments.size or "small", Path(arguments.data_dir), workers=arguments.workers
    )
    if report is not None:
        print(report)
    return folder


def _info(arguments: argparse.Namespace) -> None:
    from mldg_jax.data.corpora import inventory
    from mldg_jax.data.corpus import find_corpus

    name, _, config = arguments.name.partition("/")
    numbers = inventory.describe(find_corpus(name, config, arguments.data_dir))
    picture = inventory.save_plot(numbers)
    if arguments.json:
        plot = str(picture) if picture else None
        print(json.dumps({**numbers, "plot": plot}, ensure_ascii=False))
        return
    print(inventory.table(numbers))
    if picture:
        print(f"{picture}: a picture of it")
