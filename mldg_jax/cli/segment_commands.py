"""The command ``mldg evaluate-segments``."""

import argparse
import json
from typing import Any

from mldg_jax.cli.arguments import add_command
from mldg_jax.common.text_files import visible

SEGMENTS = "Evaluate where in a recording a system finds spoof."
SEGMENTS_DETAILS = """\
Prints the EER of segments of 20 to 640 ms (a segment is spoof if any 20 ms of it are),
the range-based EER (of durations, at the boundaries of the keys), the EER of
utterances, and how much time is called wrong at a threshold.

examples:
  mldg score runs/partial clips/ --segments segments/ --output scores.txt
  mldg evaluate-segments --frames segments/ --keys truth.rttm --scores scores.txt
"""


def add(commands: Any) -> None:
    """Adds the command.

    Args:
      commands: subparsers of the main parser.
    """
    command = add_command(
        commands, "evaluate-segments", _evaluate, SEGMENTS, SEGMENTS_DETAILS
    )
    command.add_argument(
        "--frames",
        required=True,
        metavar="PATH",
        help="the folder of mldg score --segments; or a text file of any system, with "
        "a line for each utterance: its name and the scores of its frames of 20 ms",
    )
    command.add_argument(
        "--keys",
        required=True,
        metavar="PATH",
        help="which parts are spoofed: RTTM, a table or lines with utterance, start, "
        "end and label, a folder of Audacity labels, PartialSpoof's .npy, or "
        "index-SPLIT.parquet of a prepared corpus",
    )
    command.add_argument(
        "--scores",
        metavar="FILE",
        help="scores of the utterances; default: the lowest score of the frames",
    )
    command.add_argument(
        "--threshold",
        type=float,
        default=0.0,
        metavar="SCORE",
        help="frames with a lower score are called spoof; default: %(default)g",
    )
    command.add_argument(
        "--json", action="store_true", help="print one JSON object instead of a table"
    )


def _evaluate(arguments: argparse.Namespace) -> None:
    from mldg_jax.scoring.segments import segment_evaluation

    rates = segment_evaluation.evaluate(
        arguments.frames, arguments.keys, arguments.scores, arguments.threshold
    )
    if arguments.json:
        print(json.dumps(rates.to_json(), allow_nan=False))
    else:
        print(visible(segment_evaluation.table(rates)))
