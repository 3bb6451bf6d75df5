"""The demo's report as one HTML file that needs no network.

Pictures are inline SVG, audio is in data URIs, and fonts are the reader's own.
"""

import base64
import io
import wave
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mldg_jax import metrics
from mldg_jax.common.html import render
from mldg_jax.common.tables import Table
from mldg_jax.data.audio import SAMPLE_RATE
from mldg_jax.data.corpus import BONAFIDE, SPOOF, Corpus
from mldg_jax.experiments import demo_story, method_tables
from mldg_jax.experiments.demo_figures import (
    det_difference,
    figures,
    loss_difference,
)
from mldg_jax.experiments.demo_story import Story
from mldg_jax.experiments.results import Comparison
from mldg_jax.experiments.scored_tests import Scored

PLAYERS = 3  # utterances to listen to per class


def html(story: Story, test: Scored) -> str:
    """Renders the report.

    Args:
      story: the result of ``run_demo``; parts that it lacks are omitted from the page.
      test: the scored utterances.

    Returns:
      A self-contained HTML page.
    """
    comparison, rows, corpus = story.comparison, test.rows, story.corpus
    audit = corpus.get("audit") or {}
    notes = method_tables.notes(comparison, detailed=False)
    methods = comparison.rows.values()
    chosen, chosen_note = demo_story.hyper_parameters(story)
    return render(
        "demo.html",
        summary=demo_story.summary(story, rows),
        verdict=demo_story.verdict(comparison, rows),
        methods=method_tables.rates(comparison, detailed=False),
        methods_note=notes[0],
        differences=method_tables.differences(comparison, detailed=False),
        differences_note=notes[1],
        chosen=chosen,
        chosen_note=chosen_note,
        drawn=figures(story, test),
        alike=_alike(story, test),
        without_interval=any(
            rate.low is None for row in methods for rate in row.by_attack.values()
        ),
        clips=_clips(comparison, test),
        corpus=corpus,
        counts=_counts_table(story),
        audit=_audit_table("classifier on trivial cues", audit.get("eer")),
        audit_by_attack=_audit_table("attack", audit.get("by_attack")),
        best_audit=audit.get("best", "see above"),
        seconds=None if story.seconds is None else round(story.seconds),
        candidates=_candidates_table(story),
    )


def _alike(story: Story, test: Scored) -> dict[str, str]:
    """Says by picture how far apart the curves of MLDG and ERM are."""
    names = ("mldg", "erm")
    rows = story.comparison.rows
    if not set(names) <= rows.keys():
        return {}
    both = " and ".join(rows[name].title.replace(",", "") for name in names)
    text = {}
    widest = det_difference(test, None)
    if widest is not None:
        text["det"] = (
            f"The curves of {both} over all attacks are at most "
            f"{100 * widest:.1f} percentage points of rejected bona fide utterances "
            "apart."
        )
    difference = loss_difference(story)
    if difference is not None:
        text["loss"] = (
            f"The lower panel is the difference of the two thick lines of {both}: at "
            f"most {np.abs(difference[1]).max():.3f} nats."
        )
    return text


class _Clip(NamedTuple):
    """An audio player on the page."""

    real: bool
    kind: str
    utterance: str
    language: str
    audio: str  # data URI
    decisions: Table


def _clips(comparison: Comparison, test: Scored) -> list[_Clip]:
    rows, real = test.rows, test.rows.label == BONAFIDE
    means = {method: test.scores[method].mean(axis=0) for method in comparison.rows}
    thresholds = {
        method: metrics.eer(mean[real], mean[rows.label == SPOOF])[1]
        for method, mean in means.items()
    }
    clips = []
    for row in chosen_clips(comparison, rows):
        lines = []
        for method, mean in means.items():
            decision = BONAFIDE if mean[row] > thresholds[method] else SPOOF
            word = "bona fide" if decision == BONAFIDE else "spoof"
            mark = "✓" if decision == rows.label[row] else "✗"
            title = comparison.rows[method].title
            score = f"{mean[row]:+.2f}".replace("-", "−")
            lines.append([title, score, f"{mark} {word}"])
        clips.append(
            _Clip(
                real=bool(real[row]),
                kind="bona fide" if real[row] else f"spoof: {rows.attack[row]}",
                utterance=rows.utterance[row],
                language=rows.language[row],
                audio=audio_uri(rows.audio[row]),
                decisions=(["method", "score", "decision"], lines),
            )
        )
    return clips


def chosen_clips(comparison: Comparison, rows: Corpus) -> list[int]:
    """Chooses utterances to listen to, without looking at scores.

    Speakers and attacks are spread over their sorted names. Of each, the longest
    utterance is chosen, from a speaker not chosen before if there is one.

    Args:
      comparison: says which attacks are unseen; they come first.
      rows: the test utterances.

    Returns:
      Indices of bona fide utterances of different speakers, then of spoofs of different
      attacks.
    """
    lengths = np.array([len(clip) for clip in rows.audio])
    real = rows.label == BONAFIDE
    speakers, counts = np.unique(rows.speaker[real], return_counts=True)
    if np.sum(counts >= metrics.MACRO_CLIPS) >= PLAYERS:
        speakers = speakers[counts >= metrics.MACRO_CLIPS]
    attacks = comparison.unseen
    if len(attacks) < PLAYERS:
        attacks = [*attacks, *comparison.trained]
    groups = [real & (rows.speaker == v) for v in _spread(speakers)]
    groups += [~real & (rows.attack == a) for a in _spread(attacks)]
    chosen: list[int] = []
    for group in groups:
        fresh = group & ~np.isin(rows.speaker, rows.speaker[chosen])
        candidates = np.flatnonzero(fresh if fresh.any() else group)
        if candidates.size:
            chosen.append(int(candidates[lengths[candidates].argmax()]))
    return chosen


def _spread(names: Sequence[str] | np.ndarray) -> list[str]:
    indices = np.linspace(0, len(names) - 1, min(PLAYERS, len(names))).round()
    return [names[int(i)] for i in indices]


def audio_uri(clip: np.ndarray) -> str:
    """Encodes a waveform as the data URI of a WAV file, sample for sample.

    Args:
      clip: (samples,) int16, 16 kHz.

    Returns:
      The URI.
    """
    return "data:audio/wav;base64," + base64.b64encode(wav(clip)).decode()


def wav(clip: np.ndarray) -> bytes:
    """Encodes a waveform as a WAV file.

    Args:
      clip: (samples,) int16, 16 kHz.

    Returns:
      The content of the file.
    """
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(np.asarray(clip, "<i2").tobytes())
    return buffer.getvalue()


def _counts_table(story: Story) -> Table:
    """Returns utterances by attack and split; no rows if the counts are missing."""
    by_name = story.corpus.get("split_attack", {})
    counts = {tuple(k.split("/")): n for k, n in by_name.items()}
    splits = [s for s in ("train", "dev", "eval") if any(k[0] == s for k in counts)]
    unseen = set(story.comparison.unseen)
    names = {k[1] for k in counts}
    lines = [
        [a + (" (unseen)" if a in unseen else "")]
        + [str(counts.get((split, a), "–")) for split in splits]
        for a in sorted(names, key=lambda a: (a != "bonafide", a in unseen, a))
    ]
    return ["attack", *splits], lines


def _audit_table(column: str, rates: Mapping[str, float] | None) -> Table:
    lines = [[name, f"{100 * eer:.1f}"] for name, eer in (rates or {}).items()]
    return [column, "EER, %"], lines


def _candidates_table(story: Story) -> Table:
    candidates = story.selection.candidates
    names = list(dict.fromkeys(name for c in candidates for name in c.values))
    lines = [
        [c.method]
        + [str(c.values.get(name, "–")) for name in names]
        + [f"{100 * c.eer:.1f}", ", ".join(f"{100 * x:.1f}" for x in c.by_seed)]
        for c in candidates
    ]
    return ["method", *names, "EER on dev, %", "of each seed"], lines
