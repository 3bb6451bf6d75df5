"""The corpora behind the README's numbers, and how a build differs from them.

The samples of DebSpoof depend on the versions of the packages it is built from. Another
release of Debian has other versions, which give a very similar corpus with slightly
different error rates.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

RELEASE = "Debian 12"
"""The system on which the README's corpora were built."""

NOTES = {
    "tuxpaint-stamps-default": (
        "Tux Paint's recordings were re-encoded in 2025 (mono, 32 kbit/s), so the bona "
        "fide utterances of the speakers tux_* have different audio"
    ),
}
"""Known effects on the audio when a package's version is not the reference's."""


class Reference(NamedTuple):
    """The published build of one size.

    Attributes:
      sha256: hash of the corpus (``dataset.corpus_hash``), or its first digits.
      versions: version of every package that it was built from, by name.
    """

    sha256: str
    versions: dict[str, str]


def read(size: str) -> Reference | None:
    """Reads the reference of one size.

    Args:
      size: "small", "full" or "quick".

    Returns:
      The published hash and versions; None for "quick", of which none are published.
    """
    file = Path(__file__).with_name("reference.json")
    values = json.loads(file.read_text("utf-8")).get(size)
    return None if values is None else Reference(**values)


def other_versions(
    versions: Mapping[str, str], reference: Reference
) -> dict[str, tuple[str, str]]:
    """Finds the packages whose version differs from the reference's.

    Packages that only one of the two builds has are ignored.

    Args:
      versions: version of every package of a build, by name.
      reference: the published build.

    Returns:
      (reference's version, this build's version) by package.
    """
    return {
        name: (reference.versions[name], version)
        for name, version in versions.items()
        if reference.versions.get(name, version) != version
    }


def difference(
    digest: str, versions: Mapping[str, str], reference: Reference
) -> str | None:
    """Describes in one line how a corpus differs from the README's.

    Args:
      digest: hexadecimal SHA-256 of the corpus.
      versions: version of every package that it was built from, by name.
      reference: the published build.

    Returns:
      One line without a final full stop, or None if the corpora are the same.
    """
    if digest.startswith(reference.sha256):
        return None
    changed = other_versions(versions, reference)
    if changed:
        listed = [f"{name} {new} (not {old})" for name, (old, new) in changed.items()]
        cause = f"it was built with {', '.join(listed)}"
    else:
        cause = "every package has the same version, so a synthesiser or codec gave "
        cause += "different samples on this machine"
    notes = "".join(f"; {note}" for note in version_notes(versions, reference))
    return (
        f"this corpus is not the one in the README (sha256 {digest[:8]} "
        f"instead of {reference.sha256[:8]}, built on {RELEASE}), so its error rates "
        f"will differ slightly: {cause}{notes}"
    )


def version_notes(versions: Mapping[str, str], reference: Reference) -> list[str]:
    """Lists the known effects of the versions that differ.

    Args:
      versions: version of every package of a build, by name.
      reference: the published build.

    Returns:
      Notes without a final full stop; empty if none applies.
    """
    changed = other_versions(versions, reference)
    return [note for package, note in NOTES.items() if package in changed]
