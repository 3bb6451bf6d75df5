"""What the demo adds to a comparison: what it found in words, and how it came about.

The verdict is made from the intervals, not written.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from mldg_jax import metrics
from mldg_jax.data.corpus import BONAFIDE, Corpus
from mldg_jax.experiments.results import Comparison, as_json
from mldg_jax.experiments.selection import Selection


@dataclasses.dataclass(frozen=True)
class Story:
    """A comparison and its story. All but the comparison may be missing.

    Attributes:
      comparison: of the methods.
      training: what every run logged, by method.
      selection: of the hyper-parameters.
      config: of MLDG, as JSON has it.
      corpus: corpus.json.
      seconds: that it took.
    """

    comparison: Comparison
    training: Mapping[str, list[list[dict[str, Any]]]] = dataclasses.field(
        default_factory=dict
    )
    selection: Selection = dataclasses.field(default_factory=Selection)
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    corpus: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    seconds: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns what results.json holds."""
        found = self.comparison
        return {
            "attacks": {"trained": list(found.trained), "unseen": list(found.unseen)},
            "methods": {
                method: {
                    "title": row.title,
                    "eer": as_json(row.eer),
                    "by_attack": as_json(row.by_attack),
                    "trained_parameters": row.parameters,
                    "training": self.training.get(method, []),
                }
                for method, row in found.rows.items()
            },
            "differences": {
                f"{a} - {b}": as_json(one) for (a, b), one in found.differences.items()
            },
            "bootstrap": found.scheme.to_json(),
            "selection": self.selection.to_json(),
            "config": self.config,
            "corpus": self.corpus,
            "seconds": self.seconds,
        }


def summary(story: Story, rows: Corpus) -> str:
    """What was trained on what, in a paragraph, as far as the story says."""
    comparison, config, corpus = story.comparison, story.config, story.corpus
    trained, unseen = comparison.trained, comparison.unseen
    which = config.get("corpus") or {}
    name = " ".join(which[k] for k in ("name", "config") if k in which) or "the corpus"
    counts = corpus.get("split_attack") or {}
    clips = sum(n for key, n in counts.items() if key.startswith("train/"))
    size = f" ({clips:,} of {sum(counts.values()):,} clips)" if clips else ""
    keys = [key.split("/") for key in corpus.get("split_label_speaker") or {}]
    speakers = {key[2] for key in keys if key[:2] == ["train", "bonafide"]}
    other = speakers and not speakers & set(rows.speaker[rows.label == BONAFIDE])
    text = [
        f"All {len(comparison.rows)} methods were trained on {name}, split "
        f"train{size}: {_count(len(trained), 'attack')} ({', '.join(trained)})"
        f"{f' and {len(speakers)} human speakers' if speakers else ''}.",
        f"They were tested on {len(rows.label):,} clips, with {_speakers(rows)[0]} "
        f"{'other ' if other else ''}human speakers, the trained attacks again and "
        f"{_count(len(unseen), 'unseen family', 'unseen families')} "
        f"({', '.join(unseen)}).",
    ]
    if "steps" in config and "episode" in config:
        clips = len(trained) * config["episode"]["examples_per_attack"]
        text.append(
            f"The neural methods took {config['steps']} steps of {clips} clips, half "
            f"of them bona fide, with each of {_count(comparison.seeds, 'seed')}."
        )
    return " ".join([*text, *_selection_sentences(story)])


def verdict(comparison: Comparison, rows: Corpus) -> str:
    """One sentence, made from the intervals: what the figures do and do not show."""
    speakers, enough = _speakers(rows)
    pairs = (("erm", "frozen"), ("mldg", "frozen"), ("mldg", "erm"))
    found = [_compare(comparison, *pair) for pair in pairs]
    found = "; ".join(text for text in found if text)
    return (
        f"With {speakers} human speakers in the test ({enough} of them with "
        f"{metrics.MACRO_CLIPS} clips or more), {found}; differences are in points of "
        f"EER, 95 % intervals over {_count(comparison.seeds, 'seed')} and speakers; "
        "this is a small corpus of speech from package registries and not ASVspoof, so "
        "none of it says how the methods would rank there."
    )


def _compare(comparison: Comparison, a: str, b: str) -> str:
    """Says of two methods which has the lower EER, wherever their interval says so.

    The methods whose difference is the question get their numbers, the others have them
    in the table.
    """
    numbers = (a, b) == ("mldg", "erm")
    found = comparison.differences.get((a, b))
    if not found:
        return ""
    a, b = (comparison.rows[x].title.replace(",", "") for x in (a, b))
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
        if one.high < 0:
            claim = f"{a} has a lower EER than {b}"
        elif one.low > 0:
            claim = f"{b} has a lower EER than {a}"
        else:
            claim = f"{a} and {b} cannot be told apart"
        place += f" ({one.text()})" if numbers else ""
        claims.setdefault(claim, []).append(place)
    return ", but ".join(f"{claim} {_listed(where)}" for claim, where in claims.items())


def _speakers(rows: Corpus) -> tuple[int, int]:
    """Human speakers, and how many of them count in macro EER."""
    counts = np.unique(rows.speaker[rows.label == BONAFIDE], return_counts=True)[1]
    return len(counts), int(np.sum(counts >= metrics.MACRO_CLIPS))


def _selection_sentences(story: Story) -> list[str]:
    if not story.selection.chosen:
        return []
    chosen = [
        f"{method} " + ", ".join(f"{k} {v:g}" for k, v in values.items())
        for method, values in story.selection.chosen.items()
    ]
    text = [f"Hyper-parameters: {'; '.join(chosen)}."]
    held_out = (story.config.get("selection") or {}).get("held_out")
    if held_out:
        text.append(
            f"They were chosen on other speakers (split dev) with the training attacks "
            f"{_listed(held_out)} held out, without a look at the test."
        )
    return text


def _listed(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
