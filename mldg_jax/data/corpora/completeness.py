"""The report on a source: what is missing, extra or unusable, split by split."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from mldg_jax.data.corpora.listing import Listing, differences

_NAMED = 3  # of a kind, in a line


class Skipped(NamedTuple):
    """A recording that was left out.

    Attributes:
      split, utterance, path: of its row.
      reason: one of ``audio.REASONS``.
      detail: the reason in words.
    """

    split: str
    utterance: str
    path: str
    reason: str
    detail: str


class SplitReport(NamedTuple):
    """One split, or several that are counted together ("one+other").

    Attributes:
      title: corpus and split.
      expected: official number of utterances; None where there is none.
      found: utterances listed by the protocol and present.
      wrong: kinds whose number is not the official one, in words.
      missing: paths of listed recordings that are not there.
      extra: paths of recordings that are not listed.
      skipped: recordings that could not be used; None before they were looked at.
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
        if self.expected is None:
            return not self.missing
        return not self.wrong

    def line(self) -> str:
        """The split in one line."""
        total = self.found + len(self.missing)
        want = f"{total:,} utterances listed"
        if self.expected is not None:
            want = f"{self.expected:,} utterances expected"
        words = [
            f"{self.title}: {want}, {self.found:,} found",
            _some("missing", self.missing),
            _some("extra", self.extra),
        ]
        if self.skipped is not None:
            reasons = Counter(skip.reason for skip in self.skipped)
            for reason in ("unreadable", *sorted(reasons.keys() - {"unreadable"})):
                paths = [x.path for x in self.skipped if x.reason == reason]
                words.append(_some(reason, paths))
        if self.wrong:
            words.append(_some("wrong counts", self.wrong))
        return "; ".join(words)


class Report(NamedTuple):
    """The report on a source.

    Attributes:
      splits: one entry a split.
      problems: of the protocols.
      notes: oddities that do no harm.
    """

    splits: list[SplitReport]
    problems: list[str]
    notes: list[str]

    @property
    def complete(self) -> bool:
        """Whether all official utterances are there and all lines were understood."""
        return not self.problems and all(split.complete for split in self.splits)

    def short(self) -> str:
        """A line a split and one with the first problems."""
        lines = [split.line() for split in self.splits]
        if self.problems:
            lines.append(_some("protocol problems", self.problems))
        return "\n".join(lines)

    def full(self) -> str:
        """Everything, for a file."""
        lines = []
        for split in self.splits:
            lines.append(split.line())
            for kind, things in (
                ("wrong count", split.wrong),
                ("missing", split.missing),
                ("extra", split.extra),
            ):
                lines.extend(f"  {kind}\t{thing}" for thing in things)
            for skip in split.skipped or ():
                lines.append(f"  {skip.reason}\t{skip.path}\t{skip.detail}")
        lines.extend(f"problem\t{problem}" for problem in self.problems)
        lines.extend(f"note\t{note}" for note in self.notes)
        return "\n".join(lines) + "\n"


def _some(what: str, names: Sequence[str]) -> str:
    if not names:
        return f"{what} 0"
    more = ", …" if len(names) > _NAMED else ""
    return f"{what} {len(names):,}: {', '.join(names[:_NAMED])}{more}"


def compare(
    name: str,
    listing: Listing,
    counts: dict[str, dict[str, int]],
    skipped: Sequence[Skipped] | None = None,
) -> Report:
    """Compares a listing with official counts.

    Args:
      name: of the corpus.
      listing: what the source holds.
      counts: as ``Layout.counts``; empty where nobody has published any.
      skipped: recordings that could not be used, once that is known.
    """
    groups = dict(counts)
    known = {split for group in groups for split in group.split("+")}
    every = [*listing.rows, *listing.missing]
    others = dict.fromkeys(row.split for row in every if row.split not in known)
    splits = []
    for group in (*groups, *others):
        members = group.split("+")
        rows = [row for row in listing.rows if row.split in members]
        expected = groups.get(group, {} if counts else None)
        left_out = None
        if skipped is not None:
            left_out = [skip for skip in skipped if skip.split in members]
        splits.append(
            SplitReport(
                title=f"{name} {group.replace('+', ' + ')}",
                expected=None if expected is None else sum(expected.values()),
                found=len(rows),
                wrong=[] if expected is None else differences(expected, rows),
                missing=[row.path for row in listing.missing if row.split in members],
                extra=[x for m in members for x in listing.extra.get(m, [])],
                skipped=left_out,
            )
        )
    return Report(splits, listing.problems, listing.notes)
