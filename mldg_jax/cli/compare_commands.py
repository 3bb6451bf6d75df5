"""The command ``mldg compare``."""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from mldg_jax.cli.arguments import add_command, add_data_dir, add_overrides
from mldg_jax.common import processes
from mldg_jax.common.errors import UserError
from mldg_jax.scoring.scheme import CHOICES

TEXT = "Train several methods, ranks and seeds, and write a table that compares them."
DETAILS = """\
Finished runs are not repeated: stop the command and start it again whenever you
like, or add a method, a rank or a seed. Every neural method gets the number of
gradient evaluations that ERM needs for the config's steps, so a method with more
expensive steps (second order) takes fewer steps.

examples:
  the paper's table on DebSpoof, testing on every speaker once
    mldg compare --config debspoof_full --workdir runs/compare \\
      --methods lfcc-gmm,frozen,erm,control,mldg,mldg2 --seeds 0:5 --folds 0:4
  several LoRA ranks
    mldg compare --config debspoof --workdir runs/ranks \\
      --methods frozen,erm,mldg,full --ranks 4,8,16,32 --seeds 0:5
  leave families out: attacks and speakers that training never saw, once each
    mldg compare --config debspoof_full --workdir runs/families \\
      --methods lfcc-gmm,frozen,erm,mldg,sam --seeds 0:3 --folds 0:4 \\
      --attack-folds 0:4 --averages ema,last,uniform,swad
  learning curves
    mldg compare --config debspoof_full --workdir runs/curves \\
      --methods erm,mldg --budgets 400,1600,6400 --seeds 0:3 --folds 0:4
  tune the inner learning rate on held-out training attacks
    mldg compare --config debspoof --workdir runs/tune --tune \\
      --methods erm,mldg --vary objective.inner_lr=0.003,0.01,0.03 --seeds 0:3
"""


def add(commands: Any) -> None:
    """Adds the command.

    Args:
      commands: subparsers of the main parser.
    """
    compare = add_command(commands, "compare", _compare, TEXT, DETAILS)
    compare.add_argument(
        "--config",
        required=True,
        metavar="CONFIG[:EXTRA]",
        help="a preset (see mldg configs) or a file that takes the methods as "
        "arguments; EXTRA is added to each, e.g. debspoof:smoke for runs of seconds",
    )
    compare.add_argument(
        "--methods",
        "--arms",
        default="frozen,erm,mldg",
        metavar="METHOD,…",
        help="methods of the config file, lfcc-gmm (a classical baseline) and "
        "probe (logistic regression on frozen layers, see mldg probe); "
        "default: %(default)s",
    )
    compare.add_argument(
        "--workdir",
        required=True,
        metavar="FOLDER",
        help="where to write the runs and the tables",
    )
    compare.add_argument(
        "--seeds",
        default="0:5",
        metavar="FROM:TO",
        help="training seeds, FROM:TO (without TO) or a list, e.g. 0,1,2; default: "
        "%(default)s",
    )
    compare.add_argument(
        "--folds",
        metavar="FROM:TO",
        help="speaker folds, e.g. 0:4: for each seed and fold, train without the "
        "fold's speakers and test on them; default: the corpus's own splits",
    )
    compare.add_argument(
        "--attack-folds",
        metavar="FROM:TO",
        help="groups of the config's corpus.attack_folds, e.g. 0:4: for each seed and "
        "speaker fold, train without the group's attacks and test on them (leave-"
        "family-out); default: the corpus's own training attacks",
    )
    compare.add_argument(
        "--averages",
        metavar="NAME,…",
        help="averages of the parameters over the steps of each run, one row for each: "
        "ema, last, uniform, swad; they cost no training. diwa is the average over all "
        "seeds, which then need --set init_seed=0. Default: the config's "
        "averages.detector",
    )
    compare.add_argument(
        "--budgets",
        metavar="STEPS,…",
        help="steps of ERM, e.g. 400,1600: every run takes the most and is tested at "
        "each, for a learning curve; default: the config's steps",
    )
    compare.add_argument(
        "--chosen",
        metavar="FILE",
        help="use the values that an earlier --tune chose: its results.json",
    )
    compare.add_argument(
        "--ranks",
        metavar="R,…",
        help="LoRA ranks: one row of the table for each; the adapters' scale stays the "
        "same",
    )
    compare.add_argument(
        "--vary",
        action="append",
        default=[],
        metavar="NAME=V,…",
        help="values of a config entry: one row of the table for each; may be repeated",
    )
    compare.add_argument(
        "--tune",
        "--choose",
        action="store_true",
        help="tune the values of --vary and --ranks: train short runs without the "
        "attacks of the config's selection.held_out, test on these, and report the "
        "best row of each method; test data is not used",
    )
    compare.add_argument(
        "--resample",
        choices=tuple(CHOICES),
        default="speakers-attacks",
        help="what the intervals hold for, see mldg evaluate --help; default: "
        "%(default)s",
    )
    compare.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="processes that train in parallel; default: one per CPU core. 0 (the "
        "default with a GPU or TPU): one run after the other, each on all devices",
    )
    add_data_dir(compare)
    add_overrides(compare)


def _compare(arguments: argparse.Namespace) -> None:
    from mldg_jax.experiments import jobs, method_tables, statistics
    from mldg_jax.experiments.compare import compare_methods
    from mldg_jax.experiments.design import read_chosen
    from mldg_jax.training import parallel
    from mldg_jax.training.config_files import varied

    workers = arguments.workers
    if workers is None:
        workers = processes.cores() if parallel.only_cpu() else 0
    vary = dict(map(varied, arguments.vary))
    if arguments.ranks:
        vary["model.lora.rank"] = _numbers("--ranks", arguments.ranks)
    workdir = Path(arguments.workdir)
    comparison = compare_methods(
        arguments.config,
        arguments.methods.split(","),
        workdir,
        seeds=_numbers("--seeds", arguments.seeds),
        folds=_numbers("--folds", arguments.folds) if arguments.folds else None,
        attack_folds=_numbers("--attack-folds", arguments.attack_folds)
        if arguments.attack_folds
        else None,
        averages=_averages(arguments.averages),
        budgets=_budgets(arguments.budgets),
        vary=vary,
        tune=arguments.tune,
        chosen=read_chosen(arguments.chosen) if arguments.chosen else None,
        data_dir=arguments.data_dir,
        overrides=arguments.overrides,
        scheme=dataclasses.replace(
            statistics.SCHEME, clusters=CHOICES[arguments.resample]
        ),
        execute=lambda todo: jobs.run("comparing", todo, workers=workers),
    )
    print(method_tables.text(comparison))
    print(
        f"\nwrote to {workdir}: table.md, table.csv, table.tex, results.json and "
        "pictures (.svg)"
    )


def _averages(text: str | None) -> tuple[str, ...]:
    from mldg_jax.experiments.design import DIWA
    from mldg_jax.training import trajectory

    names = tuple(text.split(",")) if text else ()
    for name in names:
        if name not in (*trajectory.NAMES, DIWA):
            known = ", ".join((*trajectory.NAMES, DIWA))
            raise UserError(
                f"--averages {text}: {name!r} is unknown; choose from {known}"
            )
    return names


def _budgets(text: str | None) -> list[int]:
    budgets = _numbers("--budgets", text) if text else []
    if budgets != sorted({*budgets} - {0}):
        raise UserError(f"--budgets {text}: give ascending numbers of steps, from 1")
    return budgets


def _numbers(option: str, text: str) -> list[int]:
    """Parses "0:3" or "0,1,2"."""
    try:
        if ":" in text:
            numbers = list(range(*map(int, text.split(":"))))
        else:
            numbers = [int(x) for x in text.split(",")]
    except (ValueError, TypeError):
        numbers = []
    if not numbers or min(numbers) < 0:
        raise UserError(
            f"{option} {text}: give a range FROM:TO, e.g. 0:5, or a list, e.g. 0,1,2"
        )
    return numbers
