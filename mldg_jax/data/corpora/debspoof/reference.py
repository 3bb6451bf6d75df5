"""The corpora behind the README's numbers, and how a build differs from them.

What DebSpoof sounds like follows from the versions of the packages it is made of.
Another release of Debian brings other ones: the corpus is then a very similar one, and
its numbers are not the README's.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

RELEASE = "Debian 12"
"""Where the corpora of the README were built."""

NOTES = {
    "tuxpaint-stamps-default": (
        "since 2025 Tux Paint's recordings are encoded anew (mono, 32 kbit/s): the "
        "bona fide clips of the speakers tux_* are other audio"
    ),
}
"""What a version other than the reference's means for the clips, where it is known."""


class Reference(NamedTuple):
    """What a build of one size is compared with.

    Attributes:
      sha256: of the corpus (``dataset.corpus_hash``), or its first digits.
      versions: of every package that it was made of, by name.
    """

    sha256: str
    versions: dict[str, str]


def read(size: str) -> Reference:
    """Returns the reference of a size, "small" or "full"."""
    file = Path(__file__).with_name("reference.json")
    return Reference(**json.loads(file.read_text("utf-8"))[size])


def other_versions(
    versions: Mapping[str, str], reference: Reference
) -> dict[str, tuple[str, str]]:
    """Returns (the reference's, this build's) version of packages that differ.

    Args:
      versions: of a build. A package that only one of the two has is left out.
      reference: what to compare with.
    """
    return {
        name: (reference.versions[name], version)
        for name, version in versions.items()
        if reference.versions.get(name, version) != version
    }


def difference(
    digest: str, versions: Mapping[str, str], reference: Reference
) -> str | None:
    """Says in one line how a corpus differs from the README's; None if it does not.

    Args:
      digest: SHA-256 of the corpus.
      versions: of the packages that it was made of.
      reference: what to compare with.
    """
    if digest.startswith(reference.sha256):
        return None
    changed = other_versions(versions, reference)
    if changed:
        listed = [f"{name} {new} (not {old})" for name, (old, new) in changed.items()]
        why = f"it was made with {', '.join(listed)}"
    else:
        why = "every package has the same version, so a synthesiser or codec gave "
        why += "other samples on this machine"
    notes = "".join(f"; {note}" for note in version_notes(versions, reference))
    return (
        f"this corpus is not the README's (sha256 {digest[:8]}, not "
        f"{reference.sha256[:8]} of {RELEASE}), so its error rates will differ a "
        f"little: {why}{notes}"
    )


def version_notes(versions: Mapping[str, str], reference: Reference) -> list[str]:
    """Returns what is known of the versions that differ."""
    changed = other_versions(versions, reference)
    return [note for package, note in NOTES.items() if package in changed]
