"""The command ``mldg score``."""

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from mldg_jax.cli.arguments import add_command
from mldg_jax.common.errors import UserError

SCORE = "Score recordings: prints a line 'name score' for each; higher is bona fide."
SCORE_DETAILS = """\
A recording longer than the training crops is cut into windows; its score is the mean
over them, also with --overlap, which makes the timeline finer. Recordings that cannot
be scored are named on standard error, and the exit status is 2. Scores of a calibrated
run are log-likelihood ratios; others can only be compared with each other.

examples:
  mldg score runs/demo/mldg-0 my_recording.wav a_folder/
  mldg score runs/demo/mldg-0 a_folder/ --output scores.txt
  mldg score runs/demo/mldg-0 my_recording.wav --timeline where/ --overlap 0.5
  mldg score runs/partial my_recording.wav --segments where/
"""

# The outputs and the options that apply to nothing else.
OPTIONS_OF = {
    "timeline": ("overlap",),
    "segments": ("threshold", "segment_keys", "no_figures"),
}


def add(commands: Any) -> None:
    """Adds the command.

    Args:
      commands: subparsers of the main parser.
    """
    _add_score(add_command(commands, "score", _score, SCORE, SCORE_DETAILS))


def _add_score(score: argparse.ArgumentParser) -> None:
    score.usage = "%(prog)s [-h] [options] RUN AUDIO [AUDIO ...]"
    score.add_argument(
        "run", metavar="RUN", help="a finished run folder, e.g. runs/demo/mldg-0"
    )
    score.add_argument(
        "audio",
        nargs="*",  # none is refused in words of our own, see _check_order
        metavar="AUDIO",
        help="recordings of any sample rate and number of channels, at least 0.2 s "
        "long; folders, which are searched for recordings; lists (.txt, .lst) with one "
        "path per line, relative to the working directory, # for comments; - reads "
        "such a list from standard input",
    )
    score.add_argument(
        "--output",
        metavar="FILE",
        help="score file to write; the same command continues an interrupted one; "
        "default: print the scores",
    )
    score.add_argument(
        "--timeline",
        metavar="FOLDER",
        help="also write the score of every window, as a table and a figure per "
        "recording, to see where in a recording the spoof is",
    )
    score.add_argument(
        "--overlap",
        type=float,
        metavar="FRACTION",
        help="minimum overlap of the windows of --timeline, as a fraction of a window; "
        "default: 0, which takes as few windows as cover the recording",
    )
    _add_segments(score)


def _add_segments(score: argparse.ArgumentParser) -> None:
    group = score.add_argument_group(
        "which parts of a recording are spoofed, for runs with the head frame"
    )
    group.add_argument(
        "--segments",
        metavar="FOLDER",
        help="also write the scores of every 20 ms and the spoofed parts, as RTTM, as "
        "labels for Audacity and as a figure per recording",
    )
    group.add_argument(
        "--threshold",
        type=float,
        metavar="SCORE",
        help="frames with a lower score are spoof; default: 0, where both classes are "
        "equally likely if the run is calibrated",
    )
    group.add_argument(
        "--segment-keys",
        metavar="PATH",
        help="which parts are spoofed in truth, to draw it below: see --keys of mldg "
        "evaluate-segments",
    )
    group.add_argument(
        "--no-figures",
        action="store_true",
        default=None,  # not given, as the other options of an output
        help="draw no figures, which take longer than scoring",
    )


def _check_options(arguments: argparse.Namespace) -> None:
    """Refuses options of an output that is not asked for."""
    for output, options in OPTIONS_OF.items():
        for name in options if getattr(arguments, output) is None else ():
            if getattr(arguments, name) is not None:
                raise UserError(
                    f"--{name.replace('_', '-')} applies to --{output} FOLDER: add it"
                )


def _segments(arguments: argparse.Namespace) -> Any:
    """Returns where to write spoofed parts; None if nothing asks for it."""
    if arguments.segments is None:
        return None
    from mldg_jax.scoring.segments import segment_decisions

    return segment_decisions.prepare(
        arguments.segments,
        arguments.threshold,
        arguments.segment_keys,
        figures=not arguments.no_figures,
    )


def _check_order(run: str, audio: Sequence[str]) -> None:
    """Refuses recordings in the place of the run, and a run without recordings."""
    if not audio and os.path.isfile(run):
        raise UserError(f"{run} is a file; the run comes first: mldg score RUN {run}")
    if not audio:
        raise UserError(f"there is no recording: mldg score {run} your.wav")
    runs = [x for x in audio if os.path.isfile(os.path.join(x, "config.json"))]
    if runs and os.path.isfile(run):
        others = [run, *(x for x in audio if x != runs[0])]
        command = shlex.join(["mldg", "score", runs[0], *others])
        raise UserError(f"{run} is a file; the run comes first: {command}")


def _score(arguments: argparse.Namespace) -> int:
    _check_order(arguments.run, arguments.audio)
    _check_options(arguments)

    from mldg_jax.common import compile_cache
    from mldg_jax.scoring import recordings

    with compile_cache.used():
        failed = recordings.score(
            arguments.run,
            arguments.audio,
            output=sys.stdout if arguments.output is None else arguments.output,
            timeline=arguments.timeline,
            overlap=arguments.overlap or 0.0,
            segments=_segments(arguments),
        )
    return 2 if failed else 0
