"""The columns that all corpora share, and the values they take."""

from typing import NamedTuple

BONAFIDE, SPOOF = 1, 0
LABELS = ("spoof", "bonafide")
"""Label names by code: bona fide is 1, so that its scores are the higher ones."""
NO_ATTACK = "-"  # attack of bona fide speech
UNKNOWN_ATTACK = "unknown"  # attack of spoofed speech if the protocol names none
NOT_STATED = "-"  # any other column that the protocol does not have


class Row(NamedTuple):
    """One line of a protocol: an utterance.

    Attributes:
      utterance: name, unique in the corpus, without white space.
      path: path of the recording, relative to the source folder.
      label: "bonafide" or "spoof".
      attack: "-" for bona fide, "unknown" if the protocol names none.
      speaker: the protocol's name for the speaker.
      split: e.g. "train", "dev", "eval".
      codec: the protocol's name for the transmission or media codec; "-" if not stated.
      language: ISO 639-1 code; "-" if not stated.
      extra: values of the builder's ``EXTRA`` columns, in their order.
      segments: the spoofed parts, as ``segment_labels.to_text``; "" if not known.
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
    segments: str = ""


def attack_of(label: str, attack: str) -> str:
    """Normalises the attack of an utterance.

    Args:
      label: "bonafide" or "spoof".
      attack: the protocol's entry; for bona fide it may be "-", "bonafide" or empty.

    Returns:
      "-" for bona fide, "unknown" for spoof without an attack, else the attack's name
      without white space.
    """
    if label == "bonafide":
        return NO_ATTACK
    return word(attack) if attack not in ("", "-") else UNKNOWN_ATTACK


def word(text: str) -> str:
    """Replaces white space, which separates the columns of score files, by "_".

    Args:
      text: a name from a protocol.

    Returns:
      The name as one word.
    """
    return "_".join(text.split())
