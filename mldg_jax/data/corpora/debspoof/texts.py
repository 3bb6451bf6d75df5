"""Sentences for the synthesisers that no voice of the catalogue reads.

The transcripts of the recordings are few in some languages and missing in others. The
games that they come from were translated: the same kind of text, in more languages.
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

_DIALOGS = ("en", "bg", "es", "fr", "it", "ru")  # Czech is read aloud
_STAMPS = ("lt", "ml", "uk")  # languages with voices but without transcripts


def extra_texts(cache: Path) -> list[Recording]:
    """Texts without a voice, sorted by key.

    Args:
      cache: the folder that `sources.fetch_all` filled.
    """
    rows = [*_dialogs(cache), *_stamps(cache)]
    return sorted(rows, key=lambda row: row.key)


def _dialogs(cache: Path) -> Iterator[Recording]:
    package = "fillets-ng-data"
    folder = cache / "x" / package / "usr/share/games/fillets-ng/script"
    for language in _DIALOGS:
        for file in sorted(folder.glob(f"*/dialogs_{language}.lua")):
            found = english_dialogs if language == "en" else lua_dialogs
            for name, text in found(read_text(file)).items():
                place = f"{file.relative_to(cache)}#{name}"
                yield _text(language, text, place, package)


def _stamps(cache: Path) -> Iterator[Recording]:
    package = "tuxpaint-stamps-default"
    for file in sorted(
        (cache / "x" / package).glob("usr/share/tuxpaint/stamps/**/*.txt")
    ):
        script = read_text(file)
        for language in _STAMPS:
            text = tuxpaint_text(script, language)
            if text:
                place = f"{file.relative_to(cache)}#{language}"
                yield _text(language, text, place, package)


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
