"""Transcripts and speaker turns, read from the files that the packages bring."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path


def clean_text(text: str) -> str:
    """Plain words and punctuation: no markup, stress marks, line breaks."""
    text = text.replace("\\n", " ").replace('\\"', " ")
    text = re.sub(r"[\[\]\"<>{}*_+|«»“”„]", " ", text)
    return re.sub(r"\s+", " ", text).strip()


class Transcripts:
    """Looks transcripts up, reading every script once."""

    def __init__(self, cache: Path):
        self._cache = cache
        self._rooms: dict[str, dict[str, str]] = {}
        self._sentences: dict[str, str] | None = None

    def find(self, package: str, path: Path) -> str:
        """Transcript of one surveyed file, "" when there is none."""
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
    """UTF-8 text of a file, "" when it is not there; bad bytes are replaced."""
    if not path.exists():
        return ""
    return path.read_bytes().decode("utf-8", errors="replace")


_QUOTED = r'"((?:[^"\\]|\\.)*)"'
_DIALOG = rf"dialogId\(\s*{_QUOTED}\s*,\s*{_QUOTED}\s*,\s*{_QUOTED}\s*\)"


def lua_dialogs(script: str) -> dict[str, str]:
    """Dialog key -> text, from a Fish Fillets `dialogs_LANG.lua`."""
    pattern = rf"{_DIALOG}\s*dialogStr\(\s*{_QUOTED}"
    return {m[1]: clean_text(m[4]) for m in re.finditer(pattern, script)}


def english_dialogs(script: str) -> dict[str, str]:
    """Dialog key -> text, from `dialogs_en.lua`: the others translate its text."""
    return {m[1]: clean_text(m[3]) for m in re.finditer(_DIALOG, script)}


def tuxpaint_text(script: str, language: str) -> str:
    """Line `LANGUAGE.utf8=` of a Tux Paint stamp description, "" without one."""
    match = re.search(rf"^{re.escape(language)}\.utf8=(.+)$", script, re.MULTILINE)
    return clean_text(match[1]) if match else ""


def festival_texts(script: str) -> dict[str, str]:
    """Utterance -> text of a festvox `txt.done.data`; stress marks (+) removed."""
    found = re.findall(r'^\(\s*(\S+)\s+"(.*)"\s*\)\s*$', script, re.MULTILINE)
    return {name: clean_text(text.replace("+", "")) for name, text in found}


def asterisk_texts(script: str) -> dict[str, str]:
    """Prompt -> text of an Asterisk `core-sounds-LANG.txt`; non-speech left out."""
    texts = {}
    for line in script.removeprefix("\ufeff").splitlines():
        match = re.match(r"^([^;:\s][^:]*):\s*(.+)$", line)
        # [square brackets] describe tones and music
        if match and "[" not in match[2]:
            texts[match[1].strip()] = clean_text(match[2])
    return texts


def librivox_texts(script: str) -> dict[str, str]:
    """File stem -> text of a Sphinx `transcription` file."""
    found = re.findall(r"^<s>\s*(.*?)\s*</s>\s*\((.+)\)\s*$", script, re.MULTILINE)
    return {name: clean_text(text) for text, name in found}


def file_text(file: Path) -> str:
    """Transcript beside a LibriVox or MFA file, "" without one."""
    lab = file.parent.parent / "lab" / f"{file.stem}.lab"
    if lab.exists():
        return clean_text(read_text(lab))
    return librivox_texts(read_text(file.parent / "transcription")).get(file.stem, "")


@dataclass(frozen=True)
class Span:
    """Who speaks from when to when, in seconds."""

    recording: str
    speaker: str
    start: float
    stop: float


def rttm_spans(script: str) -> list[Span]:
    """The SPEAKER lines of an RTTM file."""
    spans = []
    for line in script.splitlines():
        fields = line.split()
        if len(fields) >= 8 and fields[0] == "SPEAKER":
            start, length = float(fields[3]), float(fields[4])
            spans.append(Span(fields[1], fields[7], start, start + length))
    return spans


def alone(spans: Sequence[Span], shortest: float) -> list[Span]:
    """Stretches in which only one speaker talks, at least `shortest` s long."""
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
