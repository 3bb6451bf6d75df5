"""The command line ``mldg``: parses arguments, calls the library, prints results."""

import argparse
import errno
import os
import sys
from collections.abc import Sequence
from typing import Any, TextIO

from mldg_jax.cli import (
    analysis_commands,
    compare_commands,
    completion_commands,
    config_commands,
    corpus_commands,
    demo_commands,
    evaluate_commands,
    export_commands,
    launch_commands,
    machine_commands,
    plan_commands,
    probe_commands,
    run_commands,
    score_commands,
    segment_commands,
    submit_commands,
)
from mldg_jax.cli.command_parser import CommandParser
from mldg_jax.cli.verbosity import applied
from mldg_jax.common.console import open_streams, show_log
from mldg_jax.common.errors import UserError
from mldg_jax.common.files import REFUSALS
from mldg_jax.common.text_files import visible

DESCRIPTION = """\
Train detectors of synthetic speech that generalise to unseen attacks, score recordings
with them, and evaluate the scores. An attack is a way to make spoofed speech, e.g. one
synthesiser. A score is higher for bona fide (human) speech, everywhere."""

EPILOG = """\
start here:
  mldg demo --quick                a detector and three verdicts, in about two minutes
  mldg demo                        corpus, training and report in ten minutes
  mldg score runs/demo/mldg-0 my_recording.wav

train your own:
  mldg corpus build debspoof --size small
  mldg corpus build asvspoof2019_la --source /data/LA
  mldg configs                     the presets that --config takes, and how to copy one
  mldg train --config debspoof:mldg --workdir runs/mldg
  mldg compare --config debspoof --methods frozen,erm,mldg --workdir runs/all
  mldg analyse runs/demo/mldg-0    what training changed, and where
  mldg probe --config debspoof_full:mldg    which layers are worth training on
  mldg plan --config xlsr:mldg --topology v5e:2x4 --batch 12

evaluate scores of any system:
  mldg evaluate --scores scores.txt --keys trial_metadata.txt --html report.html

`mldg COMMAND --help` explains a command; `mldg completion --help`, how the shell can
complete it. Exit status: 0 done, 2 wrong input (with a message on standard error), 1 a
bug.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
      argv: arguments of the command line; None for those of this process.

    Returns:
      The exit status: 0 done, 2 wrong input, 130 interrupted.
    """
    hide_log = show_log()
    try:
        open_streams()
        try:
            words = sys.argv[1:] if argv is None else argv
            arguments = make_parser().parse_args(words or ["--help"])
        finally:  # --help exits here: meet a broken pipe now, not at shutdown
            sys.stdout.flush()
        with applied(arguments):
            status = arguments.command(arguments) or 0
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # `mldg … | head` has read enough
        _drop_output(sys.stdout)
        return 0
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            _tell(_too_long(error.filename))
            return 2
        refused = os.strerror(error.errno or 0) in REFUSALS
        if not (refused or error.errno == errno.EBADF) or error.filename:
            raise
        _drop_output(sys.stdout)
        _tell(f"cannot write the output: {error.strerror}")
        return 2
    except UserError as error:
        _tell(visible(str(error)))
        return 2
    except MemoryError:
        _tell(
            "there is not enough memory for this on this machine, or its limit for a "
            "process is too low (ulimit -v): free some, or use a larger machine"
        )
        return 2
    except KeyboardInterrupt:
        _tell("interrupted; run the same command again to continue")
        return 130
    finally:
        hide_log()


def _too_long(name: str | bytes | None) -> str:
    """Says that a name is too long for a file, and shows its beginning."""
    shown = visible(os.fsdecode(name or "")[:60])
    return (
        f"{shown}… is too long for the name of a file: a name has at most 255 bytes, a "
        "path 4,095; separate several paths by spaces, outside of quotes"
    )


def _tell(message: str) -> None:
    try:
        print(f"mldg: {message}", file=sys.stderr, flush=True)
    except OSError:  # standard error is full, too
        _drop_output(sys.stderr)


def _drop_output(stream: TextIO) -> None:
    """Python flushes again at shutdown, which must not fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class _Version(argparse.Action):
    """Prints the versions, which are looked up only then."""

    def __call__(self, *_: Any) -> None:
        from mldg_jax.common.versions import describe

        print(describe())
        sys.exit(0)


def make_parser() -> argparse.ArgumentParser:
    """Creates the parser with all commands."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = CommandParser(
        prog="mldg", description=DESCRIPTION, epilog=EPILOG, formatter_class=raw
    )
    parser.add_argument(
        "--version",
        action=_Version,
        nargs=0,
        help="show the versions of mldg, Python and the main packages, and exit",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in (
        demo_commands,
        run_commands,
        export_commands,
        submit_commands,
        compare_commands,
        config_commands,
        corpus_commands,
        score_commands,
        evaluate_commands,
        segment_commands,
        analysis_commands,
        plan_commands,
        probe_commands,
        machine_commands,
        completion_commands,
        launch_commands,
    ):
        module.add(commands)
    return parser
