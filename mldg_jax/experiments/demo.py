"""The paper's argument on a small real corpus, start to finish.

Four methods, trained on the same eight attacks and scored on the same utterances:

    lfcc-gmm   classical baseline
    frozen     head on the frozen front-end
    erm        LoRA + head, pooled loss
    mldg       LoRA + head, first-order MLDG

The three neural methods take the same number of gradient evaluations: ERM
differentiates the loss of all utterances of an episode once, MLDG first that of the
meta-train half, then that of the meta-test half. Learning rates and the inner learning
rate are chosen with some of the *training* attacks held out, on other speakers (split
dev); the eval split is not used before the end. Finished runs are kept: started again,
the demo continues.
"""

import functools
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mldg_jax.common import files, processes
from mldg_jax.common.config import Config
from mldg_jax.common.config_values import to_dict, with_values
from mldg_jax.data.corpus import read_summary
from mldg_jax.experiments import demo_figures, demo_page, jobs, method_tables
from mldg_jax.experiments.compare import compare_runs
from mldg_jax.experiments.demo_story import Story
from mldg_jax.experiments.jobs import LFCC, Job, Test
from mldg_jax.experiments.results import MethodResult
from mldg_jax.experiments.selection import select
from mldg_jax.training import log, parallel
from mldg_jax.training.config_files import read_config_file

METHODS = {
    LFCC: "LFCC-GMM",
    "frozen": "frozen + head",
    "erm": "LoRA, ERM",
    "mldg": "LoRA, MLDG",
}
PAIRS = (("mldg", "erm"), ("erm", "frozen"), ("mldg", "frozen"), ("frozen", LFCC))
TITLES = {
    "pooled": "pooled",
    "seen": "seen attacks",
    "unseen": "unseen families",
    "macro": "macro",
}

CONTENTS = """\
What `mldg demo` wrote to this folder. docs/file-formats.md describes the files.

report.html      the report; open it in a browser
tables.md        its tables, as Markdown
figures/         its pictures, as SVG
results.json     every number of the report
METHOD-SEED/     the runs: METHOD is lfcc-gmm, frozen, erm or mldg. `mldg score
                 mldg-0 your.wav` scores a recording with one of them
selection/       short runs that only chose the learning rates, on held-out training
                 attacks; their names are METHOD_VALUE_SEED
xla/             compiled programs: a cache that can be deleted at any time

In a run:
scores_eval.txt  scores of the corpus's eval split, before calibration: utterance,
                 attack, bonafide or spoof, score (higher for bona fide)
scores_dev.txt   (in selection/) the same of the held-out attacks in the split dev
frozen.json      fingerprint of the front-end's weights, which the run does not store

Started again, `mldg demo` continues: it repeats only what is missing here.
"""


def read_configs(config_path: str, overrides: Sequence[str] = ()) -> dict[str, Config]:
    """Reads the configs of the neural methods.

    Args:
      config_path: a config file whose arguments are the methods, with a ``selection``
        section.
      overrides: ``name=value`` for all methods.

    Returns:
      Configs by method: frozen, erm and mldg.

    Raises:
      UserError: a config is invalid.
    """
    return {
        method: read_config_file(f"{config_path}:{method}", overrides)
        for method in ("frozen", "erm", "mldg")
    }


def run_demo(
    base: dict[str, Config],
    corpus: Path,
    workdir: Path,
    *,
    seeds: int = 3,
    workers: int | None = None,
) -> Story:
    """Trains and scores all methods and writes the report.

    Args:
      base: configs from ``read_configs``.
      corpus: folder of the prepared corpus, with splits train, dev and eval.
      workdir: folder for the runs, results.json, tables.md, figures/ and report.html.
      seeds: runs per method.
      workers: number of processes; 0 to run everything here, on all devices. None for
        one per CPU core or, with a GPU or TPU, 0.

    Returns:
      The story, as written to results.json.

    Raises:
      UserError: a run folder contains a run with another config, or ``workdir`` cannot
        be written to.
    """
    files.check_folder(workdir)
    started = time.monotonic()
    if workers is None:  # several processes cannot share an accelerator's memory
        workers = processes.cores() if parallel.only_cpu() else 0
    summary = read_summary(corpus)
    corpus_values = {
        "corpus.config": corpus.parent.name,
        "corpus.sha256": summary["corpus_sha256"],
    }
    base = {
        method: with_values(config, corpus_values) for method, config in base.items()
    }

    run_all = functools.partial(jobs.run, workers=workers)
    selection = select(base, corpus, workdir / "selection", run_all)
    finals = final_jobs(base, selection.chosen, corpus, workdir, seeds)
    run_all("training", [job for method in reversed(finals.values()) for job in method])

    comparison, tests = compare_runs(
        {method: MethodResult(method, title) for method, title in METHODS.items()},
        finals,
        PAIRS,
        seeds=seeds,
        titles=TITLES,
        by_attack=True,
    )
    story = Story(
        comparison,
        {
            method: [log.read(job.workdir, job.config.steps) for job in method_jobs]
            for method, method_jobs in finals.items()
        },
        selection,
        to_dict(base["mldg"]),
        summary,
        time.monotonic() - started,
    )
    ((test,),) = tests.values()
    text = json.dumps(story.to_json(), indent=1)
    files.write_text(workdir / "results.json", text)
    for name, svg in demo_figures.figures(story, test).items():
        files.write_text(workdir / "figures" / f"{name}.svg", svg)
    tables = method_tables.markdown(comparison, detailed=False)
    files.write_text(workdir / "tables.md", tables)
    files.write_text(workdir / "report.html", demo_page.html(story, test))
    files.write_text(workdir / "README.txt", CONTENTS)
    return story


def final_jobs(
    base: Mapping[str, Config],
    chosen: Mapping[str, Mapping[str, Any]],
    corpus: Path,
    workdir: Path,
    seeds: int,
) -> dict[str, list[Job]]:
    """Returns the runs of every method with the chosen hyper-parameters.

    Args:
      base: configs from ``read_configs``.
      chosen: chosen config values by method.
      corpus: folder of the prepared corpus.
      workdir: folder for the runs.
      seeds: runs per method.

    Returns:
      By method, one job per seed. Detectors are calibrated too, on the corpus's split
      dev; the report uses the scores before calibration.
    """
    test = Test("eval", corpus, "eval")
    finals: dict[str, list[Job]] = {}
    for method in METHODS:
        finals[method] = []
        for seed in range(seeds):
            if method == LFCC:
                config = jobs.lfcc_config(base["erm"].corpus, seed=seed)
            else:
                config = with_values(base[method], {**chosen[method], "seed": seed})
            # A baseline has no detector, and a run on folds has seen every split.
            calibrated = bool(
                method != LFCC
                and config.calibration.utterances
                and config.corpus.fold is None
            )
            folder = workdir / f"{method}-{seed}"
            finals[method].append(
                Job(folder, config, corpus, (test,), calibrated=calibrated)
            )
    return finals
