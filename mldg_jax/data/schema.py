"""What every corpus says about an utterance, whoever published it."""

from typing import NamedTuple

BONAFIDE, SPOOF = 1, 0
LABELS = ("spoof", "bonafide")
"""Names by number: bona fide is 1, so that a score is higher for bona fide."""
NO_ATTACK = "-"  # the attack of a bona fide row
UNKNOWN_ATTACK = "unknown"  # the attack of spoof whose protocol names none
NOT_STATED = "-"  # any other column that the protocol leaves out


class Row(NamedTuple):
    """One line of a protocol.

    Attributes:
      utterance: its name, unique in the corpus, without white space.
      path: of the recording, below the source folder.
      label: "bonafide" or "spoof".
      attack: "-" for bona fide, "unknown" where the protocol names none.
      speaker: as the protocol calls them.
      split: e.g. "train", "dev", "eval".
      codec: transmission or media codec, as the protocol calls it; "-" if not stated.
      language: ISO 639-1; "-" if not stated.
      extra: values of the builder's ``EXTRA`` columns, in their order.
    """

    utterance: str
    path: str
    label: str
    attack: str
    speaker: str
    split: str
    codec: str = NOT_STATED
    language: str = NOT_STATED
    extra: tuple[str, ...] = ()


def attack_of(label: str, attack: str) -> str:
    """The attack column: protocols write "-", "bonafide" or nothing for none."""
    if label == "bonafide":
        return NO_ATTACK
    return word(attack) if attack not in ("", "-") else UNKNOWN_ATTACK


def word(text: str) -> str:
    """Without white space, which separates the columns of score files."""
    return "_".join(text.split())
