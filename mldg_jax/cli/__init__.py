"""The command line: parses, calls one function of the rooms above, prints."""

import argparse
import os
import sys
from collections.abc import Sequence

from mldg_jax.cli import (
    analysis_commands,
    compare_commands,
    corpus_commands,
    run_commands,
    score_commands,
)
from mldg_jax.common.console import show_log
from mldg_jax.common.errors import UserError

DESCRIPTION = """\
Train detectors of synthetic speech that hold on attacks they never met, and score
recordings with them. A score is higher for bona fide (human) speech, everywhere."""

EPILOG = """\
examples:
  mldg demo                                    the whole argument in ten minutes
  mldg corpus build debspoof --size small      only the corpus
  mldg corpus build asvspoof2019_la --source /data/LA
  mldg train --config configs/debspoof.py:mldg --workdir runs/mldg
  mldg compare --config configs/debspoof.py --methods frozen,erm,mldg --workdir runs/all
  mldg plan --config configs/xlsr.py:mldg --topology v5e:2x4 --batch 12
  mldg score runs/demo/mldg-0 my_recording.wav
  mldg analyse runs/demo/mldg-0                what training did, and why
  mldg evaluate --scores scores.txt --keys trial_metadata.txt --html report.html
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit status (0 done, 2 wrong input)."""
    hide_log = show_log()
    try:
        try:
            arguments = make_parser().parse_args(argv)
        finally:  # --help leaves from there
            sys.stdout.flush()
        status = arguments.command(arguments) or 0
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # `mldg … | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except UserError as error:
        print(f"mldg: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("mldg: interrupted; the same command continues", file=sys.stderr)
        return 130
    finally:
        hide_log()


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of all commands."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="mldg", description=DESCRIPTION, epilog=EPILOG, formatter_class=raw
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in (
        run_commands,
        compare_commands,
        corpus_commands,
        score_commands,
        analysis_commands,
    ):
        module.add(commands)
    return parser
