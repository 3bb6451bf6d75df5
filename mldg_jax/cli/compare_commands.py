"""``mldg compare``."""

import argparse
import os
from pathlib import Path
from typing import Any

from mldg_jax.cli.arguments import add_command, add_data_dir, add_overrides
from mldg_jax.common.errors import UserError

EPILOG = """\
Runs that are there are not done again: stop it and start it again as you like, or add
a method, a rank or a seed. Every neural method gets as many gradient evaluations as ERM
takes in the config's steps; one that pays more a step (second order) takes fewer.

examples:
  the paper's table on DebSpoof, with every speaker tested once
    mldg compare --config configs/debspoof_full.py --workdir runs/compare \\
      --methods lfcc-gmm,frozen,erm,control,mldg,mldg2 --seeds 0:5 --folds 0:4
  ranks
    mldg compare --config configs/debspoof.py --workdir runs/ranks \\
      --methods frozen,erm,mldg,full --ranks 4,8,16,32 --seeds 0:5
  tune the inner learning rate on held-out training attacks
    mldg compare --config configs/debspoof.py --workdir runs/tune --tune \\
      --methods erm,mldg --vary objective.inner_lr=0.003,0.01,0.03 --seeds 0:3
"""


def add(commands: Any) -> None:
    """Adds the command."""
    text = "Train methods, ranks and seeds, and write the table that compares them."
    compare = add_command(commands, "compare", _compare, text)
    compare.epilog = EPILOG
    compare.formatter_class = argparse.RawDescriptionHelpFormatter
    compare.add_argument(
        "--config",
        required=True,
        help="FILE.py[:EXTRA] whose arguments are the methods",
    )
    compare.add_argument(
        "--methods",
        "--arms",
        default="frozen,erm,mldg",
        help="of the config file, and lfcc-gmm; default: %(default)s",
    )
    compare.add_argument("--workdir", required=True, help="where runs and tables go")
    compare.add_argument(
        "--seeds", default="0:5", help="from:to or a list; default: %(default)s"
    )
    compare.add_argument(
        "--folds",
        help="speaker folds, e.g. 0:4: each seed is trained once without each and "
        "tested on it; default: the official splits",
    )
    compare.add_argument(
        "--ranks", metavar="R,…", help="of LoRA: a row for each, at the same scale"
    )
    compare.add_argument(
        "--vary",
        action="append",
        default=[],
        metavar="NAME=V,…",
        help="a row for each value of a config entry; may be repeated",
    )
    compare.add_argument(
        "--tune",
        "--choose",
        action="store_true",
        help="tune values: short runs, tested on the training attacks that "
        "the config's selection.held_out holds out; the test is not looked at",
    )
    compare.add_argument(
        "--workers",
        type=int,
        help="processes; one a CPU core by default; 0 (the default with a GPU or TPU): "
        "one run after the other, each on all devices",
    )
    add_data_dir(compare)
    add_overrides(compare)


def _compare(arguments: argparse.Namespace) -> None:
    from mldg_jax.experiments import jobs, method_tables
    from mldg_jax.experiments.compare import compare_methods
    from mldg_jax.training import parallel

    workers = arguments.workers
    if workers is None:
        workers = len(os.sched_getaffinity(0)) if parallel.only_cpu() else 0
    vary = dict(_values(text) for text in arguments.vary)
    if arguments.ranks:
        vary["model.lora.rank"] = _numbers("--ranks", arguments.ranks)
    workdir = Path(arguments.workdir)
    comparison = compare_methods(
        arguments.config,
        arguments.methods.split(","),
        workdir,
        seeds=_numbers("--seeds", arguments.seeds),
        folds=_numbers("--folds", arguments.folds) if arguments.folds else None,
        vary=vary,
        tune=arguments.tune,
        data_dir=arguments.data_dir,
        overrides=arguments.overrides,
        execute=lambda todo: jobs.run("comparing", todo, workers=workers),
    )
    print(method_tables.text(comparison))
    print(f"\n{workdir}: table.md, table.csv, table.tex, parameters.svg, results.json")


def _numbers(option: str, text: str) -> list[int]:
    """ "0:3" or "0,1,2"."""
    try:
        if ":" in text:
            found = list(range(*map(int, text.split(":"))))
        else:
            found = [int(x) for x in text.split(",")]
    except (ValueError, TypeError):
        found = []
    if not found or min(found) < 0:
        raise UserError(f"{option} {text}: give from:to, as in 0:5, or a list, 0,1,2")
    return found


def _values(text: str) -> tuple[str, list[Any]]:
    """NAME=V1,V2: the values as a config file's overrides read them."""
    from mldg_jax.training.config_files import value_of

    name, equals, values = text.partition("=")
    if not equals:
        raise UserError(f"--vary {text}: give NAME=V,…, e.g. objective.beta=0.5,1,2")
    return name, [value_of(one) for one in values.split(",")]
