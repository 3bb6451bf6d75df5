"""The command line: parses, calls one function of the rooms above, prints."""

import argparse
import functools
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from mldg_jax.errors import UserError

DESCRIPTION = """\
Train detectors of synthetic speech that hold on attacks they never met, and score
recordings with them. A score is higher for bona fide (human) speech, everywhere."""

EPILOG = """\
examples:
  mldg demo                                    the whole argument in ten minutes
  mldg corpus build debspoof --size small      only the corpus
  mldg train --config configs/debspoof.py:mldg --workdir runs/mldg
  mldg plan --config configs/xlsr.py:mldg --topology v5e:2x4 --batch 12
  mldg score runs/demo/mldg-0 my_recording.wav
"""


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

    corpus = commands.add_parser("corpus", help="Build corpora.")
    corpus = corpus.add_subparsers(required=True, metavar="ACTION")
    build = add(corpus, "build", _build, "Build a corpus; started again it continues.")
    build.add_argument("name", choices=("debspoof",))
    build.add_argument("--size", choices=("small", "full"), default="small")
    build.add_argument(
        "--workers", type=int, help="processes; one a CPU core by default"
    )
    _add_data_dir(build)

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

    plan = add(
        commands, "plan", _plan,
        "Compile the training step for a TPU slice that is not there: does it fit?",
    )  # fmt: skip
    _add_plan_arguments(plan)
    _add_overrides(plan)

    score = add(
        commands, "score", _score,
        "Score recordings: one line 'name score' each, higher is more bona fide.",
    )  # fmt: skip
    score.add_argument("run", help="a finished run folder, e.g. runs/demo/mldg-0")
    score.add_argument("audio", nargs="+", help="any rate, channels and length ≥ 0.2 s")
    score.add_argument("--output", help="a file to write instead of standard output")

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
    return parser


def _add_data_dir(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--data-dir",
        default="data",
        help="where corpora are kept; default: %(default)s",
    )


def _add_plan_arguments(plan: argparse.ArgumentParser) -> None:
    plan.add_argument("--config", required=True, help="FILE.py:ARM")
    plan.add_argument(
        "--topology",
        required=True,
        help="chip and shape of the slice, e.g. v5e:2x4 or v4:2x2x2",
    )
    plan.add_argument(
        "--batch",
        type=int,
        help="utterances a chip and step, all attacks and both halves together; "
        "default: what the config's episode.examples comes to",
    )
    plan.add_argument(
        "--attacks",
        type=int,
        help="of a step; default: the config's episode.attacks, or 6 as in ASVspoof "
        "2019 LA",
    )
    plan.add_argument(
        "--largest",
        action="store_true",
        help="search for the largest batch that fits; three to six compilations more",
    )
    plan.add_argument("--json", action="store_true", help="one JSON object instead")


def _add_overrides(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", dest="overrides",
        help="change a config value, e.g. --set optimizer.lr=1e-3; may be repeated",
    )  # fmt: skip


def _demo(arguments: argparse.Namespace) -> None:
    from mldg_jax import demo, report

    corpus = _build(arguments)
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


def _build(arguments: argparse.Namespace) -> Path:
    from mldg_jax.data import debspoof

    return debspoof.build(
        arguments.size, Path(arguments.data_dir), workers=arguments.workers
    )


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


def _plan(arguments: argparse.Namespace) -> None:
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # leave accelerators to others

    from mldg_jax import configs, plan

    result = plan.plan(
        configs.read(arguments.config, arguments.overrides),
        arguments.topology,
        batch=arguments.batch,
        attacks=arguments.attacks,
        largest=arguments.largest,
        progress=functools.partial(print, file=sys.stderr, flush=True),
    )
    print(json.dumps(result) if arguments.json else plan.describe(result))


def _export(arguments: argparse.Namespace) -> None:
    from mldg_jax import exporting

    exporting.export(arguments.run, arguments.folder, arguments.format)
    print(f"{arguments.folder}: written")


def _score(arguments: argparse.Namespace) -> int:
    from mldg_jax import checkpoint, scoring

    lines, status = [], 0
    for name, score, problem in scoring.score_files(arguments.run, arguments.audio):
        if problem is None:
            lines.append(f"{name} {score:.6f}")
        else:
            print(f"mldg: {problem}", file=sys.stderr)
            status = 2
    text = "".join(line + "\n" for line in lines)
    if arguments.output:
        checkpoint.write_text(Path(arguments.output), text)
    else:
        sys.stdout.write(text)
    return status


if __name__ == "__main__":
    sys.exit(main())
