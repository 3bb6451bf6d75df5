"""Computes what the paper's table costs at least, in chip-hours.

    .venv/bin/python benchmarks/table_cost.py [--seeds 3]

Counts the matrix products and convolutions of the training steps of configs/xlsr.py and
of scoring the six test corpora, from shapes alone: nothing is run, so it needs no
accelerator. Divided by a chip's published peak (training: bfloat16; scoring: full
float32), that is a roofline bound: no machine can be faster, and real ones are slower
by their utilisation. Prints a Markdown table, or JSON with --json.
"""

import argparse
import json
from typing import Any

import jax
import numpy as np

from mldg_jax.models.detector import create_detector
from mldg_jax.training.config_files import read_config_file
from mldg_jax.training.machine.peaks import PEAKS
from mldg_jax.training.tpu_plan import compiled_step
from mldg_jax.training.tpu_plan.flops import count_flops

METHODS = ("frozen", "erm", "mldg", "mldg2")
ATTACKS = 6  # of the training split of ASVspoof 2019 LA
# Trials of the evaluation sets: ASVspoof 2019 LA, 2021 LA, 2021 DF and 5, In-the-Wild,
# FakeAVCeleb. One window each, though longer recordings have several.
TRIALS = 71_237 + 181_566 + 611_829 + 680_774 + 31_779 + 21_544
CARDS = {"v5e": PEAKS["TPU v5e"], "v6e": PEAKS["TPU v6"], "H100": PEAKS["H100"]}


def training_flops(config: Any) -> int:
    """Returns the operations of a training step, on all devices together."""
    examples = config.episode.examples_per_attack
    jaxpr, _ = compiled_step.lower(
        config, jax.devices()[:1], attacks=ATTACKS, examples=examples
    )
    return count_flops(jaxpr, "tpu", branch=min)


def scoring_flops() -> int:
    """Returns the operations of scoring one window; adapters are merged for that."""
    config = read_config_file("configs/xlsr.py:frozen", [])
    detector = create_detector(config.model)
    waveform = jax.ShapeDtypeStruct((1, config.crop_samples), np.float32)
    key = jax.eval_shape(jax.random.key, 0)
    variables = jax.eval_shape(detector.init, key, waveform)
    return count_flops(jax.make_jaxpr(detector.apply)(variables, waveform), "tpu")


def costs() -> dict[str, dict[str, Any]]:
    """Returns the numbers of a run of each method."""
    rows, scoring = {}, scoring_flops() * TRIALS
    for method in METHODS:
        config = read_config_file(f"configs/xlsr.py:{method}", [])
        step = training_flops(config)
        training = step * config.steps
        rows[method] = {
            "steps": config.steps,
            "utterances": config.episode.examples_per_attack * ATTACKS,
            "step_flops": step,
            "scoring_flops": scoring,
            "hours": {
                chip: (training / peak.bfloat16 + scoring / peak.highest) / 3600
                for chip, peak in CARDS.items()
            },
        }
    return rows


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="runs per method")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = costs()
    if arguments.json:
        print(json.dumps(rows))
        return
    print(f"| method | TFLOP a step | {' | '.join(CARDS)} |")
    print("| --- | ---: |" + " ---: |" * len(CARDS))
    sums = dict.fromkeys(CARDS, 0.0)
    for method, row in rows.items():
        hours = row["hours"]
        for chip in CARDS:
            sums[chip] += arguments.seeds * hours[chip]
        cells = " | ".join(f"{hours[chip]:.2f}" for chip in CARDS)
        print(f"| {method} | {row['step_flops'] / 1e12:.2f} | {cells} |")
    cells = " | ".join(f"{sums[chip]:.1f}" for chip in CARDS)
    print(f"| all, {arguments.seeds} seeds each | | {cells} |")
    scoring = rows["mldg"]["scoring_flops"]
    share = {chip: scoring / card.highest / 3600 for chip, card in CARDS.items()}
    hours = ", ".join(f"{chip} {share[chip]:.2f}" for chip in CARDS)
    window = scoring / TRIALS / 1e12
    print(f"\nscoring: {TRIALS:,} windows a run, {window:.3f} TFLOP each: {hours}")


if __name__ == "__main__":
    main()
