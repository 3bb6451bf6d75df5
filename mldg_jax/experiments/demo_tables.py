"""What the demo found, in words and tables: for the terminal, the README and the page.

The verdict is made from the intervals, not written.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from mldg_jax import metrics
from mldg_jax.common.tables import Table, aligned, markdown_table, points, rate
from mldg_jax.data.corpus import BONAFIDE, Corpus

SETS = {
    "pooled": "pooled",
    "seen": "seen attacks",
    "unseen": "unseen families",
    "macro": "macro",
}
DIFFERENCES = ("mldg - erm", "erm - frozen", "mldg - frozen", "frozen - lfcc-gmm")

DIFFERENCES_NOTE = (
    "Differences of EER in points, paired over seeds and speakers [95 % interval]; "
    "* = the interval excludes zero, otherwise the two cannot be told apart."
)


def table(results: dict[str, Any]) -> str:
    """The error rates and their paired differences as plain text for a terminal.

    Args:
      results: of ``demo.summarise``.
    """
    arms, paired = arms_table(results), differences_table(results)
    parts = [aligned(arms), arms_note(results), "", aligned(paired)]
    return "\n".join([*parts, DIFFERENCES_NOTE])


def markdown(results: dict[str, Any]) -> str:
    """The tables of ``table`` in Markdown."""

    arms, paired = arms_table(results), differences_table(results)
    tables = [markdown_table(arms), markdown_table(paired)]
    notes = [arms_note(results), DIFFERENCES_NOTE.replace("*", "\\*")]
    return f"{tables[0]}\n\n{notes[0]}\n\n{tables[1]}\n\n{notes[1]}\n"


def summary(results: dict[str, Any], rows: Corpus) -> str:
    """What was trained on what, in a paragraph, as far as the results say."""
    config, corpus = results.get("config") or {}, results.get("corpus") or {}
    trained, unseen = (results["attacks"][k] for k in ("trained", "unseen"))
    which = config.get("corpus") or {}
    name = " ".join(which[k] for k in ("name", "config") if k in which) or "the corpus"
    counts = corpus.get("split_attack") or {}
    clips = sum(n for key, n in counts.items() if key.startswith("train/"))
    size = f" ({clips:,} of {sum(counts.values()):,} clips)" if clips else ""
    keys = [key.split("/") for key in corpus.get("split_label_speaker") or {}]
    voices = {key[2] for key in keys if key[:2] == ["train", "bonafide"]}
    other = voices and not voices & set(rows.speaker[rows.label == BONAFIDE])
    text = [
        f"All {len(results['arms'])} arms were trained on {name}, split train{size}: "
        f"{_count(len(trained), 'attack')} ({', '.join(trained)})"
        f"{f' and {len(voices)} human voices' if voices else ''}.",
        f"They were tested on {len(rows.label):,} clips, with {_voices(rows)[0]} "
        f"{'other ' if other else ''}human voices, the trained attacks again and "
        f"{_count(len(unseen), 'unseen family', 'unseen families')} "
        f"({', '.join(unseen)}).",
    ]
    if "steps" in config and "episode" in config:
        clips = len(trained) * config["episode"]["examples"]
        text.append(
            f"The neural arms took {config['steps']} steps of {clips} clips, half of "
            f"them bona fide, with each of {_count(_seeds(results), 'seed')}."
        )
    return " ".join([*text, *_selection_sentences(results)])


def verdict(results: dict[str, Any], rows: Corpus) -> str:
    """One sentence, made from the intervals: what the figures do and do not show."""
    voices, enough = _voices(rows)
    pairs = (("erm", "frozen"), ("mldg", "frozen"), ("mldg", "erm"))
    found = [_compare(results, *pair) for pair in pairs]
    found = "; ".join(text for text in found if text)
    return (
        f"With {voices} human voices in the test ({enough} of them with "
        f"{metrics.MACRO_CLIPS} clips or more), {found}; differences are in points of "
        f"EER, 95 % intervals over {_count(_seeds(results), 'seed')} and speakers; "
        "this is a small corpus of speech from package registries and not ASVspoof, so "
        "none of it says how the arms would rank there."
    )


def _compare(results: dict[str, Any], a: str, b: str) -> str:
    """Says of two arms which has the lower EER, wherever their interval says so.

    The arms whose difference is the question get their numbers, the others have them
    in the table.
    """
    numbers = (a, b) == ("mldg", "erm")
    found = results["differences"].get(f"{a} - {b}")
    if not found:
        return ""
    a, b = (results["arms"][x]["title"].replace(",", "") for x in (a, b))
    places = {
        "pooled": "pooled over attacks",
        "unseen": "on unseen families",
        "macro": "in macro EER",
    }
    claims: dict[str, list[str]] = {}
    for name, place in places.items():
        if name not in found:
            continue
        one = found[name]
        if one["high"] < 0:
            claim = f"{a} has a lower EER than {b}"
        elif one["low"] > 0:
            claim = f"{b} has a lower EER than {a}"
        else:
            claim = f"{a} and {b} cannot be told apart"
        place += f" ({points(one)})" if numbers else ""
        claims.setdefault(claim, []).append(place)
    return ", but ".join(f"{claim} {_listed(where)}" for claim, where in claims.items())


def _voices(rows: Corpus) -> tuple[int, int]:
    """Human voices, and how many of them count in macro EER."""
    counts = np.unique(rows.speaker[rows.label == BONAFIDE], return_counts=True)[1]
    return len(counts), int(np.sum(counts >= metrics.MACRO_CLIPS))


def _seeds(results: dict[str, Any]) -> int:
    return max(len(arm["eer"]["pooled"]["by_seed"]) for arm in results["arms"].values())


def _selection_sentences(results: dict[str, Any]) -> list[str]:
    selection = results.get("selection") or {}
    if not selection.get("chosen"):
        return []
    chosen = [
        f"{arm} " + ", ".join(f"{k} {v:g}" for k, v in values.items())
        for arm, values in selection["chosen"].items()
    ]
    text = [f"Hyper-parameters: {'; '.join(chosen)}."]
    held_out = ((results.get("config") or {}).get("selection") or {}).get("without")
    if held_out:
        text.append(
            f"They were chosen on other speakers (split dev) with the training attacks "
            f"{_listed(held_out)} held out, without a look at the test."
        )
    return text


def arms_table(results: dict[str, Any]) -> Table:
    """Header and rows: trained parameters and error rates of every arm."""
    rows = []
    for arm in results["arms"].values():
        count = arm.get("trained_parameters")
        rates = [rate(arm["eer"][name]) for name in SETS]
        rows.append([arm["title"], "–" if count is None else f"{count:,}", *rates])
    return ["arm", "parameters", *SETS.values()], rows


def differences_table(results: dict[str, Any]) -> Table:
    """Header and rows: paired differences in points, starred if they exclude zero."""
    found = results["differences"]
    rows = [
        [pair.replace(" - ", " − "), *(_starred(found[pair][name]) for name in SETS)]
        for pair in DIFFERENCES
        if pair in found
    ]
    return ["difference", *SETS.values()], rows


def _starred(one: dict[str, float]) -> str:
    return points(one) + (" *" if one["low"] > 0 or one["high"] < 0 else "")


def arms_note(results: dict[str, Any]) -> str:
    """What the numbers of ``arms_table`` are."""
    seeds = _seeds(results)
    over = f"mean over {seeds} seeds" if seeds > 1 else "1 seed"
    return (
        f"EER in %, {over} [95 % interval over seeds and speakers]; macro is the mean "
        "over pairs of speaker and attack; parameters are the trained ones."
    )


def _listed(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
