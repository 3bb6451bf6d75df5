"""Counts of utterances by attack, language, speaker and fold."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from mldg_jax.data.corpora.debspoof.clip import Clip
from mldg_jax.data.corpora.debspoof.splits import FOLDS, SPLITS


def clip_counts(clips: Sequence[Clip]) -> dict[str, dict[str, int]]:
    """Counts utterances for ``corpus.json``.

    Args:
      clips: the utterances of the corpus.

    Returns:
      For each grouping, e.g. "split_attack", the count by key, e.g. "train/gl_mel".
    """

    def count(key: Callable[[Clip], str]) -> dict[str, int]:
        return dict(sorted(Counter(key(clip) for clip in clips).items()))

    return {
        "split_attack": count(lambda c: f"{c.split}/{_kind(c)}"),
        "split_label_language": count(lambda c: f"{c.split}/{c.label}/{c.language}"),
        "split_label_speaker": count(lambda c: f"{c.split}/{c.label}/{c.speaker}"),
        "split_label_fold": count(lambda c: f"{c.split}/{c.label}/{c.fold}"),
    }


def tables(clips: Sequence[Clip]) -> list[str]:
    """Formats the counts as text tables for people.

    Args:
      clips: the utterances of the corpus.

    Returns:
      Three tables: by attack, by language, and by human speaker and fold.
    """
    return [_by_attack(clips), _by_language(clips), _by_speaker(clips)]


def _kind(clip: Clip) -> str:
    return "bonafide" if clip.label == "bonafide" else clip.attack


def _by_attack(clips: Sequence[Clip]) -> str:
    counts = Counter((clip.split, _kind(clip)) for clip in clips)
    families = {_kind(clip): clip.family for clip in clips}
    lines = [["clips", "family", *SPLITS]]
    for kind in sorted(families, key=lambda kind: (kind != "bonafide", kind)):
        cells = [str(counts[split, kind] or "-") for split in SPLITS]
        lines.append([kind, families[kind], *cells])
    totals = Counter(clip.split for clip in clips)
    lines.append(["all", "", *(str(totals[split]) for split in SPLITS)])
    return _aligned(lines, left=2)


def _by_language(clips: Sequence[Clip]) -> str:
    counts = Counter((clip.split, clip.label, clip.language) for clip in clips)
    totals = Counter((clip.split, clip.label) for clip in clips)
    cells = [(split, label) for split in SPLITS for label in ("bonafide", "spoof")]
    names = [f"{split} {label}" for split, label in cells]
    lines = [["language, clips (% of class)", *names]]
    for language in sorted({clip.language for clip in clips}):
        line = [language]
        for cell in cells:
            n = counts[*cell, language]
            line.append(f"{n} ({100 * n / totals[cell]:.0f})" if n else "-")
        lines.append(line)
    return _aligned(lines, left=1)


def _by_speaker(clips: Sequence[Clip]) -> str:
    real = [clip for clip in clips if clip.label == "bonafide"]
    copies = Counter(
        (clip.split, clip.speaker) for clip in clips
        if clip.label == "spoof" and clip.recording is not None
    )  # fmt: skip
    counts = Counter((clip.split, clip.speaker, clip.fold) for clip in real)
    languages = {
        speaker: " ".join(sorted({c.language for c in real if c.speaker == speaker}))
        for _, speaker, _ in counts
    }
    lines = [["human voice", "languages", "split", "fold", "bonafide", "copies"]]
    for (split, speaker, fold), n in sorted(
        counts.items(), key=lambda item: (SPLITS.index(item[0][0]), item[0][2], item[0])
    ):
        numbers = [str(fold), str(n), str(copies[split, speaker])]
        lines.append([speaker, languages[speaker], split, *numbers])
    folds = Counter((clip.split, clip.fold, clip.label) for clip in clips)
    text = ["", f"utterances by fold 0 … {FOLDS - 1}, bonafide + spoof:"]
    for split in SPLITS:
        parts = [
            f"{folds[split, fold, 'bonafide']} + {folds[split, fold, 'spoof']}"
            for fold in range(FOLDS)
        ]
        text.append(f"  {split:<6}{', '.join(parts)}")
    return "\n".join([_aligned(lines, left=3), *text])


def _aligned(lines: Iterable[Sequence[str]], left: int) -> str:
    """Aligns columns: the first ``left`` to the left, the others to the right."""
    lines = list(lines)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
