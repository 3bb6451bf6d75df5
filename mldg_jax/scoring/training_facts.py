"""Describes the training data of a run for its model card."""

from collections.abc import Mapping
from typing import Any

from mldg_jax.data.schema import NOT_STATED


def training_lines(facts: Mapping[str, Any]) -> list[str]:
    """Describes training data in lines of a Markdown list.

    Args:
      facts: from ``data.corpus.trained_on``, also of runs of older versions, which
        counted "-" as a language.

    Returns:
      The bona fide utterances, with speakers and languages if they are known, and the
      attacks.
    """
    speakers = facts["speakers"]
    bonafide = f"- {facts['bonafide']:,} bona fide utterances"
    if speakers:
        bonafide += f" of {speakers:,} speaker{'s' * (speakers != 1)}"
    languages = [name for name in facts["languages"] if name != NOT_STATED]
    if languages:
        bonafide += f"; languages {', '.join(languages)}"
    spoof = ", ".join(f"{attack} ({n:,})" for attack, n in facts["spoof"].items())
    return [bonafide, f"- attacks (utterances): {spoof}"]
