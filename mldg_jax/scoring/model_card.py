"""The model card of a run: MODEL_CARD.md, Markdown under a YAML heading.

The heading follows the Hugging Face hub's (``model-index`` holds the error rates). The
card is written when training ends, and again with every evaluation or calibration.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from mldg_jax.common import files, run_folder
from mldg_jax.common.config import Config
from mldg_jax.scoring.calibration import CALIBRATION_FILE, Calibration, load_calibration
from mldg_jax.scoring.outcome import System

CARD = "MODEL_CARD.md"
EVALUATIONS = "evaluations.json"
LICENCES = {  # of front-ends whose weights come with one
    "whisper-tiny.en": "mit",
    "facebook/wav2vec2-xls-r-300m": "apache-2.0",
}
NAMES = {"eer": "EER", "min_dcf": "minDCF", "act_dcf": "actDCF", "cllr": "Cllr"}


@dataclasses.dataclass(frozen=True)
class CardEvaluation:
    """An evaluation as ``evaluations.json`` keeps it.

    Attributes:
      name: of the trials.
      n_bonafide, n_spoof: trials.
      metrics: of ``NAMES``.
      intervals: low and high by metric, of 95 %; empty without.
      by_attack: EER, a fraction.
      resampled: what the intervals come from.
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
    """Writes a run's card from what is in its folder.

    Raises:
      UserError: the folder is no run.
    """
    run = Path(run)
    config = run_folder.read_config(run)
    fitted = run / CALIBRATION_FILE
    text = render(
        run.name,
        config,
        run_folder.read_provenance(run),
        load_calibration(fitted) if fitted.exists() else None,
        [CardEvaluation(**entry) for entry in read_evaluations(run)],
    )
    files.write_text(run / CARD, text)


def read_evaluations(run: Path) -> list[dict[str, Any]]:
    """What ``add_evaluation`` has kept so far."""
    path = run / EVALUATIONS
    return json.loads(path.read_text()) if path.exists() else []


def add_evaluation(
    run: str | Path, name: str, system: System, resampled: str
) -> list[str]:
    """Keeps the numbers of an evaluation in a run's folder, and writes its card.

    Args:
      run: the run whose scores were evaluated.
      name: of the trials, such as their key file; an earlier one is replaced.
      system: its numbers, of ``evaluate.evaluate``.
      resampled: what its intervals come from, "speakers" or "utterances".

    Returns:
      Attacks of the evaluation that the run was trained on, for a warning.

    Raises:
      UserError: the folder is no run.
    """
    run = Path(run)
    facts = run_folder.read_provenance(run).get("trained_on", {})
    trained = facts.get("spoof", {})
    by_attack = system.parts.get("attack", {})
    met = sorted(set(by_attack) & set(trained))
    kept = [one for one in read_evaluations(run) if one["name"] != name]
    entry = {
        "name": name,
        "n_bonafide": system.measures["n_bonafide"],
        "n_spoof": system.measures["n_spoof"],
        "metrics": {k: system.measures[k] for k in NAMES},
        "intervals": system.intervals,
        "by_attack": {a: one.eer for a, one in by_attack.items()},
        "resampled": resampled,
        "trained_on": met,
    }
    text = json.dumps([*kept, entry], indent=1, ensure_ascii=False) + "\n"
    files.write_text(run / EVALUATIONS, text)
    write(run)
    return met


def render(
    name: str,
    config: Config,
    provenance: Mapping[str, Any],
    calibration: Calibration | None,
    evaluations: Sequence[CardEvaluation],
) -> str:
    """The card's text.

    Args:
      name: of the run.
      config: the run's.
      provenance: see ``provenance.collect``; may be empty.
      calibration: of its scores, if they are calibrated.
      evaluations: see ``add_evaluation``.
    """
    sections = [
        _heading(name, config, evaluations),
        f"# {name}\n\nA speech-deepfake countermeasure: "
        f"{config.model.weights} with "
        f"{_adapters(config.model)} and a {config.model.head['kind']} "
        f"back-end, trained with the objective `{config.objective.name}`.",
        _scores(calibration),
        _training(config, provenance),
        _evaluations(evaluations),
        LIMITS,
        "## Everything else\n\nEvery value of the config and the versions are in "
        "`config.json`, the course of training in `metrics.jsonl`.\n",
    ]
    return "\n\n".join(sections)


LIMITS = """\
## Limits

It was trained on the attacks listed above and can fail on others, on other languages,
microphones and codecs, and on recordings that are partly synthetic. A score is
evidence, not a verdict: do not decide about a person on it alone. Its licence follows
from the front-end's weights and from the training corpus, whose terms are its own."""
TASK = {"type": "audio-classification", "name": "speech deepfake detection"}


def _heading(name: str, config: Config, evaluations: Sequence[CardEvaluation]) -> str:
    weights = config.model.weights
    results = [
        {
            "task": dict(TASK),
            "dataset": {"name": one.name, "type": "custom"},
            "metrics": [
                {"type": k, "name": NAMES[k], "value": float(f"{v:.6g}")}
                for k, v in one.metrics.items()
            ],
        }
        for one in evaluations
    ]
    heading = {
        "library_name": "mldg_jax",
        "pipeline_tag": "audio-classification",
        "license": LICENCES.get(weights, "other"),
        "base_model": weights,
        "datasets": [config.corpus.name],
        "tags": ["anti-spoofing", "speech-deepfake-detection", "lora", "mldg", "jax"],
    }
    if results:
        heading["model-index"] = [{"name": name, "results": results}]
    return f"---\n{yaml.safe_dump(heading, sort_keys=False)}---"


def _adapters(model) -> str:
    if model.full:
        return "no adapters, all of it fine-tuned"
    return f"rank-{model.lora.rank} LoRA" if model.lora.rank else "no adapters"


def _scores(calibration) -> str:
    text = "## Scores\n\n**A higher score means bona fide (human) speech.** "
    if calibration is None:
        return text + (
            "It is the difference of two logits and not calibrated: compare scores, do "
            "not read them as probabilities; 0 is no threshold."
        )
    return text + (
        "It is a natural-logarithm likelihood ratio, bona fide over spoof, calibrated "
        f"on {calibration.n_bonafide:,} bona fide and {calibration.n_spoof:,} spoof "
        "utterances that training did not see: at 0 the two are equally likely for a "
        "prior of one half."
    )


def _training(config, provenance) -> str:
    facts, corpus = provenance.get("trained_on", {}), config.corpus
    lines = [
        "## Training",
        "",
        f"- corpus: {corpus.name} {corpus.config}, sha256 "
        f"`{corpus.sha256 or 'unknown'}`",
    ]
    if facts:
        spoof = ", ".join(f"{a} ({n:,})" for a, n in facts["spoof"].items())
        lines += [
            f"- {facts['bonafide']:,} bona fide utterances; {facts['speakers']:,} "
            f"speakers; languages {', '.join(facts['languages'])}",
            f"- attacks (utterances): {spoof}",
        ]
    left_out = config.episode.exclude
    if left_out:
        lines.append(f"- left out of training: {', '.join(left_out)}")
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
    rate, step = f"{100 * chosen['eer']:.2f} %", f"{chosen['step']:,}"
    return [
        f"- checkpoint: step {step}, of {chosen['validations']} validations that with "
        f"{chosen['rule']}: EER {rate}, loss {chosen['loss']:.4f}",
        f"- validated on {chosen['bonafide']:,} bona fide and {chosen['spoof']:,} "
        f"spoof utterances of split {chosen['split']}, attacks left out of training "
        f"for it: {', '.join(chosen['attacks'])}",
    ]


def _evaluations(evaluations: Sequence[CardEvaluation]) -> str:
    if not evaluations:
        return "## Evaluation\n\nNone yet: `mldg evaluate … --card RUN` adds one."
    lines = [
        "## Evaluation",
        "",
        "| trials | bona fide | spoof | EER, % | minDCF | actDCF | Cllr, bits |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for one in evaluations:
        cells = [
            _with_interval(one, k, 100 if k == "eer" else 1, 2 if k == "eer" else 3)
            for k in NAMES
        ]
        counts = f"{one.n_bonafide:,} | {one.n_spoof:,}"
        lines.append(f"| {one.name} | {counts} | {' | '.join(cells)} |")
    for one in evaluations:
        if one.intervals:
            what = f"{one.name}: 95 % intervals from resampling {one.resampled}."
            lines += ["", what]
        if one.trained_on:
            lines += [
                "",
                f"**{one.name} has attacks that this model was trained on: "
                f"{', '.join(one.trained_on)}. Its EER says nothing of new attacks; "
                "read those of the others.**",
            ]
        rates = ", ".join(f"{a} {100 * e:.1f}" for a, e in one.by_attack.items())
        if rates:
            lines += ["", f"EER by attack, %, {one.name}: {rates}"]
    return "\n".join(lines)


def _with_interval(one: CardEvaluation, metric: str, factor: float, digits: int) -> str:
    text = f"{factor * one.metrics[metric]:.{digits}f}"
    if metric in one.intervals:
        low, high = (f"{factor * x:.{digits}f}" for x in one.intervals[metric])
        text += f" [{low}, {high}]"
    return text
