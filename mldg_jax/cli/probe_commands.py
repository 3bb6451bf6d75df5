"""The command ``mldg probe``."""

import argparse
from pathlib import Path
from typing import Any

from mldg_jax.cli.arguments import add_command, add_config, add_data_dir

TEXT = "Find the layers of a pretrained front-end that tell synthetic speech apart."
DETAILS = """\
A detector need not use the whole front-end: often a layer in the middle is the best,
and those above it need not be computed. This fits a logistic regression (a probe, about
a thousand parameters) on the mean over time of each frozen layer, then on pairs and
fours of the best, and prints the layers with the lowest equal error rate, together with
the option that makes `mldg train` read them:

  mldg probe --config debspoof_full:mldg
  mldg train --config debspoof_full:mldg --workdir runs/chosen \\
    --set 'model.frontend.layers=[1, 3]'

The choice is honest: each attack family of the training data is held out in turn, and
so is each group of speakers; attacks that are only in dev or eval are never read.
--confirm reads those of eval after the choice is made, to see whether it holds. Use it
once: choosing again by what it shows would be training on the test.

The whole depth of the weights is probed, whatever model.frontend.layers says. The means
of layers are computed once (minutes for a small front-end on a CPU) and kept in the
output folder; the probes then take about two minutes for 2,400 recordings of Whisper
tiny. Writes probe.html, probe.md, probe.json and probe.svg.

The baseline that every LoRA has to beat is a probe, too:

  mldg compare --config debspoof_full --methods probe,frozen,erm,mldg --workdir runs/all
"""


def add(commands: Any) -> None:
    """Adds the command.

    Args:
      commands: subparsers of the main parser.
    """
    probe = add_command(commands, "probe", _probe, TEXT, DETAILS)
    add_config(probe)
    probe.add_argument(
        "--output",
        default="runs/probe",
        metavar="FOLDER",
        help="where to write the report and the means of layers; default: %(default)s",
    )
    probe.add_argument(
        "--confirm",
        action="store_true",
        help="score the unseen attacks of the split eval too, after the choice",
    )
    add_data_dir(probe)


def _probe(arguments: argparse.Namespace) -> None:
    from mldg_jax.common import compile_cache
    from mldg_jax.common.files import check_folder, writing
    from mldg_jax.experiments.probing import probe_report, probe_study
    from mldg_jax.training.config_files import read_config_file

    output = Path(arguments.output)
    check_folder(output)
    config = read_config_file(arguments.config, arguments.overrides)
    with compile_cache.used():
        study = probe_study.run(
            config,
            arguments.data_dir,
            output,
            confirm=arguments.confirm,
            progress=_bars(),
        )
    with writing(output):
        page = probe_report.write(study, output)
    from mldg_jax.common.tables import aligned

    print(aligned(probe_report.set_table(study)))
    print(f"\n{probe_report.verdict(study)}\n")
    print(f"to train on them:  {probe_report.line(study)}")
    print(f"{page}: open it in a browser; {probe_report.RESULTS} has every number")


def _bars() -> Any:
    """Returns progress bars of recordings and of sets of layers."""
    from tqdm import tqdm

    from mldg_jax.experiments.probing.probe_study import Progress

    def shown(title: str) -> Any:
        bar = None

        def show(done: int, total: int) -> None:
            nonlocal bar
            if bar is None:
                bar = tqdm(total=total, desc=title)
            bar.update(done - bar.n)
            if done >= total:
                bar.close()
                bar = None

        return show

    return Progress(shown("layer means"), shown("probes"))
