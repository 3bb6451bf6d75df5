"""``mldg analyse``."""

import argparse
import sys
from pathlib import Path
from typing import Any

from mldg_jax.cli.arguments import add_command, add_corpus, add_data_dir, corpus_folder

TEXT = """\
Say what training did. Of one run: do the attacks' gradients agree, what does the MLDG
objective consist of, how curved is the loss, where does the update matter. Of several:
how far apart are their updates, is there a barrier between them, which projections
carry the update in which method. Writes arrays.npz (every number), table.md and
report.html (pictures with captions, needs no network)."""


def add(commands: Any) -> None:
    """Adds the command."""
    analyse = add_command(commands, "analyse", _analyse, TEXT)
    analyse.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="finished run folders; several, of the same model, are compared: of each "
        "method (erm, mldg, …) ideally several seeds",
    )
    add_corpus(analyse, "first run")
    analyse.add_argument("--split", default="dev", help="default: %(default)s")
    analyse.add_argument(
        "--examples",
        type=int,
        default=8,
        help="utterances of each attack, half of them bona fide; default: %(default)s",
    )
    analyse.add_argument(
        "--seed",
        type=int,
        default=0,
        help="of the choice of utterances and of held-out attacks; default: 0",
    )
    analyse.add_argument(
        "--output",
        metavar="FOLDER",
        help="default: RUN/analysis, or runs/comparison for several",
    )
    add_data_dir(analyse)


def _analyse(arguments: argparse.Namespace) -> None:
    from mldg_jax.analysis import run_comparison, study, subjects
    from mldg_jax.analysis.report import analysis_page
    from mldg_jax.data.corpus import load_test

    loaded = [subjects.load(folder) for folder in arguments.runs]
    trained_on = loaded[0].config.corpus
    folder = corpus_folder(arguments, trained_on)
    # The speakers that a speaker fold left out; another run's may have been trained on.
    rows = load_test(folder, arguments.split, trained_on.fold)
    chosen = subjects.choose(
        rows,
        examples=arguments.examples,
        samples=loaded[0].config.crop_samples,
        seed=arguments.seed,
    )

    def show(what: str) -> None:
        print(f"{what} …", file=sys.stderr, flush=True)

    if len(loaded) == 1:
        found = study.analyse_run(loaded[0], chosen, seed=arguments.seed, report=show)
        folder = arguments.output or loaded[0].folder / "analysis"
    else:
        found = run_comparison.compare_runs(loaded, chosen, report=show)
        folder = arguments.output or Path("runs") / "comparison"
    *_, report = analysis_page.write(found, folder)
    print(f"{report}: open it in a browser; the numbers are beside it")
