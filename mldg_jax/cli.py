"""The command line: parses, calls one function of the rooms above, prints."""

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mldg_jax import cli_evaluate
from mldg_jax.errors import UserError

DESCRIPTION = """\
Train detectors of synthetic speech that hold on attacks they never met, and score
recordings with them. A score is higher for bona fide (human) speech, everywhere."""

EPILOG = """\
examples:
  mldg demo                                    the whole argument in ten minutes
  mldg corpus build debspoof --size small      only the corpus
  mldg corpus build asvspoof2019_la --source /data/LA
  mldg train --config configs/debspoof.py:mldg --workdir runs/mldg
  mldg score runs/demo/mldg-0 my_recording.wav
  mldg evaluate --scores scores.txt --keys trial_metadata.txt --html report.html
"""

CORPORA = (
    *("asvspoof2019_la", "asvspoof2021_la", "asvspoof2021_df", "asvspoof5"),
    *("in_the_wild", "fakeavceleb", "debspoof", "manifest"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit status (0 done, 2 wrong input)."""
    arguments = _parser().parse_args(argv)
    try:
        return arguments.command(arguments) or 0
    except UserError as error:
        print(f"mldg: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("mldg: interrupted; the same command continues", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="mldg", description=DESCRIPTION, epilog=EPILOG, formatter_class=raw
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(group, name, function, text):
        command = group.add_parser(name, help=text, description=text)
        command.set_defaults(command=function)
        return command

    demo = add(
        commands, "demo", _demo, "Build DebSpoof, train four arms, write a report."
    )
    demo.add_argument(
        "--config", default="configs/debspoof.py", help="default: %(default)s"
    )
    demo.add_argument("--workdir", default="runs/demo", help="default: %(default)s")
    demo.add_argument("--seeds", type=int, default=3, help="runs an arm; default 3")
    demo.add_argument("--size", choices=("small", "full"), default="small")
    demo.add_argument(
        "--workers",
        type=int,
        help="processes; one a CPU core by default (use 1 with a GPU or TPU)",
    )
    _add_data_dir(demo)
    _add_overrides(demo)

    corpus = commands.add_parser("corpus", help="Build corpora and look at them.")
    _add_corpus(add, corpus.add_subparsers(required=True, metavar="ACTION"))

    train = add(commands, "train", _train, "Train a run; started again it continues.")
    train.add_argument("--config", required=True, help="FILE.py:ARM")
    train.add_argument("--workdir", required=True, help="the run folder")
    train.add_argument("--devices", type=int, help="how many; all by default")
    train.add_argument(
        "--coordinator",
        metavar="HOST:PORT",
        help="of process 0, to train in several processes; 'auto' on a TPU slice",
    )
    train.add_argument("--processes", type=int, help="with HOST:PORT: how many")
    train.add_argument("--process", type=int, help="with HOST:PORT: which one this is")
    _add_data_dir(train)
    _add_overrides(train)

    score = add(
        commands, "score", _score,
        "Score recordings: one line 'name score' each, higher is more bona fide.",
    )  # fmt: skip
    score.add_argument("run", help="a finished run folder, e.g. runs/demo/mldg-0")
    score.add_argument(
        "audio",
        nargs="+",
        help="recordings of any rate, channels and length ≥ 0.2 s; folders, searched "
        "through; lists (.txt, .lst) with a path a line; - for such a list on "
        "standard input",
    )
    score.add_argument(
        "--output", help="a score file to write; interrupted, the command continues it"
    )
    score.add_argument(
        "--timeline",
        metavar="FOLDER",
        help="write the score of every window there: where in a recording is the fake?",
    )
    score.add_argument(
        "--overlap",
        type=float,
        default=0.0,
        help="share of a window that neighbours have in common at least; a score is "
        "the mean over windows; default: %(default)s, the fewest that cover all",
    )

    export = add(
        commands, "export", _export,
        "Write a run's front-end for torch: its adapters, or merged with them.",
    )  # fmt: skip
    export.add_argument("run", help="a finished run folder")
    export.add_argument("folder", help="where to write")
    export.add_argument(
        "--format",
        choices=("peft", "merged"),
        default="peft",
        help="peft: adapters for peft.PeftModel; merged: an encoder for transformers; "
        "default: %(default)s",
    )
    cli_evaluate.add_evaluate(
        add(commands, "evaluate", cli_evaluate.evaluate, cli_evaluate.EVALUATE)
    )
    cli_evaluate.add_check(
        add(commands, "check", cli_evaluate.check, cli_evaluate.CHECK)
    )
    return parser


def _add_corpus(add: Callable, actions: Any) -> None:
    build = add(actions, "build", _build, "Build a corpus; started again it continues.")
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
    _add_data_dir(build)

    info = add(actions, "info", _info, "Say what a prepared corpus holds.")
    info.add_argument("name", help="NAME or NAME/CONFIG, e.g. debspoof/small")
    info.add_argument("--json", action="store_true", help="one JSON object")
    _add_data_dir(info)


def _add_data_dir(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--data-dir",
        default="data",
        help="where corpora are kept; default: %(default)s",
    )


def _add_overrides(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", dest="overrides",
        help="change a config value, e.g. --set optimizer.lr=1e-3; may be repeated",
    )  # fmt: skip


def _demo(arguments: argparse.Namespace) -> None:
    from mldg_jax import demo, report

    corpus = _build_debspoof(arguments)
    workdir = Path(arguments.workdir)
    results = demo.run(
        arguments.config,
        corpus,
        workdir,
        seeds=arguments.seeds,
        workers=arguments.workers,
        overrides=arguments.overrides,
    )
    print(report.table(results))
    print(f"\n{workdir / 'report.html'}: open it in a browser")
    print(f"{workdir / 'results.json'}: every number of it")
    print(f"next: mldg score {workdir / 'mldg-0'} your.wav")


def _build(arguments: argparse.Namespace) -> None:
    if arguments.name == "debspoof":
        if arguments.source is not None or arguments.beam is not None:
            raise UserError("debspoof needs no --source and no --beam: leave them out")
        _build_debspoof(arguments)
        return
    if arguments.source is None:
        raise UserError(
            f"{arguments.name} needs --source: the folder that its archives were "
            "unpacked into, or the table of a manifest"
        )
    from mldg_jax.data import prepare

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


def _build_debspoof(arguments: argparse.Namespace) -> Path:
    from mldg_jax.data import debspoof

    return debspoof.build(
        arguments.size or "small", Path(arguments.data_dir), workers=arguments.workers
    )


def _info(arguments: argparse.Namespace) -> None:
    from mldg_jax import inventory
    from mldg_jax.data import corpus as corpora

    name, _, config = arguments.name.partition("/")
    numbers = inventory.describe(corpora.find(name, config, arguments.data_dir))
    picture = inventory.save_plot(numbers)
    if arguments.json:
        plot = str(picture) if picture else None
        print(json.dumps({**numbers, "plot": plot}, ensure_ascii=False))
        return
    print(inventory.table(numbers))
    if picture:
        print(f"{picture}: a picture of it")


def _train(arguments: argparse.Namespace) -> None:
    from mldg_jax import configs, parallel, training
    from mldg_jax.data import corpus as corpora

    config = configs.read(arguments.config, arguments.overrides)
    if arguments.coordinator:
        parallel.connect(arguments.coordinator, arguments.processes, arguments.process)
    folder = corpora.find(config.corpus.name, config.corpus.config, arguments.data_dir)
    training.train(
        config,
        arguments.workdir,
        corpora.load(folder, "train"),
        devices=parallel.devices(arguments.devices),
    )
    if parallel.leads():
        print(f"{arguments.workdir}: finished; score with it: "
              f"mldg score {arguments.workdir} your.wav")  # fmt: skip


def _export(arguments: argparse.Namespace) -> None:
    from mldg_jax import exporting

    exporting.export(arguments.run, arguments.folder, arguments.format)
    print(f"{arguments.folder}: written")


def _score(arguments: argparse.Namespace) -> int:
    from mldg_jax import recordings

    failed = recordings.score(
        arguments.run,
        arguments.audio,
        output=arguments.output,
        timeline=arguments.timeline,
        overlap=arguments.overlap,
    )
    return 2 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
