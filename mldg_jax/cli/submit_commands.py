"""The command ``mldg submit``."""

import argparse
from typing import Any

from mldg_jax.cli.arguments import add_command

SUBMIT = "Prepare a submission to a public leaderboard; nothing is uploaded."
SUBMIT_DETAILS = """\
The arena (github.com/lab260ru/speech_spoof_bench) ranks systems by their scores of
public data sets. From a run, the command writes arena_model.py, a class for the arena's
own runner, and system.yaml, a description to fill in. From a score file, it writes
scores.txt and, once that is uploaded, the YAML file of the submission, checked against
the arena's rules. The EER in it is interpolated as the arena's is, so it is not exactly
that of mldg evaluate. The commands that upload are printed, not run.

examples:
  mldg submit --arena runs/mldg --output arena
  mldg submit --arena scores.txt --output arena --keys labels.parquet \\
      --dataset SpeechAntiSpoofingBenchmarks/ASVspoof2019_LA --model-repo me/mldg
  mldg submit --arena scores.txt --output arena --keys labels.parquet \\
      --dataset SpeechAntiSpoofingBenchmarks/ASVspoof2019_LA --revision HASH \\
      --model-repo me/mldg --commit HASH --username me --contact me@example.com
"""


def add(commands: Any) -> None:
    """Adds the command.

    Args:
      commands: subparsers of the main parser.
    """
    submit = add_command(commands, "submit", _submit, SUBMIT, SUBMIT_DETAILS)
    submit.add_argument(
        "--arena", nargs="+", required=True, metavar="RUN_OR_SCORES",
        help="a finished run (or hub:ORG/NAME), a score file in any format of mldg "
        "evaluate, or one of each",
    )  # fmt: skip
    submit.add_argument(
        "--output", required=True, metavar="FOLDER", help="where to write"
    )
    submit.add_argument(
        "--keys", default="", metavar="FILE",
        help="labels of all utterances of the data set: its data/labels.parquet, or "
        "keys as for mldg evaluate",
    )  # fmt: skip
    submit.add_argument(
        "--dataset", default="", metavar="ORG/NAME", help="the data set on the hub"
    )
    submit.add_argument(
        "--revision", default="", metavar="HASH", help="its commit that was scored"
    )
    submit.add_argument(
        "--split", default="test", help="its split; default: %(default)s"
    )
    submit.add_argument(
        "--system", default="", metavar="FILE",
        help="YAML file that describes the system; default: system.yaml in the output "
        "folder",
    )  # fmt: skip
    submit.add_argument(
        "--model-repo", default="", metavar="ORG/NAME",
        help="your model repository on the hub, where the scores are uploaded to",
    )  # fmt: skip
    submit.add_argument(
        "--commit", default="", metavar="HASH", help="its commit that has the scores"
    )
    submit.add_argument("--username", default="", help="your name on the hub")
    submit.add_argument("--contact", default="", help="e.g. your mail address")


def _submit(arguments: argparse.Namespace) -> None:
    import datetime

    from mldg_jax.exporting import arena

    request = arena.ArenaRequest(
        sources=arguments.arena,
        folder=arguments.output,
        keys=arguments.keys,
        dataset=arguments.dataset,
        revision=arguments.revision,
        split=arguments.split,
        system=arguments.system,
        model_repo=arguments.model_repo,
        commit=arguments.commit,
        username=arguments.username,
        contact=arguments.contact,
    )
    print(arena.prepare(request, datetime.date.today()))
