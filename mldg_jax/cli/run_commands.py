"""``mldg demo``, ``train``, ``plan``, ``calibrate`` and ``export``."""

import argparse
import functools
import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from mldg_jax.cli import corpus_commands
from mldg_jax.cli.arguments import (
    add_command,
    add_config,
    add_corpus,
    add_data_dir,
    add_overrides,
    corpus_folder,
)
from mldg_jax.common import processes
from mldg_jax.common.errors import UserError


def add(commands: Any) -> None:
    """Adds the commands."""
    demo = add_command(
        commands, "demo", _demo, "Build DebSpoof, train four methods, write a report."
    )
    demo.add_argument(
        "--config", default="configs/debspoof.py", help="default: %(default)s"
    )
    demo.add_argument("--workdir", default="runs/demo", help="default: %(default)s")
    demo.add_argument("--seeds", type=int, default=3, help="runs a method; default 3")
    demo.add_argument("--size", choices=("small", "full"), default="small")
    demo.add_argument(
        "--workers",
        type=int,
        help="processes; one a CPU core by default (use 1 with a GPU or TPU)",
    )
    add_data_dir(demo)
    add_overrides(demo)

    text = "Train a run; Ctrl-C saves and stops, started again it continues."
    train = add_command(commands, "train", _train, text)
    add_config(train)
    train.add_argument("--workdir", required=True, help="the run folder")
    train.add_argument("--devices", type=int, help="how many; all by default")
    train.add_argument(
        "--coordinator",
        metavar="HOST:PORT",
        help="of process 0, to train in several processes; 'auto' on a TPU slice",
    )
    train.add_argument("--processes", type=int, help="with HOST:PORT: how many")
    train.add_argument("--process", type=int, help="with HOST:PORT: which one this is")
    add_data_dir(train)

    text = "Compile the training step for a TPU slice that is not there: does it fit?"
    plan = add_command(commands, "plan", _plan, text)
    add_config(plan)
    _add_plan(plan)

    text = "Make a run's scores log-likelihood ratios, on a split it has not seen."
    calibrate = add_command(commands, "calibrate", _calibrate, text)
    calibrate.add_argument("run", help="a finished run folder")
    add_corpus(calibrate, "run")
    calibrate.add_argument("--split", default="dev", help="default: %(default)s")
    calibrate.add_argument(
        "--utterances",
        type=int,
        default=1000,
        help="at most so many of each class; 0 for all; default: %(default)s",
    )
    add_data_dir(calibrate)

    text = "Write a run's front-end for torch: its adapters, or merged with them."
    export = add_command(commands, "export", _export, text)
    export.add_argument("run", help="a finished run folder")
    export.add_argument("folder", help="where to write")
    export.add_argument(
        "--format",
        choices=("peft", "merged"),
        default="peft",
        help="peft: adapters for peft.PeftModel; merged: an encoder for transformers; "
        "default: %(default)s",
    )


def _add_plan(plan: argparse.ArgumentParser) -> None:
    plan.add_argument(
        "--topology",
        required=True,
        help="chip and shape of the slice, e.g. v5e:2x4 or v4:2x2x2",
    )
    plan.add_argument(
        "--batch",
        type=int,
        help="utterances a chip and step, all attacks and both halves together; "
        "default: what the config's episode.examples_per_attack comes to",
    )
    plan.add_argument(
        "--attacks",
        type=int,
        help="of a step; default: the config's episode.attacks_per_episode, or 6 as in "
        "ASVspoof 2019 LA",
    )
    plan.add_argument(
        "--largest",
        action="store_true",
        help="search for the largest batch that fits; three to six compilations more",
    )
    plan.add_argument("--json", action="store_true", help="one JSON object instead")


def _demo(arguments: argparse.Namespace) -> None:
    from mldg_jax.experiments import method_tables
    from mldg_jax.experiments.demo import read_configs, run_demo

    # a mistake in the config is better found before minutes of building
    base = read_configs(arguments.config, arguments.overrides)
    corpus = corpus_commands.build_debspoof(arguments)
    workdir = Path(arguments.workdir)
    story = run_demo(
        base, corpus, workdir, seeds=arguments.seeds, workers=arguments.workers
    )
    print(method_tables.text(story.comparison, detailed=False))
    print(f"\n{workdir / 'report.html'}: open it in a browser")
    print(f"{workdir / 'results.json'}: every number of it")
    print(f"next: mldg score {workdir / 'mldg-0'} your.wav")


def _train(arguments: argparse.Namespace) -> int | None:
    if arguments.coordinator:
        status = processes.run_supervised(processes.same_command())
        if status is not None:
            return status

    from mldg_jax.common import run_folder
    from mldg_jax.common.config_values import with_values
    from mldg_jax.data.corpus import (
        corpus_sha256,
        find_corpus,
        load_split,
        load_training,
        split_names,
    )
    from mldg_jax.scoring import scorer
    from mldg_jax.scoring.calibration import CALIBRATION_FILE
    from mldg_jax.training import loop, parallel
    from mldg_jax.training.config_files import read_config_file

    config = read_config_file(arguments.config, arguments.overrides)
    if arguments.coordinator:
        parallel.connect(arguments.coordinator, arguments.processes, arguments.process)
    name, size = config.corpus.name, config.corpus.config
    folder = find_corpus(name, size, arguments.data_dir)
    config = with_values(config, {"corpus.sha256": corpus_sha256(folder)})
    split = config.validation.split if config.validation.every else None
    fold = config.corpus.fold
    with processes.caught(multiprocess=parallel.is_multiprocess()) as stop:
        run = loop.train(
            config,
            arguments.workdir,
            load_training(folder, fold),
            validate_on=load_split(folder, split) if split else None,
            devices=parallel.devices(arguments.devices),
            stop=stop,
        )
    if not parallel.is_primary():
        return None
    if not run_folder.finished(run):
        print(f"{run}: stopped and saved; continue it with\n  {_same_command()}")
        return None
    split, utterances = config.calibration.split, config.calibration.utterances
    new = not (run / CALIBRATION_FILE).exists()
    if fold is not None:
        utterances = 0  # the splits' speakers were trained on
    if new and utterances and split in split_names(folder):
        try:
            rows = load_split(folder, split)
            scorer.calibrate(run, rows, utterances=utterances)
        except UserError as problem:  # the run itself is whole
            print(f"mldg: {run} is not calibrated: {problem}", file=sys.stderr)
    print(f"{run}: finished; score with it: mldg score {run} your.wav")
    return None


def _same_command() -> str:
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def _plan(arguments: argparse.Namespace) -> None:
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # leave accelerators to others

    from mldg_jax.training.config_files import read_config_file
    from mldg_jax.training.tpu_plan import compiled_step, plan_text

    plan = compiled_step.plan(
        read_config_file(arguments.config, arguments.overrides),
        arguments.topology,
        batch=arguments.batch,
        attacks=arguments.attacks,
        largest=arguments.largest,
        progress=functools.partial(print, file=sys.stderr, flush=True),
    )
    print(json.dumps(plan.to_json()) if arguments.json else plan_text.text(plan))


def _calibrate(arguments: argparse.Namespace) -> None:
    from mldg_jax.common import run_folder
    from mldg_jax.data.corpus import load_split
    from mldg_jax.scoring import scorer

    trained_on = run_folder.read_config(arguments.run).corpus
    folder = corpus_folder(arguments, trained_on)
    rows = load_split(folder, arguments.split)
    path = scorer.calibrate(arguments.run, rows, utterances=arguments.utterances)
    print(f"{path}: written; scores are log-likelihood ratios from now on")


def _export(arguments: argparse.Namespace) -> None:
    from mldg_jax.scoring.export import export_run

    export_run(arguments.run, arguments.folder, arguments.format)
    print(f"{arguments.folder}: written")
