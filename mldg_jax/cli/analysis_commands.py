"""The command ``mldg analyse``."""

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mldg_jax.cli.arguments import add_command, add_corpus, add_data_dir, corpus_folder
from mldg_jax.common.errors import UserError

TEXT = "Analyse what training did to a run, or compare the updates of several runs."
DETAILS = """\
One run: do the gradients of the attacks agree, and that of its own objective with
them, what does the MLDG objective consist of, how curved is the loss, which part of
the update matters? Several runs: how far apart are their updates, is there a loss
barrier between them, which projections carry the update of each method?

Writes arrays.npz (every number), table.md and report.html (figures with captions;
needs no network). The analysis covers all checkpoints that a run kept: train with
--set keep_every=N to keep more. Compiled programs are kept in ~/.cache/mldg_jax/xla
for the next time.

examples:
  mldg analyse runs/demo/mldg-0
  mldg analyse runs/demo/erm-0 runs/demo/erm-1 runs/demo/mldg-0 runs/demo/mldg-1
"""


def add(commands: Any) -> None:
    """Adds the command.

    Args:
      commands: subparsers of the main parser.
    """
    analyse = add_command(commands, "analyse", _analyse, TEXT, DETAILS)
    analyse.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="a finished run folder; several runs of the same model are compared, "
        "ideally several seeds of each method",
    )
    add_corpus(analyse, "first run")
    analyse.add_argument(
        "--split",
        default="dev",
        help="split of the corpus to analyse on; default: %(default)s",
    )
    analyse.add_argument(
        "--examples",
        type=int,
        default=8,
        metavar="N",
        help="utterances per attack, half of them bona fide; default: %(default)s",
    )
    analyse.add_argument(
        "--seed",
        type=int,
        default=0,
        help="seed of the choice of utterances and of held-out attacks; default: "
        "%(default)s",
    )
    analyse.add_argument(
        "--output",
        metavar="FOLDER",
        help="where to write; default: RUN/analysis, or runs/comparison for several "
        "runs",
    )
    add_data_dir(analyse)


def _analyse(arguments: argparse.Namespace) -> None:
    import jax

    from mldg_jax.analysis import run_comparison, study, subjects
    from mldg_jax.analysis.report import analysis_page
    from mldg_jax.common import compile_cache
    from mldg_jax.common.files import check_folder
    from mldg_jax.data.corpus import load_test

    output = arguments.output
    if output is None and len(arguments.runs) > 1:
        output = Path("runs") / "comparison"
    elif output is None:
        output = Path(arguments.runs[0]) / "analysis"
    check_folder(output)
    _check_replaces_an_analysis(Path(output))
    loaded = [subjects.load(folder) for folder in arguments.runs]
    trained_on = loaded[0].config.corpus
    folder = corpus_folder(arguments, trained_on)
    # With speaker folds: speakers that the first run has not seen. Runs of other folds
    # may have been trained on them.
    rows = load_test(folder, arguments.split, trained_on.fold)
    examples = subjects.choose(
        rows,
        examples=arguments.examples,
        samples=loaded[0].config.crop_samples,
        seed=arguments.seed,
    )

    highest = jax.default_matmul_precision("highest")  # curvature suffers from rounding
    with highest, compile_cache.used(), _progress() as show:
        if len(loaded) == 1:
            result = study.analyse_run(
                loaded[0], examples, seed=arguments.seed, report=show
            )
        else:
            result = run_comparison.compare_runs(loaded, examples, report=show)
    for note in getattr(result, "notes", ()):
        print(note, file=sys.stderr)
    *_, report = analysis_page.write(result, output)
    print(f"{report}: open it in a browser; arrays.npz next to it has every number")


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[Any], None]]:
    """Shows a bar, and above it a line for each computation when it starts."""
    from tqdm import tqdm

    layout = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}]"
    with tqdm(desc="analysis", bar_format=layout, dynamic_ncols=True) as bar:
        if not bar.disable:
            bar.write(
                "mldg: each computation is compiled when it is first needed: seconds "
                "for small models, minutes for large ones on a CPU",
                file=sys.stderr,
            )

        def show(stage: Any) -> None:
            bar.total = stage.total
            bar.update(stage.number - 1 - bar.n)
            if not bar.disable:
                bar.write(f"{stage.number}/{stage.total} {stage.task} …", sys.stderr)
            bar.refresh()

        yield show
        bar.update((bar.total or bar.n) - bar.n)


def _check_replaces_an_analysis(folder: Path) -> None:
    """Refuses a folder with a table or a report of something else."""
    for name in ("table.md", "report.html"):
        if (folder / name).exists() and not (folder / "arrays.npz").exists():
            raise UserError(
                f"{folder / name} is there and is not of an analysis, which would have "
                "arrays.npz next to it, so it is not replaced; name another --output"
            )
