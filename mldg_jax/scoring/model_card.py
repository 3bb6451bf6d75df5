"""The model card of a run: MODEL_CARD.md, Markdown under a YAML heading.

The heading follows that of the Hugging Face hub (``model-index`` holds the error
rates). The card is written at the end of training, and again with every evaluation or
calibration.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from mldg_jax.common import files, run_folder
from mldg_jax.common.config import Config
from mldg_jax.common.errors import UserError
from mldg_jax.common.text_files import read_json, visible
from mldg_jax.scoring.calibration import (
    Calibration,
    calibration_of,
    warning_of_few,
)
from mldg_jax.scoring.calibration_trials import trials_in_words
from mldg_jax.scoring.card_terms import ON_HUB, limits
from mldg_jax.scoring.outcome import System
from mldg_jax.scoring.training_facts import training_lines

CARD = "MODEL_CARD.md"
EVALUATIONS = "evaluations.json"
NAMES = {"eer": "EER", "min_dcf": "minDCF", "act_dcf": "actDCF", "cllr": "Cllr"}


@dataclasses.dataclass(frozen=True)
class CardEvaluation:
    """An evaluation as ``evaluations.json`` stores it.

    Attributes:
      name: of the trials.
      n_bonafide, n_spoof: numbers of trials.
      metrics: value by metric, see ``NAMES``.
      intervals: low and high of the 95 % interval by metric; may be empty.
      by_attack: EER by attack, fractions.
      resampled: description of the units that were resampled.
      trained_on: attacks of the evaluation that the run was trained on.
    """

    name: str
    n_bonafide: int
    n_spoof: int
    metrics: Mapping[str, float]
    intervals: Mapping[str, Sequence[float]]
    by_attack: Mapping[str, float]
    resampled: str
    trained_on: Sequence[str]


def write(run: str | Path) -> None:
    """Writes a run's card from the contents of its folder.

    Args:
      run: the run's folder.

    Raises:
      UserError: the folder is not a run.
    """
    run = Path(run)
    config = run_folder.read_config(run)
    facts = run_folder.read_provenance(run)
    fitted = calibration_of(run)
    evaluations = read_evaluations(run)
    try:
        entries = [CardEvaluation(**entry) for entry in evaluations]
        text = render(run.name, config, facts, fitted, entries)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{run}: no card can be written: {run_folder.CONFIG} or {EVALUATIONS} was "
            f"edited ({type(error).__name__}: {error}); restore it from a copy"
        ) from error
    files.write_text(run / CARD, text)


def read_evaluations(run: Path) -> list[dict[str, Any]]:
    """Reads the evaluations that ``add_evaluation`` has stored.

    Args:
      run: the run's folder.

    Returns:
      The attributes of each ``CardEvaluation``; empty if there are none.
    """
    path = run / EVALUATIONS
    fix = "delete it; `mldg evaluate … --card RUN` writes it again"
    return read_json(path, list, fix=fix) if path.exists() else []


def add_evaluation(
    run: str | Path, name: str, system: System, resampled: str
) -> list[str]:
    """Stores the numbers of an evaluation in a run's folder, and writes its card.

    Args:
      run: the run whose scores were evaluated.
      name: of the trials, e.g. their file; replaces an earlier evaluation of this name.
      system: its numbers, from ``evaluate.evaluate``.
      resampled: description of the units that were resampled, e.g. "speakers".

    Returns:
      Attacks of the evaluation that the run was trained on, for a warning.

    Raises:
      UserError: the folder is not a run.
    """
    run = Path(run)
    facts = run_folder.read_provenance(run).get("trained_on", {})
    trained_attacks = facts.get("spoof", {})
    by_attack = system.parts.get("attack", {})
    known_attacks = sorted(set(by_attack) & set(trained_attacks))
    others = [other for other in read_evaluations(run) if other["name"] != name]
    entry = {
        "name": name,
        "n_bonafide": system.measures["n_bonafide"],
        "n_spoof": system.measures["n_spoof"],
        "metrics": {k: system.measures[k] for k in NAMES},
        "intervals": system.intervals,
        "by_attack": {attack: part.eer for attack, part in by_attack.items()},
        "resampled": resampled,
        "trained_on": known_attacks,
    }
    text = json.dumps([*others, entry], indent=1, ensure_ascii=False) + "\n"
    files.write_text(run / EVALUATIONS, text)
    write(run)
    return known_attacks


def render(
    name: str,
    config: Config,
    provenance: Mapping[str, Any],
    calibration: Calibration | None,
    evaluations: Sequence[CardEvaluation],
) -> str:
    """Renders the card.

    Args:
      name: of the run.
      config: the run's config.
      provenance: see ``provenance.collect``; may be empty.
      calibration: of its scores; None if they are not calibrated.
      evaluations: see ``add_evaluation``.

    Returns:
      The card's text.
    """
    sections = [
        f"# {name}\n\nA speech-deepfake countermeasure: "
        f"{config.model.weights} with "
        f"{_adapters(config.model)} and a {config.model.head['kind']} "
        f"back-end, trained with the objective `{config.objective.name}`.",
        _scores(calibration),
        _training(config, provenance),
        _evaluations(evaluations),
        limits(config.model.weights),
        "## Everything else\n\n`config.json` has every value of the config and the "
        "versions, `metrics.jsonl` the metrics during training.\n",
    ]
    # Names may be anything, and Markdown passes tags on to the reader's browser.
    body = visible("\n\n".join(sections)).replace("<", "&lt;")
    return f"{_heading(name, config, evaluations)}\n\n{body}"


TASK = {"type": "audio-classification", "name": "speech deepfake detection"}


def _heading(name: str, config: Config, evaluations: Sequence[CardEvaluation]) -> str:
    """Returns the YAML heading."""
    weights = config.model.weights
    results = [
        {
            "task": dict(TASK),
            "dataset": {"name": evaluation.name, "type": "custom"},
            "metrics": [
                {"type": k, "name": NAMES[k], "value": float(f"{v:.6g}")}
                for k, v in evaluation.metrics.items()
            ],
        }
        for evaluation in evaluations
    ]
    heading = {
        "library_name": "mldg_jax",
        "pipeline_tag": "audio-classification",
        # The front-end's licence is not that of the model, see ``limits``.
        "license": "other",
        "license_name": "depends-on-weights-and-corpus",
        "base_model": ON_HUB.get(weights, weights),
        "datasets": [config.corpus.name],
        "tags": ["anti-spoofing", "speech-deepfake-detection", "lora", "mldg", "jax"],
    }
    if results:
        heading["model-index"] = [{"name": name, "results": results}]
    return f"---\n{yaml.safe_dump(heading, sort_keys=False)}---"


def _adapters(model) -> str:
    """Returns how the front-end was adapted, in words."""
    if model.full:
        return "full fine-tuning"
    return f"rank-{model.lora.rank} LoRA" if model.lora.rank else "no adapters"


def _scores(calibration) -> str:
    """Returns the section on the meaning of scores."""
    text = "## Scores\n\n**A higher score means bona fide (human) speech.** "
    if calibration is None:
        return text + (
            "It is the difference of two logits and not calibrated: compare scores "
            "with each other, but do not read them as probabilities or use 0 as a "
            "threshold."
        )
    few = warning_of_few(calibration.n_bonafide, calibration.n_spoof)
    return text + (
        "It is the natural logarithm of a likelihood ratio, bona fide over spoof, "
        f"calibrated on {calibration.n_bonafide:,} bona fide and "
        f"{calibration.n_spoof:,} spoof utterances{trials_in_words(calibration)}. "
        "At 0 both are equally likely for a prior of one half."
        + (f" **This is {few}.**" if few else "")
    )


def _training(config, provenance) -> str:
    """Returns the section on training."""
    facts, corpus = provenance.get("trained_on", {}), config.corpus
    lines = [
        "## Training",
        "",
        f"- corpus: {corpus.name} {corpus.config}, sha256 "
        f"`{corpus.sha256 or 'unknown'}`",
    ]
    if facts:
        lines += training_lines(facts)
    excluded = config.episode.exclude
    if excluded:
        lines.append(f"- excluded from training: {', '.join(excluded)}")
    if "validation" in provenance:
        lines += _validation(provenance["validation"])
    options = config.objective.options().items()
    objective = ", ".join([config.objective.name, *(f"{k} {v}" for k, v in options)])
    lines.append(f"- objective: {objective}; {config.steps:,} steps")
    lines.append(f"- seed: {config.seed}")
    if provenance:
        versions = provenance["versions"].items()
        lines.append("- " + ", ".join(f"{k} {v}" for k, v in versions))
        revision = provenance["revision"]
        lines.append(f"- revision `{revision}`" if revision else "- from a package")
        lines.append(f"- command: `{provenance['command']}`")
    return "\n".join(lines)


def _validation(chosen) -> list[str]:
    """Returns the lines on the choice of the checkpoint."""
    rate, step = f"{100 * chosen['eer']:.2f} %", f"{chosen['step']:,}"
    return [
        f"- checkpoint: step {step}, chosen from {chosen['validations']} validations "
        f"by {chosen['rule']}: EER {rate}, loss {chosen['loss']:.4f}",
        f"- validated on {chosen['bonafide']:,} bona fide and {chosen['spoof']:,} "
        f"spoof utterances of split {chosen['split']}; held-out attacks: "
        f"{', '.join(chosen['attacks'])}",
    ]


def _evaluations(evaluations: Sequence[CardEvaluation]) -> str:
    """Returns the section on evaluations."""
    if not evaluations:
        return "## Evaluation\n\nNone yet: `mldg evaluate … --card RUN` adds one."
    lines = [
        "## Evaluation",
        "",
        "| trials | bona fide | spoof | EER, % | minDCF | actDCF | Cllr, bits |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for evaluation in evaluations:
        cells = [_with_interval(evaluation, metric) for metric in NAMES]
        counts = f"{evaluation.n_bonafide:,} | {evaluation.n_spoof:,}"
        lines.append(f"| {evaluation.name} | {counts} | {' | '.join(cells)} |")
    for evaluation in evaluations:
        if evaluation.intervals:
            lines += [
                "",
                f"{evaluation.name}: 95 % intervals from resampling "
                f"{evaluation.resampled}.",
            ]
        if evaluation.trained_on:
            lines += [
                "",
                f"**{evaluation.name} has attacks that this model was trained on: "
                f"{', '.join(evaluation.trained_on)}. Its EER does not show how the "
                "model performs on new attacks; read the EERs of the other attacks.**",
            ]
        rates = ", ".join(f"{a} {100 * e:.1f}" for a, e in evaluation.by_attack.items())
        if rates:
            lines += ["", f"EER by attack, %, {evaluation.name}: {rates}"]
    return "\n".join(lines)


def _with_interval(evaluation: CardEvaluation, metric: str) -> str:
    """Returns a metric as text, with its interval if it has one."""
    factor, digits = (100, 2) if metric == "eer" else (1, 3)
    text = f"{factor * evaluation.metrics[metric]:.{digits}f}"
    if metric in evaluation.intervals:
        low, high = (f"{factor * x:.{digits}f}" for x in evaluation.intervals[metric])
        text += f" [{low}, {high}]"
    return text
