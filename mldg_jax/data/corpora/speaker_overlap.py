"""Finds human speakers who are in more than one split of a corpus.

A detector that met a speaker in training, or whose checkpoint and calibration were
chosen on the speaker, is not tested on new people by their other utterances.
"""

from collections.abc import Iterable, Mapping, Sequence

from mldg_jax.data.schema import NOT_STATED

TRAINING = frozenset({"train", "dev"})
"""Splits that a detector learns from. Others may share speakers with each other, as
the subsets of ASVspoof 2021 do."""
_MAX_NAMED = 5  # speakers that a warning names


def shared_speakers(
    utterances: Iterable[tuple[str, str, bool]],
) -> dict[str, list[str]]:
    """Finds the human speakers of train or dev who are in another split, too.

    Args:
      utterances: for each utterance its speaker, its split and whether it is bona
        fide. A speaker without bona fide speech may be a synthesiser's own voice, which
        has to be in every split of its attack.

    Returns:
      The splits of each such speaker, both sorted.
    """
    splits: dict[str, set[str]] = {}
    humans = set()
    for speaker, split, is_bonafide in utterances:
        splits.setdefault(speaker, set()).add(split)
        if is_bonafide:
            humans.add(speaker)
    return {
        speaker: sorted(splits[speaker])
        for speaker in sorted(humans - {NOT_STATED})
        if len(splits[speaker]) > 1 and splits[speaker] & TRAINING
    }


def overlap_warnings(shared: Mapping[str, Sequence[str]]) -> list[str]:
    """Describes the speakers who are in more than one split.

    Args:
      shared: from ``shared_speakers``.

    Returns:
      A warning; none if there are no such speakers.
    """
    if not shared:
        return []
    names = [f"{name} ({', '.join(of)})" for name, of in shared.items()]
    more = f" and {len(names) - _MAX_NAMED:,} more" if len(names) > _MAX_NAMED else ""
    one = len(names) == 1
    number = "1 human speaker is" if one else f"{len(names):,} human speakers are"
    return [
        f"warning: {number} in more than one split: "
        f"{', '.join(names[:_MAX_NAMED])}{more}. Results on known speakers are too "
        "good: put all utterances of a speaker into one split"
    ]
