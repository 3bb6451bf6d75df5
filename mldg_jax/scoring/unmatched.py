"""Explains why no utterance of a score file is in the keys."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mldg_jax.common.errors import UserError
from mldg_jax.data.protocols import NUMERIC
from mldg_jax.scoring import key_files, score_files
from mldg_jax.scoring.findings import Finding, first
from mldg_jax.scoring.key_files import Keys


@contextlib.contextmanager
def explaining_swap(
    scores: str | Path, keys: str | Path, option: str = "--keys"
) -> Iterator[None]:
    """Explains an error of reading two files if each is what the other should be.

    Args:
      scores, keys: the files.
      option: of the command line that names the keys, for the message.

    Raises:
      UserError: the error inside, or that the files look swapped.
    """
    try:
        yield
    except UserError:
        try:
            key_files.read(scores)
            score_files.read(keys)
        except UserError:
            pass
        else:
            raise UserError(
                f"{scores} has keys and {keys} has scores, so they look swapped: give "
                f"{keys} as the scores, and {option} {scores}"
            ) from None
        raise


def wrong_split(
    names: Sequence[str],
    everything: Keys,
    known: Sequence[str],
    wanted: Sequence[str],
    option: str,
) -> Finding:
    """Describes scores that match none of the wanted trials.

    Args:
      names: utterances of the scores.
      everything: all trials of the keys.
      known: names of all trials of the keys.
      wanted: names of the trials that should be scored.
      option: of the command line that chooses the subset.

    Returns:
      The finding: "names" or "columns" if only the spelling or the layout of the score
      file differs, else "wrong split".
    """
    scored = set(names)
    has_score = np.array([name in scored for name in known])
    if has_score.any():
        others = sorted(set(everything.columns["subset"][has_score]))
        return Finding(
            "wrong split",
            "no trial of the chosen subset has a score, but those of "
            f"{', '.join(others)} do",
            f"Score the right subset, or choose it with {option} {others[0]}",
        )
    return _spelling(names, known) or Finding(
        "wrong split",
        f"no trial of the keys has a score: the scores are of {first(names)}, the "
        f"keys of {first(wanted)}",
        "Use the keys of the set that was scored",
    )


def _spelling(names: Sequence[str], known: Sequence[str]) -> Finding | None:
    """Returns the finding on names that would match if they were written otherwise."""
    trials = set(known)
    if name := next((x for x in names if x.strip("\"'") in trials), None):
        return Finding(
            "names",
            "no trial of the keys has a score, because the names are in quotes: "
            f"{name}",
            "Remove the quotes, or separate the columns with commas",
        )
    folded = {name.casefold(): name for name in known}
    if name := next((x for x in names if x.casefold() in folded), None):
        return Finding(
            "names",
            "no trial of the keys has a score, because capitals differ: "
            f"{name} in the scores, {folded[name.casefold()]} in the keys",
            "Write the names as in the keys",
        )
    split = next((x.split() for x in names if {*x.split()[:1]} & trials), None)
    if split is None or len(split) < 2:
        return None
    name, *rest = split
    numeric = f" ({NUMERIC})" if {*rest} & {"0", "1"} else ""
    return Finding(
        "columns",
        f"the lines have {len(split) + 1} columns: between the name {name} and its "
        f"score there is {' '.join(rest)}",
        "Write 'utterance score', or 'utterance attack key score' with the key "
        f"bonafide or spoof{numeric}",
    )
