"""The demo's story: a comparison, how it came about, and its result in words.

The verdict is generated from the intervals.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from mldg_jax import metrics
from mldg_jax.common.tables import Table
from mldg_jax.data.corpus import BONAFIDE, Corpus
from mldg_jax.experiments.results import Comparison, as_json
from mldg_jax.experiments.selection import Selection


@dataclasses.dataclass(frozen=True)
class Story:
    """A comparison and its story. Everything but the comparison may be missing.

    Attributes:
      comparison: comparison of the methods.
      training: the log of every run, by method.
      selection: selection of the hyper-parameters.
      config: MLDG's config as a dictionary.
      corpus: content of corpus.json.
      seconds: duration of training and scoring.
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
        """Returns the content of results.json."""
        comparison = self.comparison
        return {
            "attacks": {
                "trained": list(comparison.trained),
                "unseen": list(comparison.unseen),
            },
            "methods": {
                method: {
                    "title": row.title,
                    "eer": as_json(row.eer),
                    "by_attack": as_json(row.by_attack),
                    "trained_parameters": row.parameters,
                    "training": self.training.get(method, []),
                }
                for method, row in comparison.rows.items()
            },
            "differences": {
                f"{a} - {b}": as_json(by_column)
                for (a, b), by_column in comparison.differences.items()
            },
            "bootstrap": comparison.scheme.to_json(),
            "selection": self.selection.to_json(),
            "config": self.config,
            "corpus": self.corpus,
            "seconds": self.seconds,
        }


def summary(story: Story, rows: Corpus) -> str:
    """Describes training and test in a paragraph, as far as the story says.

    Args:
      story: the story.
      rows: the test utterances.

    Returns:
      Plain text.
    """
    comparison, config, corpus = story.comparison, story.config, story.corpus
    trained, unseen = comparison.trained, comparison.unseen
    section = config.get("corpus") or {}
    words = [section[k] for k in ("name", "config") if k in section]
    name = " ".join(words) or "the corpus"
    counts = corpus.get("split_attack") or {}
    number = sum(n for key, n in counts.items() if key.startswith("train/"))
    size = f" ({number:,} of {sum(counts.values()):,} utterances)" if number else ""
    keys = [key.split("/") for key in corpus.get("split_label_speaker") or {}]
    speakers = {key[2] for key in keys if key[:2] == ["train", "bonafide"]}
    other = speakers and not speakers & set(rows.speaker[rows.label == BONAFIDE])
    text = [
        f"All {len(comparison.rows)} methods were trained on {name}, split "
        f"train{size}: {_count(len(trained), 'attack')} ({', '.join(trained)})"
        f"{f' and {len(speakers)} human speakers' if speakers else ''}.",
        f"They were tested on {len(rows.label):,} utterances, with "
        f"{_speakers(rows)[0]} {'other ' if other else ''}human speakers, the trained "
        "attacks again and "
        f"{_count(len(unseen), 'unseen family', 'unseen families')} "
        f"({', '.join(unseen)}).",
    ]
    if "steps" in config and "episode" in config:
        number = len(trained) * config["episode"]["examples_per_attack"]
        text.append(
            f"The neural methods took {config['steps']} steps of {number} utterances, "
            "half of them bona fide, with each of "
            f"{_count(comparison.seeds, 'seed')}."
        )
    return " ".join(text)


def verdict(comparison: Comparison, rows: Corpus) -> str:
    """Says what the intervals do and do not show, in short sentences.

    Args:
      comparison: the results.
      rows: the test utterances.

    Returns:
      Plain text.
    """
    speakers, in_macro = _speakers(rows)
    pairs = (("erm", "frozen"), ("mldg", "frozen"), ("mldg", "erm"))
    claims = filter(None, (_compare(comparison, *pair) for pair in pairs))
    sentences = [
        f"The test has {speakers} human speakers, {in_macro} of them with "
        f"{metrics.MACRO_CLIPS} or more utterances",
        *claims,
        "Differences are in percentage points of EER, with 95 % intervals over "
        f"{_count(comparison.seeds, 'seed')} and speakers",
        "This is a small corpus of speech from package registries, not ASVspoof: it "
        "does not show how the methods would rank there",
    ]
    return " ".join(f"{sentence}." for sentence in sentences)


def _compare(comparison: Comparison, a: str, b: str) -> str:
    """Says which of two methods has the lower EER, where their intervals show it.

    MLDG against ERM is the question, so only this pair gets its numbers here; the
    others are in the table.
    """
    numbers = (a, b) == ("mldg", "erm")
    by_column = comparison.differences.get((a, b))
    if not by_column:
        return ""
    a, b = (comparison.rows[x].title.replace(",", "") for x in (a, b))
    columns = {
        "pooled": "pooled over attacks",
        "unseen": "on unseen families",
        "macro": "in macro EER",
    }
    claims: dict[str, list[str]] = {}
    for name, where in columns.items():
        if name not in by_column:
            continue
        difference = by_column[name]
        if difference.high < 0:
            claim = f"{a} has a lower EER than {b}"
        elif difference.low > 0:
            claim = f"{b} has a lower EER than {a}"
        else:
            claim = f"{a} and {b} cannot be told apart"
        where += f" ({difference.text()})" if numbers else ""
        claims.setdefault(claim, []).append(where)
    return ", but ".join(f"{claim} {_listed(cols)}" for claim, cols in claims.items())


def _speakers(rows: Corpus) -> tuple[int, int]:
    """Returns the number of human speakers and how many of them count in macro EER."""
    counts = np.unique(rows.speaker[rows.label == BONAFIDE], return_counts=True)[1]
    return len(counts), int(np.sum(counts >= metrics.MACRO_CLIPS))


PARAMETERS = {
    "optimizer.head_lr": "learning rate of the head",
    "optimizer.lr": "learning rate of the adapters",
    "objective.inner_lr": "inner learning rate of MLDG",
}


def hyper_parameters(story: Story) -> tuple[Table, str]:
    """Tabulates the chosen hyper-parameters.

    Args:
      story: the story.

    Returns:
      A table with a row for each config entry and a column for each method that has
      one, and a note on how they were chosen; both empty if nothing was chosen.
    """
    chosen = story.selection.chosen
    if not chosen:
        return (["hyper-parameter"], []), ""
    rows = story.comparison.rows
    methods = sorted(chosen, key=[*rows, *chosen].index)  # as in the other tables
    named = dict.fromkeys(name for values in chosen.values() for name in values)
    lines = [
        [PARAMETERS.get(name, name), name]
        + [f"{chosen[m][name]:g}" if name in chosen[m] else "–" for m in methods]
        for name in sorted(named, key=[*PARAMETERS, *named].index)
    ]
    titles = [rows[m].title if m in rows else m for m in methods]
    note = ""
    held_out = (story.config.get("selection") or {}).get("held_out")
    if held_out:
        note = (
            "Chosen on other speakers (split dev) with the training attacks "
            f"{_listed(held_out)} held out, without using the test set; a dash is the "
            "default of the config file."
        )
    return (["hyper-parameter", "in the config", *titles], lines), note


def _listed(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def _count(number: int, singular: str, plural: str | None = None) -> str:
    return f"{number} {singular if number == 1 else plural or singular + 's'}"
