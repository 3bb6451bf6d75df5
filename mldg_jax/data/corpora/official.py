"""The builders of the public corpora, and one for any table: ``BUILDERS[name]``.

Use them through ``prepare.build``, or with TFDS alone:

    InTheWild(data_dir=…, file_format="array_record").download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=SOURCE))
"""

import abc
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from mldg_jax.common.errors import UserError
from mldg_jax.common.files import replacing
from mldg_jax.data import audio
from mldg_jax.data.corpora import listing, manifest, official_layouts
from mldg_jax.data.corpora.builder import CorpusBuilder
from mldg_jax.data.corpora.completeness import Report, Skipped, compare
from mldg_jax.data.corpora.frame_label_files import with_frame_labels
from mldg_jax.data.corpora.official_layouts import OfficialLayout
from mldg_jax.data.schema import NO_ATTACK, Row

SUMMARY = "corpus.json"
REPORT = "report.txt"
MOST_SKIPPED = 0.01


class SourceBuilder(CorpusBuilder):
    """A corpus that is read from a folder and compared with its protocols.

    Attributes:
      allow_incomplete: build the corpus even if the source is incomplete.
      most_skipped: largest fraction of a split's recordings that may be unusable.
      table_sha256: fingerprint of the table that the corpus is built from; "" for
        other sources.
      report: the report on the source.
    """

    table_sha256 = ""
    allow_incomplete = False
    most_skipped = MOST_SKIPPED
    report: Report
    _listing: listing.Listing

    @abc.abstractmethod
    def scan(self, source: Path) -> listing.Listing:
        """Reads the protocols and looks for the recordings.

        Args:
          source: the source folder or table.

        Returns:
          The contents of the source.
        """

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Official numbers of utterances, as ``OfficialLayout.counts``; {} if none."""
        return {}

    def list_rows(self, source: Path) -> tuple[Path, Sequence[Row]]:
        """Lists the utterances of a source and writes the report.

        Args:
          source: the source folder or table.

        Returns:
          The folder that the rows' paths are relative to, and the rows in order.

        Raises:
          UserError: the source is empty or incomplete, or PyAV is needed but missing.
        """
        self._listing = self.scan(source)
        self._report(None)
        if not self._listing.rows:
            raise UserError(
                f"{self.report.short()}\n{source} contains no recordings of "
                f"{self.name}."
            )
        if not self.report.complete and not self.allow_incomplete:
            raise UserError(
                f"{self.report.short()}\n{source} is not complete; the full report is "
                f"in {self.report_path}. Fix the source, or build an incomplete corpus "
                "with --allow-incomplete."
            )
        audio.check_decoders(row.path for row in self._listing.rows)
        return self._listing.root, self._listing.rows

    @property
    def report_path(self) -> Path:
        """Path of the report, next to the corpus so that it survives a failed build."""
        return Path(self.data_path).parent / REPORT

    def _report(self, skipped: Sequence[Skipped] | None) -> None:
        name = "/".join(filter(None, (self.name, self.builder_config_name)))
        self.report = compare(name, self._listing, self.counts, skipped)
        with replacing(self.report_path) as part:
            part.write_text(self.report.full(), encoding="utf-8")

    def check(self, skipped: Sequence[Skipped]) -> None:
        """Limits the number of unusable recordings and updates the report.

        Args:
          skipped: the recordings that could not be used.

        Raises:
          UserError: a split has too many of them.
        """
        self._report(skipped)
        total = Counter(row.split for row in self._listing.rows)
        for split, count in Counter(skip.split for skip in skipped).items():
            if count == total[split]:
                limit, option = "a split needs at least one that can", ""
            elif count > self.most_skipped * total[split] and not self.allow_incomplete:
                limit = f"at most {self.most_skipped:.0%} may be skipped"
                option = ", or build without them with --allow-incomplete"
            else:
                continue
            raise UserError(
                f"{self.report.short()}\n{count:,} of {total[split]:,} recordings of "
                f"split {split} cannot be used; {limit}. They are listed in "
                f"{self.report_path}. Fix the source{option}."
            )

    def finish(self, folder: Path, digest: str, columns: dict[str, dict]) -> None:
        """Writes ``corpus.json``: fingerprint, completeness and counts.

        Args:
          folder: the corpus folder under its temporary name.
          digest: SHA-256 over names, labels, attacks and samples, shard by shard.
          columns: the index: for each split, a list per column.
        """
        counts = {
            f"{split}/{'bonafide' if attack == NO_ATTACK else attack}": n
            for split, index in columns.items()
            for attack, n in sorted(Counter(index["attack"]).items())
        }
        skipped = [x for split in self.report.splits for x in split.skipped or ()]
        table = {"source_sha256": self.table_sha256} if self.table_sha256 else {}
        summary = {
            "corpus_sha256": digest,
            **table,
            "clips": sum(counts.values()),
            "complete": self.report.complete and not skipped,
            "skipped": dict(Counter(skip.reason for skip in skipped)),
            "split_attack": counts,
        }
        text = json.dumps(summary, indent=1, ensure_ascii=False) + "\n"
        (folder / SUMMARY).write_text(text, encoding="utf-8")


class OfficialBuilder(SourceBuilder):
    """A public corpus in the layout of its archives."""

    layout: ClassVar[OfficialLayout]

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        return self.layout.counts

    def scan(self, source: Path) -> listing.Listing:
        """Reads the protocols and looks for the recordings.

        Args:
          source: the folder that the archives were unpacked into.

        Returns:
          The contents of the source.
        """
        return listing.scan(self.layout, source)


class ASVspoof2019LA(OfficialBuilder):
    """ASVspoof 2019 LA: train and dev of attacks A01–A06, eval of A07–A19."""

    name = "asvspoof2019_la"
    layout = official_layouts.ASVSPOOF2019_LA


class ASVspoof2021LA(OfficialBuilder):
    """ASVspoof 2021 LA: A07–A19 over telephone codecs; the scored subset is eval."""

    name = "asvspoof2021_la"
    layout = official_layouts.ASVSPOOF2021_LA


class ASVspoof2021DF(OfficialBuilder):
    """ASVspoof 2021 DF: media codecs; attacks are vocoder types, eval is scored."""

    name = "asvspoof2021_df"
    layout = official_layouts.ASVSPOOF2021_DF


class ASVspoof5(OfficialBuilder):
    """ASVspoof 5, track 1: crowd-sourced speech, attacks A01–A32."""

    name = "asvspoof5"
    layout = official_layouts.ASVSPOOF5


class InTheWild(OfficialBuilder):
    """In-the-Wild: celebrities and politicians, from the web; no attack labels."""

    name = "in_the_wild"
    layout = official_layouts.IN_THE_WILD


class FakeAVCeleb(OfficialBuilder):
    """FakeAVCeleb v1.2: the sound tracks of its videos, labelled by the sound.

    Every video is an utterance; videos that alter only the picture repeat the sound of
    real ones.
    """

    name = "fakeavceleb"
    layout = official_layouts.FAKEAVCELEB


class Manifest(SourceBuilder):
    """Any corpus that a table lists."""

    name = "manifest"
    segments: Path | None = None
    """File with the segment labels; set it before calling ``plan``."""

    def scan(self, source: Path) -> listing.Listing:
        """Reads a table and looks for its recordings.

        Args:
          source: the table.

        Returns:
          The utterances of the table.
        """
        self.table_sha256 = manifest.sha256_of(source, self.segments)
        return manifest.scan(source, self.segments)


class PartialSpoof(OfficialBuilder):
    """PartialSpoof: ASVspoof 2019 LA with parts of utterances replaced by spoof.

    Its protocols name no attacks, so all spoof is of one.
    """

    name = "partialspoof"
    layout = official_layouts.PARTIALSPOOF

    def scan(self, source: Path) -> listing.Listing:
        """Reads the protocols and the segment labels, and looks for the recordings.

        Args:
          source: the folder that the archives were unpacked into.

        Returns:
          The contents of the source.
        """
        return with_frame_labels(listing.scan(self.layout, source), self.layout)


BUILDERS: dict[str, type[SourceBuilder]] = {
    builder.name: builder
    for builder in (
        *(ASVspoof2019LA, ASVspoof2021LA, ASVspoof2021DF, ASVspoof5),
        *(InTheWild, FakeAVCeleb, PartialSpoof, Manifest),
    )
}
