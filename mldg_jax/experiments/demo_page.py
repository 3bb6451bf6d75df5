"""The demo's report as one HTML file that needs no network.

Pictures are inline SVG, audio is in data URIs, fonts are the reader's own.
"""

import base64
import io
import wave
from collections.abc import Sequence
from html import escape

import numpy as np

from mldg_jax import metrics
from mldg_jax.common.html import html_table, picture, render_page
from mldg_jax.data.audio import SAMPLE_RATE
from mldg_jax.data.corpus import BONAFIDE, SPOOF, Corpus
from mldg_jax.experiments import arm_tables, demo_story
from mldg_jax.experiments.demo_figures import figures
from mldg_jax.experiments.demo_story import Story
from mldg_jax.experiments.results import Comparison
from mldg_jax.experiments.statistics import Scored

PLAYERS = 3  # clips a class


def html(story: Story, test: Scored) -> str:
    """The whole report as one self-contained HTML page.

    Args:
      story: of ``run_demo``; what is missing is left out of the page.
      test: the scored utterances.
    """
    comparison, rows = story.comparison, test.rows
    drawn = figures(story, test)
    notes = arm_tables.notes(comparison, detailed=False)
    body = [
        f"<h1>{TITLE}</h1>",
        f"<p>{escape(demo_story.summary(story, rows))}</p>",
        f'<p class="verdict">{escape(demo_story.verdict(comparison, rows))}</p>',
        "<h2>Error rates</h2>",
        html_table(arm_tables.rates(comparison, detailed=False)),
        f'<p class="note">{escape(notes[0])}</p>',
        html_table(arm_tables.differences(comparison, detailed=False)),
        f'<p class="note">{escape(notes[1])}</p>',
        picture(drawn, ["attacks"], "attacks", _attacks_note(comparison)),
        "<h2>Every threshold</h2>",
        picture(drawn, ["det_unseen", "det_all"], "pair", DET_NOTE),
    ]
    training = [name for name in ("loss", "cosine") if name in drawn]
    if training:
        note = " ".join(TRAINING_NOTES[name] for name in training)
        body += ["<h2>Training</h2>", picture(drawn, training, "pair", note)]
    body += ["<h2>Listen</h2>", _players(comparison, test)]
    body += ["<h2>Corpus</h2>", _corpus_section(story)]
    body += ["<h2>Reproduce</h2>", _reproduce_section(story)]
    return render_page(TITLE, body)


def _attacks_note(comparison: Comparison) -> str:
    rows = comparison.rows.values()
    lows = [one.low for row in rows for one in row.by_attack.values()]
    bare = " A point without a line: too few voices for an interval."
    return ATTACKS_NOTE + (bare if None in lows else "")


def _players(comparison: Comparison, test: Scored) -> str:
    rows, real = test.rows, test.rows.label == BONAFIDE
    means = {arm: test.scores[arm].mean(axis=0) for arm in comparison.rows}
    thresholds = {
        arm: metrics.eer(mean[real], mean[rows.label == SPOOF])[1]
        for arm, mean in means.items()
    }
    cards = []
    for row in chosen_clips(comparison, rows):
        lines = []
        for arm, mean in means.items():
            heard = BONAFIDE if mean[row] > thresholds[arm] else SPOOF
            judged = "bona fide" if heard == BONAFIDE else "spoof"
            mark = "✓" if heard == rows.label[row] else "✗"
            title = comparison.rows[arm].title
            score = f"{mean[row]:+.2f}".replace("-", "−")
            lines.append([title, score, f"{mark} {judged}"])
        kind = "bona fide" if real[row] else f"spoof: {rows.attack[row]}"
        cards.append(
            f'<article class="{"real" if real[row] else "fake"}">'
            f"<h3>{escape(kind)}</h3><p>{escape(str(rows.utterance[row]))}, "
            f"language {escape(str(rows.language[row]))}</p>"
            f'<audio controls preload="metadata" src="{audio_uri(rows.audio[row])}">'
            f"</audio>{html_table((['arm', 'score', 'decision'], lines))}</article>"
        )
    note = f'<p class="note">{escape(PLAYERS_NOTE)}</p>'
    return f'{note}<div class="players">{"".join(cards)}</div>'


def chosen_clips(comparison: Comparison, rows: Corpus) -> list[int]:
    """Rows to listen to: bona fide of different speakers, then different attacks.

    Speakers and attacks are spread over their sorted names; of each the longest clip,
    from a voice not yet heard where there is one. Scores play no part.
    """
    seconds = np.array([len(clip) for clip in rows.audio])
    real = rows.label == BONAFIDE
    voices, counts = np.unique(rows.speaker[real], return_counts=True)
    if np.sum(counts >= metrics.MACRO_CLIPS) >= PLAYERS:
        voices = voices[counts >= metrics.MACRO_CLIPS]
    attacks = comparison.unseen
    if len(attacks) < PLAYERS:
        attacks = [*attacks, *comparison.trained]
    groups = [real & (rows.speaker == v) for v in _spread(voices)]
    groups += [~real & (rows.attack == a) for a in _spread(attacks)]
    chosen: list[int] = []
    for group in groups:
        fresh = group & ~np.isin(rows.speaker, rows.speaker[chosen])
        candidates = np.flatnonzero(fresh if fresh.any() else group)
        if candidates.size:
            chosen.append(int(candidates[seconds[candidates].argmax()]))
    return chosen


def _spread(names: Sequence[str]) -> list[str]:
    places = np.linspace(0, len(names) - 1, min(PLAYERS, len(names))).round()
    return [names[int(i)] for i in places]


def audio_uri(clip: np.ndarray) -> str:
    """A clip (samples,) int16 as the data URI of a WAV file, sample for sample."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(np.asarray(clip, "<i2").tobytes())
    return "data:audio/wav;base64," + base64.b64encode(buffer.getvalue()).decode()


def _corpus_section(story: Story) -> str:
    corpus, parts = story.corpus, []
    counts = {tuple(k.split("/")): n for k, n in corpus.get("split_attack", {}).items()}
    if counts:
        splits = [s for s in ("train", "dev", "eval") if any(k[0] == s for k in counts)]
        unseen = set(story.comparison.unseen)
        names = sorted(
            {k[1] for k in counts}, key=lambda a: (a != "bonafide", a in unseen, a)
        )
        lines = [
            [a + (" (unseen)" if a in unseen else "")]
            + [str(counts.get((split, a), "–")) for split in splits]
            for a in names
        ]
        parts += ["<h3>Clips</h3>", html_table((["attack", *splits], lines))]
    audit = corpus.get("audit") or {}
    if audit.get("eer"):
        lines = [[name, f"{100 * e:.1f}"] for name, e in audit["eer"].items()]
        head = ["classifier on trivial cues", "EER, %"]
        parts += ["<h3>Cue audit</h3>", f'<p class="note">{escape(AUDIT_NOTE)}</p>']
        parts.append(html_table((head, lines)))
    by_attack = audit.get("by_attack") or {}
    if by_attack:
        lines = [[name, f"{100 * e:.1f}"] for name, e in by_attack.items()]
        best = escape(str(audit.get("best", "see above")))
        parts.append(f"<details><summary>The best ({best}), by attack</summary>")
        parts.append(html_table((["attack", "EER, %"], lines)) + "</details>")
    parts.append(
        "<p>Licences and origin of every recording: <code>ATTRIBUTION.md</code> in the "
        "corpus folder.</p>"
    )
    if "corpus_sha256" in corpus:
        sha = escape(str(corpus["corpus_sha256"]))
        parts.append(f"<p>sha256 of the corpus: <code>{sha}</code></p>")
    if corpus.get("differs_from_readme"):
        note = escape(f"Note: {corpus['differs_from_readme']}.")
        parts.append(f'<p class="note">{note}</p>')
    return "\n".join(parts)


def _reproduce_section(story: Story) -> str:
    parts = ["<p><code>make demo</code></p>"]
    if story.seconds is not None:
        minutes, seconds = divmod(round(story.seconds), 60)
        parts.append(f"<p>Training and scoring took {minutes} min {seconds} s.</p>")
    candidates = [one.to_json() for one in story.selection.candidates]
    if candidates:
        names = list(dict.fromkeys(k for c in candidates for k in c if k != "eer"))
        lines = [
            [str(c.get(name, "–")) for name in names] + [f"{100 * c['eer']:.1f}"]
            for c in candidates
        ]
        parts += ["<h3>Candidates of the selection</h3>"]
        parts.append(html_table(([*names, "EER on dev, %"], lines)))
    return "\n".join(parts)


TITLE = "Deepfake detectors and attacks they never met"
ATTACKS_NOTE = (
    "EER of each attack against all bona fide clips, hardest attack first; in brackets "
    "the number of its clips."
)
DET_NOTE = (
    "Detection error trade-off of seed 0 on probit axes; the marker is where both "
    "errors are equal. Lower left is better."
)
TRAINING_NOTES = {
    "loss": (
        "Loss: how badly an arm judges the clips it is trained on (cross-entropy; for "
        "MLDG the mean of its two halves); thin lines are seeds, thick their mean, "
        "smoothed."
    ),
    "cosine": (
        "Cosine: above zero, a step that helps the meta-train attacks also helps the "
        "held-out half of the episode; around zero, the two are unrelated; below it, "
        "they are in conflict."
    ),
}
PLAYERS_NOTE = (
    "Three human voices and three attacks, spread over the alphabet and not picked by "
    "score; of each the longest clip. A score is the mean over seeds, higher for bona "
    "fide; its scale differs from arm to arm. The decision is that at the arm's equal "
    "error rate on all of these clips, so it flatters every arm a little."
)
AUDIT_NOTE = (
    "What a classifier reaches that sees trivial cues only (length, level, silence, "
    "bandwidth, language …): near 50 % means that nothing of the kind gives the answer "
    "away."
)
