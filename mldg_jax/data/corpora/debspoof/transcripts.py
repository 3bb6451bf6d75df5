"""Transcripts and speaker turns, parsed from the packages' own files."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path


def clean_text(text: str) -> str:
    """Removes markup, stress marks and line breaks from a transcript.

    Args:
      text: raw transcript.

    Returns:
      Plain words and punctuation, separated by single spaces.
    """
    text = text.replace("\\n", " ").replace('\\"', " ")
    text = re.sub(r"[\[\]\"<>{}*_+|«»“”„]", " ", text)
    return re.sub(r"\s+", " ", text).strip()


class Transcripts:
    """Finds the transcripts of surveyed files; caches scripts that cover many files.

    Args:
      cache: folder filled by ``sources.fetch_all``.
    """

    def __init__(self, cache: Path):
        self._cache = cache
        self._rooms: dict[str, dict[str, str]] = {}
        self._sentences: dict[str, str] | None = None

    def find(self, package: str, path: Path) -> str:
        """Returns the transcript of one surveyed file.

        Args:
          package: package of the file.
          path: the file.

        Returns:
          The transcript, "" if there is none.
        """
        if package == "fillets-ng-data-cs":
            room = path.parent.parent.name
            if room not in self._rooms:
                self._rooms[room] = self._room(room)
            return self._rooms[room].get(path.stem, "")
        if package == "tuxpaint-stamps-default":
            stem, _, language = path.stem.rpartition("_desc_")
            script = path.with_name(f"{stem}.txt")
            return tuxpaint_text(read_text(script), language)
        if package == "festvox-ru":
            if self._sentences is None:
                script = path.parent.parent / "etc" / "txt.done.data"
                self._sentences = festival_texts(read_text(script))
            return self._sentences.get(path.stem, "")
        return ""

    def _room(self, room: str) -> dict[str, str]:
        scripts = self._cache / "x/fillets-ng-data/usr/share/games/fillets-ng/script"
        return lua_dialogs(read_text(scripts / room / "dialogs_cs.lua"))


def read_text(path: Path) -> str:
    """Reads a UTF-8 file; invalid bytes are replaced.

    Args:
      path: the file, which may be missing.

    Returns:
      The text, "" if the file does not exist.
    """
    if not path.exists():
        return ""
    return path.read_bytes().decode("utf-8", errors="replace")


_QUOTED = r'"((?:[^"\\]|\\.)*)"'
_DIALOG = rf"dialogId\(\s*{_QUOTED}\s*,\s*{_QUOTED}\s*,\s*{_QUOTED}\s*\)"


def lua_dialogs(script: str) -> dict[str, str]:
    """Parses a translated Fish Fillets script.

    Args:
      script: content of ``dialogs_LANG.lua``.

    Returns:
      Text by dialogue key.
    """
    pattern = rf"{_DIALOG}\s*dialogStr\(\s*{_QUOTED}"
    return {m[1]: clean_text(m[4]) for m in re.finditer(pattern, script)}


def english_dialogs(script: str) -> dict[str, str]:
    """Parses the English Fish Fillets script, which the other languages translate.

    Args:
      script: content of ``dialogs_en.lua``.

    Returns:
      Text by dialogue key.
    """
    return {m[1]: clean_text(m[3]) for m in re.finditer(_DIALOG, script)}


def tuxpaint_text(script: str, language: str) -> str:
    """Finds one language in a Tux Paint stamp description.

    Args:
      script: content of the description file.
      language: as in the line ``LANGUAGE.utf8=...``.

    Returns:
      The text, "" if the language is missing.
    """
    match = re.search(rf"^{re.escape(language)}\.utf8=(.+)$", script, re.MULTILINE)
    return clean_text(match[1]) if match else ""


def festival_texts(script: str) -> dict[str, str]:
    """Parses the transcripts of a festvox voice; stress marks (+) are removed.

    Args:
      script: content of ``txt.done.data``.

    Returns:
      Text by utterance name.
    """
    pairs = re.findall(r'^\(\s*(\S+)\s+"(.*)"\s*\)\s*$', script, re.MULTILINE)
    return {name: clean_text(text.replace("+", "")) for name, text in pairs}


def asterisk_texts(script: str) -> dict[str, str]:
    """Parses the transcripts of Asterisk prompts; non-speech is skipped.

    Args:
      script: content of ``core-sounds-LANG.txt``.

    Returns:
      Text by prompt.
    """
    texts = {}
    for line in script.removeprefix("\ufeff").splitlines():
        match = re.match(r"^([^;:\s][^:]*):\s*(.+)$", line)
        # Square brackets describe tones and music
        if match and "[" not in match[2]:
            texts[match[1].strip()] = clean_text(match[2])
    return texts


def librivox_texts(script: str) -> dict[str, str]:
    """Parses a Sphinx transcription.

    Args:
      script: content of ``transcription``.

    Returns:
      Text by file stem.
    """
    pairs = re.findall(r"^<s>\s*(.*?)\s*</s>\s*\((.+)\)\s*$", script, re.MULTILINE)
    return {name: clean_text(text) for text, name in pairs}


def file_text(file: Path) -> str:
    """Returns the transcript next to a LibriVox or MFA file.

    Args:
      file: the audio file.

    Returns:
      The transcript, "" if there is none.
    """
    lab = file.parent.parent / "lab" / f"{file.stem}.lab"
    if lab.exists():
        return clean_text(read_text(lab))
    return librivox_texts(read_text(file.parent / "transcription")).get(file.stem, "")


@dataclass(frozen=True)
class Span:
    """One speaker turn.

    Attributes:
      recording: name of the recording.
      speaker: name of the speaker.
      start: in seconds.
      stop: in seconds.
    """

    recording: str
    speaker: str
    start: float
    stop: float


def rttm_spans(script: str) -> list[Span]:
    """Parses the SPEAKER lines of an RTTM file.

    Args:
      script: content of the file.

    Returns:
      Speaker turns in file order.
    """
    spans = []
    for line in script.splitlines():
        fields = line.split()
        if len(fields) >= 8 and fields[0] == "SPEAKER":
            start, length = float(fields[3]), float(fields[4])
            spans.append(Span(fields[1], fields[7], start, start + length))
    return spans


def alone(spans: Sequence[Span], shortest: float) -> list[Span]:
    """Returns the stretches in which only one speaker talks.

    Args:
      spans: speaker turns, of one or more recordings.
      shortest: minimum length in seconds.

    Returns:
      Stretches sorted by recording and start, without duplicates.
    """
    result = []
    for span in spans:
        pieces = [(span.start, span.stop)]
        for other in spans:
            if other is span or other.recording != span.recording:
                continue
            pieces = [
                piece
                for start, stop in pieces
                for piece in (
                    (start, min(stop, other.start)),
                    (max(start, other.stop), stop),
                )
                if piece[0] < piece[1]
            ]
        result += [
            replace(span, start=start, stop=stop)
            for start, stop in pieces
            if stop - start >= shortest
        ]
    return sorted(set(result), key=lambda s: (s.recording, s.start, s.speaker))
