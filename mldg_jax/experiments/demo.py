"""The paper's argument on a small real corpus, start to finish.

Four arms, trained on the same eight attacks and scored on the same utterances:

    lfcc-gmm   classical baseline
    frozen     head on the frozen front-end
    erm        LoRA + head, pooled loss
    mldg       LoRA + head, first-order MLDG

The three neural arms take the same number of gradient evaluations: ERM differentiates
the loss of all clips of an episode once, MLDG that of the meta-train half and that of
the meta-test half. Learning rate and inner learning rate are chosen with some of the
*training* attacks held out, on other speakers (split dev); nothing of the eval split is
looked at before the end. Every finished run is kept: started again, it continues.
"""

import functools
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np

from mldg_jax import lora
from mldg_jax.common import files, run_folder
from mldg_jax.data.corpus import NO_ATTACK, Corpus, load_split
from mldg_jax.experiments import demo_figures, demo_page, demo_tables, jobs, statistics
from mldg_jax.experiments.jobs import Job, Test
from mldg_jax.experiments.selection import override, select
from mldg_jax.experiments.statistics import Condition, Scored
from mldg_jax.training.config_files import read_config_file

ARMS = {
    "lfcc-gmm": "LFCC-GMM",
    "frozen": "frozen + head",
    "erm": "LoRA, ERM",
    "mldg": "LoRA, MLDG",
}
PAIRS = (("frozen", "lfcc-gmm"), ("erm", "frozen"), ("mldg", "frozen"), ("mldg", "erm"))


def read_configs(
    config_path: str, overrides: Sequence[str] = ()
) -> dict[str, ml_collections.ConfigDict]:
    """Reads the configs of the neural arms.

    Args:
      config_path: a config file whose arguments are the arms, with a ``selection``
        section.
      overrides: ``name=value``, for all of them.

    Raises:
      UserError: an impossible config.
    """
    return {
        arm: read_config_file(f"{config_path}:{arm}", overrides)
        for arm in ("frozen", "erm", "mldg")
    }


def run_demo(
    base: dict[str, ml_collections.ConfigDict],
    corpus: Path,
    workdir: Path,
    *,
    seeds: int = 3,
    workers: int | None = None,
) -> dict[str, Any]:
    """Trains, scores and reports.

    Args:
      base: of ``read_configs``; the corpus is written into them.
      corpus: folder of the prepared corpus, with splits train, dev and eval.
      workdir: where the runs, results.json, tables.md, figures/ and report.html go.
      seeds: runs an arm.
      workers: processes; one a CPU core by default.

    Returns:
      What results.json holds.

    Raises:
      UserError: a run folder of another config.
    """
    started = time.monotonic()
    workers = workers or len(os.sched_getaffinity(0))
    summary = json.loads((corpus / "corpus.json").read_text())
    for config in base.values():
        config.corpus.config = corpus.parent.name
        config.corpus.sha256 = summary["corpus_sha256"]

    run_all = functools.partial(jobs.run, workers=workers)
    chosen, candidates = select(base, corpus, workdir / "selection", run_all)
    test = Test("eval", corpus, "eval")
    finals = final_jobs(base, chosen, test, workdir, seeds)
    run_all("training", [job for arm in reversed(finals.values()) for job in arm])

    rows = test.rows()
    trained = load_split(corpus, "train")
    scores = {
        arm: np.stack([jobs.read_scores(job.scores(test), rows) for job in its])
        for arm, its in finals.items()
    }
    results = summarise(rows, set(trained.attack) - {NO_ATTACK}, scores)
    results["selection"] = {"chosen": chosen, "candidates": candidates}
    results["config"] = json.loads(base["mldg"].to_json())
    results["corpus"] = summary
    results["seconds"] = time.monotonic() - started
    for arm, its in finals.items():
        results["arms"][arm]["trained_parameters"] = _trained(its[0])
        results["arms"][arm]["training"] = [_log(job.workdir) for job in its]
    files.write_text(workdir / "results.json", json.dumps(results, indent=1))
    for name, svg in demo_figures.figures(results, rows, scores).items():
        files.write_text(workdir / "figures" / f"{name}.svg", svg)
    files.write_text(workdir / "tables.md", demo_tables.markdown(results))
    files.write_text(workdir / "report.html", demo_page.html(results, rows, scores))
    return results


def final_jobs(
    base: dict[str, ml_collections.ConfigDict],
    chosen: dict[str, dict[str, float]],
    test: Test,
    workdir: Path,
    seeds: int,
) -> dict[str, list[Job]]:
    """The runs of every arm with the chosen hyper-parameters, one a seed."""
    made: dict[str, list[Job]] = {}
    for arm in ARMS:
        made[arm] = []
        for seed in range(seeds):
            if arm == "lfcc-gmm":
                config = jobs.lfcc_config(base["erm"].corpus, seed)
            else:
                config = override(base[arm], {**chosen[arm], "seed": seed})
            job = Job(workdir / f"{arm}-{seed}", config, test.corpus, (test,))
            made[arm].append(job)
    return made


def summarise(
    rows: Corpus, trained: set[str], scores: dict[str, np.ndarray]
) -> dict[str, Any]:
    """Error rates with intervals, for every arm, attack and pair of arms.

    Args:
      rows: the scored utterances.
      trained: attacks that were trained on; the others are the unseen families.
      scores: for each arm (seeds, utterances).

    Returns:
      ``attacks``; ``arms``: for each its ``eer`` on the sets pooled, seen, unseen,
      macro and macro_unseen, and ``by_attack``; ``differences``. See ``statistics``.
    """
    test = Scored(rows, scores)
    seen, unseen = statistics.attacks([test], trained)
    sets = statistics.columns({"": [test]}, trained)
    found = {name: statistics.rates(parts) for name, parts in sets.items()}
    by_attack = {
        attack: statistics.rates([Condition(test, (attack,))])
        for attack in seen + unseen
    }
    return {
        "attacks": {"trained": list(seen), "unseen": list(unseen)},
        "arms": {
            arm: {
                "title": ARMS[arm],
                "eer": {k: statistics.rate(v, arm) for k, v in found.items()},
                "by_attack": {k: statistics.rate(v, arm) for k, v in by_attack.items()},
            }
            for arm in scores
        },
        "differences": {
            f"{a} - {b}": {k: statistics.difference(v, a, b) for k, v in found.items()}
            for a, b in PAIRS
        },
    }


def _trained(job: Job) -> int | None:
    if job.config.arm == "lfcc-gmm":
        return None
    return lora.count(run_folder.read_trainable(job.workdir)[0])


def _log(workdir: Path) -> list[dict[str, Any]]:
    path = workdir / "metrics.jsonl"
    return (
        [json.loads(x) for x in path.read_text().splitlines()] if path.exists() else []
    )
