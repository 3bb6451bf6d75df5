"""The command ``mldg demo``."""

import argparse
import textwrap
from pathlib import Path
from typing import Any

from mldg_jax.cli import corpus_commands
from mldg_jax.cli.arguments import add_command, add_data_dir, add_overrides
from mldg_jax.common.errors import UserError
from mldg_jax.common.files import check_folder

DEMO = "Build the corpus DebSpoof, train four methods on it and write a report."
DEMO_DETAILS = """\
The methods: LFCC-GMM (a classical baseline), a head on a frozen speech encoder, LoRA
trained with ERM (the pooled loss), and LoRA trained with MLDG. Learning rates are tuned
on held-out training attacks. The report, runs/demo/report.html, compares the methods on
unseen attacks and speakers. Needs no GPU. Stop it whenever you like: the same command
continues.

--quick takes about two minutes on two idle cores instead, and downloads 170 MB of
recordings the first time: one detector, trained with MLDG and one seed on a small part
of the corpus, judges three recordings that it was not trained on, one of them from an
attack that it never met. Needs no root either.

examples:
  mldg demo --quick
  mldg demo --seeds 1 --workdir runs/one
"""

_DEFAULTS = {"config": "debspoof", "workdir": "runs/demo", "seeds": 3, "size": "small"}
_QUICK_DEFAULTS = {"config": "debspoof_quick", "workdir": "runs/quick"}


def add(commands: Any) -> None:
    """Adds the command.

    Args:
      commands: subparsers of the main parser.
    """
    demo = add_command(commands, "demo", _demo, DEMO, DEMO_DETAILS)
    demo.add_argument(
        "--quick",
        action="store_true",
        help="one method, one seed, a small part of the corpus: three verdicts in "
        "about two minutes",
    )
    demo.add_argument(
        "--config",
        metavar="CONFIG",
        help="a preset (see mldg configs) or a file with the methods frozen, erm and "
        "mldg; default: debspoof, or debspoof_quick with --quick",
    )
    demo.add_argument(
        "--workdir",
        metavar="FOLDER",
        help="where to write runs and report; default: runs/demo, or runs/quick with "
        "--quick",
    )
    demo.add_argument(
        "--seeds",
        type=int,
        metavar="N",
        help="runs per method; default: 3",
    )
    demo.add_argument(
        "--size",
        choices=("small", "full"),
        help="size of DebSpoof; default: small",
    )
    demo.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="processes that train in parallel; default: one per CPU core. 0 (the "
        "default with a GPU or TPU): one run after the other, each on all devices",
    )
    add_data_dir(demo)
    add_overrides(demo)


def _demo(arguments: argparse.Namespace) -> None:
    if arguments.quick:
        for option in ("seeds", "size"):
            if getattr(arguments, option) is not None:
                raise UserError(
                    f"--quick has one seed and its own part of the corpus: leave out "
                    f"--{option}, or --quick"
                )
    for name, value in (_QUICK_DEFAULTS if arguments.quick else _DEFAULTS).items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, value)
    check_folder(arguments.workdir)  # a mistake should show before minutes of building
    (_quick_demo if arguments.quick else _full_demo)(arguments)


def _full_demo(arguments: argparse.Namespace) -> None:
    from mldg_jax.experiments import method_tables
    from mldg_jax.experiments.demo import read_configs, run_demo

    # Read the configs first, for the same reason.
    base = read_configs(arguments.config, arguments.overrides)
    corpus = corpus_commands.build_debspoof(arguments)
    workdir = Path(arguments.workdir)
    story = run_demo(
        base, corpus, workdir, seeds=arguments.seeds, workers=arguments.workers
    )
    print(method_tables.text(story.comparison, detailed=False))
    print(f"\n{workdir / 'report.html'}: open it in a browser")
    print(f"{workdir / 'results.json'}: every number in the report")
    print(f"next: mldg score {workdir / 'mldg-0'} your.wav")


def _quick_demo(arguments: argparse.Namespace) -> None:
    from mldg_jax.common.tables import aligned
    from mldg_jax.experiments import quick_demo
    from mldg_jax.training.config_files import read_config_file

    config = read_config_file(f"{arguments.config}:mldg", arguments.overrides)
    arguments.size = "quick"
    corpus = corpus_commands.build_debspoof(arguments, brief=True)
    workdir = Path(arguments.workdir)
    result = quick_demo.run_quick_demo(config, corpus, workdir)
    print(aligned(result.table()))
    print(f"\n{textwrap.fill(result.summary(), 88)}\n")
    print(f"{workdir / quick_demo.REPORT}: open it in a browser to listen")
    print(f"next: mldg score {result.run} your.wav")
    print("all methods, three seeds, the whole corpus, in ten minutes: mldg demo")
