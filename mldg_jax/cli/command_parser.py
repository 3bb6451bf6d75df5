"""The parser of ``mldg`` and its commands: whole options, hints for wrong ones."""

import argparse
import difflib
import itertools
import sys
from collections.abc import Sequence
from typing import Any


class CommandParser(argparse.ArgumentParser):
    """A parser that takes options by their whole name and speaks for its own command.

    argparse would read ``--second`` as ``--seconds``, so that a script could change its
    meaning with the next release, and would answer an unknown option with the usage of
    ``mldg``.

    Args:
      **options: of ``argparse.ArgumentParser``.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **options})

    def print_help(self, file: Any = None) -> None:
        """Prints the help, and says if it cannot be written; argparse exits with 0."""
        (file or sys.stdout).write(self.format_help())

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Parses arguments; exits with this command's usage if one is unknown.

        Args:
          args: the arguments; None for those of this process.
          namespace: to add the values to.

        Returns:
          The namespace, and an empty list.
        """
        given = list(sys.argv[1:] if args is None else args)
        if self._subparsers is None:  # else the options may be a subcommand's
            self._refuse_unknown(given)
        parsed, extras = super().parse_known_args(given, namespace)
        if extras:
            self.error(f"unrecognized arguments: {' '.join(extras)}")
        return parsed, extras

    def _refuse_unknown(self, given: Sequence[str]) -> None:
        """Exits at an option that does not exist, before one that is missing."""
        known = [x for x in self._option_string_actions if x.startswith("--")]
        for argument in itertools.takewhile(lambda x: x != "--", given):
            name = argument.partition("=")[0]
            if not name.startswith("--") or " " in name or name in known:
                continue
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"see {self.prog} --help"
            self.error(f"there is no option {name}: {hint}")
