"""Sentences for the synthesisers that no recording of the catalogue contains.

Some languages have few transcripts of recordings, others none. Translations of the
games that the recordings come from give the same kind of text in more languages.
"""

from collections.abc import Iterator
from pathlib import Path

from mldg_jax.data.corpora.debspoof.transcripts import (
    english_dialogs,
    lua_dialogs,
    read_text,
    tuxpaint_text,
)
from mldg_jax.data.corpora.debspoof.voices import LICENCES, Recording

_DIALOGS = ("en", "bg", "es", "fr", "it", "ru")  # not cs: the game has recordings
_STAMPS = ("lt", "ml", "uk")  # bona fide speakers, but no transcripts


def extra_texts(cache: Path) -> list[Recording]:
    """Collects texts that have no recording.

    Args:
      cache: folder filled by ``sources.fetch_all``.

    Returns:
      Catalogue entries with empty ``voice``, sorted by key; ``path`` names the text.
    """
    rows = [*_dialogs(cache), *_stamps(cache)]
    return sorted(rows, key=lambda row: row.key)


def _dialogs(cache: Path) -> Iterator[Recording]:
    package = "fillets-ng-data"
    folder = cache / "x" / package / "usr/share/games/fillets-ng/script"
    for language in _DIALOGS:
        for file in sorted(folder.glob(f"*/dialogs_{language}.lua")):
            parse = english_dialogs if language == "en" else lua_dialogs
            for name, text in parse(read_text(file)).items():
                path = f"{file.relative_to(cache)}#{name}"
                yield _text(language, text, path, package)


def _stamps(cache: Path) -> Iterator[Recording]:
    package = "tuxpaint-stamps-default"
    for file in sorted(
        (cache / "x" / package).glob("usr/share/tuxpaint/stamps/**/*.txt")
    ):
        script = read_text(file)
        for language in _STAMPS:
            text = tuxpaint_text(script, language)
            if text:
                path = f"{file.relative_to(cache)}#{language}"
                yield _text(language, text, path, package)


def _text(language: str, text: str, path: str, package: str) -> Recording:
    return Recording(
        voice="",
        language=language,
        sex="",
        path=path,
        text=text,
        start=None,
        stop=None,
        package=package,
        licence=LICENCES[package],
        seconds=0.0,
    )
