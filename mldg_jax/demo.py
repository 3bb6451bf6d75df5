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

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np
from tqdm import tqdm

from mldg_jax import (
    bootstrap,
    checkpoint,
    configs,
    figures,
    jobs,
    lora,
    metrics,
    page,
    report,
)
from mldg_jax.data import corpus as corpora
from mldg_jax.data.corpus import BONAFIDE, NO_ATTACK, SPOOF, Corpus
from mldg_jax.jobs import Job

ARMS = {
    "lfcc-gmm": "LFCC-GMM",
    "frozen": "frozen + head",
    "erm": "LoRA, ERM",
    "mldg": "LoRA, MLDG",
}
PAIRS = (("frozen", "lfcc-gmm"), ("erm", "frozen"), ("mldg", "frozen"), ("mldg", "erm"))
REPLICAS = 2000


def run(
    config_path: str,
    corpus: Path,
    workdir: Path,
    *,
    seeds: int = 3,
    workers: int | None = None,
    overrides: Sequence[str] = (),
) -> dict[str, Any]:
    """Trains, scores and reports.

    Args:
      config_path: a config file whose arguments are the arms, with a ``selection``
        section.
      corpus: folder of the prepared corpus, with splits train, dev and eval.
      workdir: where the runs, results.json, tables.md, figures/ and report.html go.
      seeds: runs an arm.
      workers: processes; one a CPU core by default.
      overrides: config overrides for the neural arms, ``name=value``.

    Returns:
      What results.json holds.

    Raises:
      UserError: an impossible config, or a run folder of another config.
    """
    started = time.monotonic()
    workers = workers or len(os.sched_getaffinity(0))
    base = {
        arm: configs.read(f"{config_path}:{arm}", overrides)
        for arm in ("frozen", "erm", "mldg")
    }
    summary = json.loads((corpus / "corpus.json").read_text())
    for config in base.values():
        config.corpus.config = corpus.parent.name
        config.corpus.sha256 = summary["corpus_sha256"]
    chosen, candidates = select(base, corpus, workdir / "selection", workers)
    finals = final_jobs(base, chosen, corpus, workdir, seeds)
    longest_first = [job for arm in reversed(finals.values()) for job in arm]
    _run("training", longest_first, workers)

    rows = corpora.load(corpus, "eval")
    trained = corpora.load(corpus, "train")
    scores = {
        arm: np.stack([jobs.read_scores(job.scores, rows) for job in its])
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
    checkpoint.write_text(workdir / "results.json", json.dumps(results, indent=1))
    for name, svg in figures.figures(results, rows, scores).items():
        checkpoint.write_text(workdir / "figures" / f"{name}.svg", svg)
    checkpoint.write_text(workdir / "tables.md", report.markdown(results))
    checkpoint.write_text(workdir / "report.html", page.html(results, rows, scores))
    return results


def select(
    base: dict[str, ml_collections.ConfigDict],
    corpus: Path,
    workdir: Path,
    workers: int,
) -> tuple[dict[str, dict[str, float]], list[dict[str, Any]]]:
    """Chooses hyper-parameters on held-out training attacks.

    First the head's learning rate of ``frozen`` and the adapters' of ``erm``; then, at
    the learning rate of ``erm``, the inner learning rate of ``mldg``: as many
    candidates for every arm. The smallest EER between dev's bona fide and dev's spoof
    of the held-out attacks wins, in the mean over a few seeds.

    Returns:
      The chosen overrides of each arm, and every candidate with its EER.
    """
    options = base["mldg"].selection
    dev = corpora.load(corpus, "dev")
    rows = dev.take(_with(dev, options.without))
    seeds = range(options.seeds)
    candidates = []

    def stage(name: str, grid: list[tuple[str, dict[str, float]]]) -> dict:
        trials = [
            [_trial(base[arm], values, seed, corpus, workdir) for seed in seeds]
            for arm, values in grid
        ]
        _run(name, [job for its in trials for job in its], workers)
        best: dict[str, tuple[float, dict]] = {}
        for (arm, values), its in zip(grid, trials, strict=True):
            by_seed = [_eer(jobs.read_scores(job.scores, rows), rows) for job in its]
            error = float(np.mean(by_seed))
            candidates.append({"arm": arm, **values, "eer": error, "by_seed": by_seed})
            if arm not in best or error < best[arm][0]:
                best[arm] = (error, values)
        return {arm: values for arm, (_, values) in best.items()}

    rates = [("erm", {"optimizer.lr": x}) for x in options.lr]
    rates += [("frozen", {"optimizer.head_lr": x}) for x in options.head_lr]
    chosen = stage("selection: learning rates", rates)
    inner = [
        ("mldg", {**chosen["erm"], "objective.inner_lr": x}) for x in options.inner_lr
    ]
    chosen |= stage("selection: inner learning rate", inner)
    return chosen, candidates


def _trial(
    base: ml_collections.ConfigDict,
    values: dict[str, float],
    seed: int,
    corpus: Path,
    workdir: Path,
) -> Job:
    """A short run with some training attacks held out."""
    options = base.selection
    held_out = tuple(options.without)
    config = _override(base, {**values, "seed": seed})
    config.steps = options.steps
    config.episode.without = held_out
    config.episode.meta_test = options.meta_test
    label = [config.arm, *(f"{k.split('.')[-1]}{v}" for k, v in values.items())]
    return Job(workdir / "_".join([*label, str(seed)]), config, corpus, "dev", held_out)


def final_jobs(
    base: dict[str, ml_collections.ConfigDict],
    chosen: dict[str, dict[str, float]],
    corpus: Path,
    workdir: Path,
    seeds: int,
) -> dict[str, list[Job]]:
    """The runs of every arm with the chosen hyper-parameters, one a seed."""
    made: dict[str, list[Job]] = {}
    for arm in ARMS:
        made[arm] = []
        for seed in range(seeds):
            if arm == "lfcc-gmm":
                config = ml_collections.ConfigDict(
                    {
                        "arm": arm,
                        "seed": seed,
                        "components": 64,
                        "steps": 0,
                        "corpus": base["erm"].corpus.to_dict(),
                    }
                )
            else:
                config = _override(base[arm], {**chosen[arm], "seed": seed})
            made[arm].append(Job(workdir / f"{arm}-{seed}", config, corpus, "eval"))
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
      macro and macro_unseen, and ``by_attack``; ``differences``. An error rate is
      ``{"eer", "low", "high", "by_seed"}``, fractions; the interval is the 95 %
      bootstrap over seeds and speakers.
    """
    sets = evaluation_sets(rows, trained)
    unseen = sorted(set(rows.attack) - trained - {NO_ATTACK})
    arms = {}
    for arm, values in scores.items():
        by_attack = {
            attack: _interval(values, rows, {"keep": _with(rows, [attack])})
            for attack in [*sorted(trained), *unseen]
        }
        errors = {name: _interval(values, rows, one) for name, one in sets.items()}
        arms[arm] = {"title": ARMS[arm], "eer": errors, "by_attack": by_attack}
    differences = {}
    for a, b in PAIRS:
        differences[f"{a} - {b}"] = {
            name: _difference(scores[a], scores[b], rows, one)
            for name, one in sets.items()
        }
    return {
        "attacks": {"trained": sorted(trained), "unseen": unseen},
        "arms": arms,
        "differences": differences,
    }


def evaluation_sets(rows: Corpus, trained: set[str]) -> dict[str, dict[str, Any]]:
    """Which utterances an error rate is over, and whether it is pooled or macro."""
    unseen = set(rows.attack) - trained - {NO_ATTACK}
    everything = np.ones(len(rows.label), bool)
    return {
        "pooled": {"keep": everything},
        "seen": {"keep": _with(rows, sorted(trained))},
        "unseen": {"keep": _with(rows, sorted(unseen))},
        "macro": {"keep": everything, "statistic": "macro"},
        "macro_unseen": {"keep": _with(rows, sorted(unseen)), "statistic": "macro"},
    }


def _with(rows: Corpus, attacks: Sequence[str]) -> np.ndarray:
    """Bona fide and the spoof of some attacks, as a mask."""
    return (rows.label == BONAFIDE) | np.isin(rows.attack, attacks)


def _columns(rows: Corpus, one: dict[str, Any]) -> dict[str, Any]:
    kept = rows.take(one["keep"])
    spoof, clusters = kept.label == SPOOF, kept.speaker
    if len(set(clusters[spoof])) == 1:  # one synthetic voice: utterances are the units
        clusters = np.where(spoof, kept.utterance, clusters)
    columns = {"labels": kept.label, "clusters": clusters}
    if one.get("statistic") == "macro":
        columns |= {
            "statistic": "macro", "attacks": kept.attack, "speakers": kept.speaker
        }  # fmt: skip
    return columns


def _point(scores: np.ndarray, rows: Corpus, one: dict[str, Any]) -> float:
    kept, scores = rows.take(one["keep"]), scores[one["keep"]]
    if one.get("statistic") == "macro":
        return metrics.macro_eer(scores, kept.label, kept.attack, kept.speaker)
    return _eer(scores, kept)


def _eer(scores: np.ndarray, rows: Corpus) -> float:
    real = rows.label == BONAFIDE
    return metrics.eer(scores[real], scores[rows.label == SPOOF])[0]


def _interval(scores: np.ndarray, rows: Corpus, one: dict[str, Any]) -> dict[str, Any]:
    by_seed = [_point(s, rows, one) for s in scores]
    low, high = bootstrap.eer_interval(
        scores[:, one["keep"]], replicas=REPLICAS, **_columns(rows, one)
    )
    return {
        "eer": float(np.mean(by_seed)),
        "low": low,
        "high": high,
        "by_seed": by_seed,
    }


def _difference(a, b, rows: Corpus, one: dict[str, Any]) -> dict[str, float]:
    difference, low, high = bootstrap.paired_difference(
        a[:, one["keep"]], b[:, one["keep"]], replicas=REPLICAS, **_columns(rows, one)
    )
    return {"difference": difference, "low": low, "high": high}


def _override(config: ml_collections.ConfigDict, values: dict[str, Any]) -> Any:
    copy = ml_collections.ConfigDict(config.to_dict())
    copy.update_from_flattened_dict(values)
    return copy


def _run(title: str, todo: Sequence[Job], workers: int) -> None:
    total = sum(job.config.steps for job in todo)
    layout = "{l_bar}{bar}| {n_fmt}/{total_fmt} steps [{elapsed}, left {remaining}]"
    with tqdm(total=total, desc=title, unit="step", bar_format=layout) as bar:
        jobs.run(todo, workers=workers, progress=bar.update)


def _trained(job: Job) -> int | None:
    if job.config.arm == "lfcc-gmm":
        return None
    return lora.count(checkpoint.read_trainable(job.workdir)[0])


def _log(workdir: Path) -> list[dict[str, Any]]:
    path = workdir / "metrics.jsonl"
    return (
        [json.loads(x) for x in path.read_text().splitlines()] if path.exists() else []
    )
