"""The report on a source: missing, extra and unusable recordings of each split."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from mldg_jax.data.corpora.listing import Listing, differences
from mldg_jax.data.corpora.speaker_overlap import overlap_warnings, shared_speakers

_MAX_NAMED = 3  # items of one kind that a line names


class Skipped(NamedTuple):
    """A recording that could not be used.

    Attributes:
      split: split of the utterance.
      utterance: name of the utterance.
      path: path of the recording, relative to the source folder.
      reason: one of ``audio_checks.REASONS``.
      detail: the error message.
    """

    split: str
    utterance: str
    path: str
    reason: str
    detail: str


class SplitReport(NamedTuple):
    """One split, or several that are counted together ("one+other").

    Attributes:
      title: names of the corpus and the split.
      expected: official number of utterances; None if there is none.
      found: number of utterances that the protocol lists and whose recording exists.
      wrong: descriptions of the counts that differ from the official ones.
      missing: paths of recordings that are listed but do not exist.
      extra: paths of recordings that exist but are not listed.
      skipped: recordings that could not be used; None if they were not read yet.
    """

    title: str
    expected: int | None
    found: int
    wrong: list[str]
    missing: list[str]
    extra: list[str]
    skipped: list[Skipped] | None = None

    @property
    def complete(self) -> bool:
        """True if all counts are official, or if none are known, nothing is missing."""
        if self.expected is None:
            return not self.missing
        return not self.wrong

    def line(self) -> str:
        """Returns a summary in one line."""
        total = self.found + len(self.missing)
        target = f"{total:,} utterances listed"
        if self.expected is not None:
            target = f"{self.expected:,} utterances expected"
        parts = [
            f"{self.title}: {target}, {self.found:,} found",
            _count_and_name("missing", self.missing),
            _count_and_name("extra", self.extra),
        ]
        if self.skipped is not None:
            reasons = Counter(skip.reason for skip in self.skipped)
            for reason in ("unreadable", *sorted(reasons.keys() - {"unreadable"})):
                paths = [x.path for x in self.skipped if x.reason == reason]
                parts.append(_count_and_name(reason, paths))
        if self.wrong:
            parts.append(_count_and_name("wrong counts", self.wrong))
        return "; ".join(parts)


class Report(NamedTuple):
    """The report on a source.

    Attributes:
      splits: one entry per split.
      problems: messages about unusable or repeated lines and missing protocols.
      notes: messages about harmless peculiarities.
      remarks: sentences that a user has to read.
    """

    splits: list[SplitReport]
    problems: list[str]
    notes: list[str]
    remarks: list[str]

    @property
    def complete(self) -> bool:
        """True if every split is complete and the protocols have no problems."""
        return not self.problems and all(split.complete for split in self.splits)

    def short(self) -> str:
        """Returns one line per split, for the first problems and notes, and remark."""
        lines = [split.line() for split in self.splits]
        if self.problems:
            lines.append(_count_and_name("protocol problems", self.problems))
        if self.notes:
            lines.append(_count_and_name("notes", self.notes))
        lines.extend(self.remarks)
        return "\n".join(lines)

    def full(self) -> str:
        """Returns the whole report as the text of a file."""
        lines = []
        for split in self.splits:
            lines.append(split.line())
            for kind, items in (
                ("wrong count", split.wrong),
                ("missing", split.missing),
                ("extra", split.extra),
            ):
                lines.extend(f"  {kind}\t{item}" for item in items)
            for skip in split.skipped or ():
                lines.append(f"  {skip.reason}\t{skip.path}\t{skip.detail}")
        lines.extend(f"problem\t{problem}" for problem in self.problems)
        lines.extend(f"note\t{note}" for note in self.notes)
        lines.extend(f"remark\t{remark}" for remark in self.remarks)
        return "\n".join(lines) + "\n"


def _count_and_name(kind: str, names: Sequence[str]) -> str:
    if not names:
        return f"{kind} 0"
    more = ", …" if len(names) > _MAX_NAMED else ""
    return f"{kind} {len(names):,}: {', '.join(names[:_MAX_NAMED])}{more}"


def compare(
    name: str,
    listing: Listing,
    counts: dict[str, dict[str, int]],
    skipped: Sequence[Skipped] | None = None,
) -> Report:
    """Compares a listing with the official counts.

    Args:
      name: name of the corpus.
      listing: contents of the source.
      counts: as ``OfficialLayout.counts``; empty if none were published.
      skipped: recordings that could not be used; None if they were not read yet.

    Returns:
      The report, with the splits of ``counts`` first.
    """
    groups = dict(counts)
    known = {split for group in groups for split in group.split("+")}
    listed = [*listing.rows, *listing.missing]
    others = dict.fromkeys(row.split for row in listed if row.split not in known)
    splits = []
    for group in (*groups, *others):
        members = group.split("+")
        rows = [row for row in listing.rows if row.split in members]
        expected = groups.get(group, {} if counts else None)
        unusable = None
        if skipped is not None:
            unusable = [skip for skip in skipped if skip.split in members]
        splits.append(
            SplitReport(
                title=f"{name} {group.replace('+', ' + ')}",
                expected=None if expected is None else sum(expected.values()),
                found=len(rows),
                wrong=[] if expected is None else differences(expected, rows),
                missing=[row.path for row in listing.missing if row.split in members],
                extra=[x for m in members for x in listing.extra.get(m, [])],
                skipped=unusable,
            )
        )
    shared = shared_speakers(
        (row.speaker, row.split, row.label == "bonafide") for row in listed
    )
    remarks = [*listing.remarks, *overlap_warnings(shared)]
    return Report(splits, listing.problems, listing.notes, remarks)
