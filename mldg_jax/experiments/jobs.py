"""Many runs, one after the other or in parallel: a job is a config and its tests.

Each job trains (or continues) in its own folder and writes ``scores_<test>.txt`` for
each of its tests, or one file for each average of its parameters (``Average``); score
files that exist are not written again. Workers are processes
bound to one core each, because several single-threaded runs together take more steps
per second than one run with several threads. Without workers every job uses all
devices.
"""

import functools
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from mldg_jax.common import compile_cache, processes, provenance, run_folder
from mldg_jax.common.config import Config, CorpusSection
from mldg_jax.common.errors import UserError
from mldg_jax.data.attack_folds import training_rows, with_validation
from mldg_jax.data.corpus import (
    BONAFIDE,
    SPOOF,
    Corpus,
    trained_on,
)
from mldg_jax.experiments.job_record import Average, Job
from mldg_jax.experiments.trial_sets import Test
from mldg_jax.scoring import score_files
from mldg_jax.scoring.calibration_trials import load_trials, trials_of
from mldg_jax.training import trajectory

log = logging.getLogger(__name__)

LFCC, PROBE = run_folder.LFCC, run_folder.PROBE
WITHOUT_STEPS = run_folder.WITHOUT_STEPS


def lfcc_config(corpus: CorpusSection, **more: Any) -> Config:
    """Returns the config of a run of the classical baseline.

    Args:
      corpus: a config's ``corpus`` section.
      **more: further entries, e.g. ``seed``.

    Returns:
      The config.
    """
    return Config(method=LFCC, steps=0, corpus=corpus, **more)


def run(title: str, jobs: Sequence[Job], *, workers: int) -> None:
    """Runs the jobs that are not done, with a progress bar of all their steps.

    Args:
      title: title of the bar.
      jobs: in the order in which to start them; put the longest first.
      workers: number of processes; 0 to run the jobs here, each on all devices.

    Raises:
      UserError: a folder contains a run with another config.
      Exception: whatever a job raises; the other jobs are stopped.
    """
    total = sum(job.config.steps for job in jobs if not job.average_of)
    layout = "{l_bar}{bar}| {n_fmt}/{total_fmt} steps [{elapsed}, left {remaining}]"
    with tqdm(total=total, desc=title, unit="step", bar_format=layout) as bar:
        todo = []
        for job in jobs:
            if job.is_done():
                if not job.average_of:
                    run_folder.check_config(job.workdir, job.config)
                bar.update(job.config.steps)
            else:
                todo.append(job)
        if not workers:
            for job in todo:
                _run_job(job, bar.update, all_devices=True)
        elif todo:
            # Every spawned worker imports JAX, needed or not: start no more than jobs.
            _run_in_processes(todo, min(workers, len(todo)), bar.update)


def _run_in_processes(
    todo: Sequence[Job], workers: int, progress: Callable[[int], Any]
) -> None:
    cache = Path(todo[0].workdir).parent / "xla"
    with processes.manager() as shared:
        steps, ranks = shared.Queue(), shared.Queue()
        for rank in range(workers):
            ranks.put(rank)
        with processes.pool(workers, _start, (ranks, cache)) as opened:
            tasks = [opened.submit(_run_in_worker, job, steps) for job in todo]
            _watch(tasks, steps, progress)


def _watch(futures: list[Future], steps: Any, progress: Callable[[int], Any]) -> None:
    waiting = set(futures)
    while waiting:
        done, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
        while not steps.empty():
            progress(steps.get())
        for future in done:
            future.result()  # raises the job's exception, if any


def _start(ranks: Any, cache: Path) -> None:
    """Prepares a worker before its first computation."""
    from mldg_jax.training import parallel

    parallel.one_core_per_process(ranks.get())
    parallel.cache_compilations(cache)
    compile_cache.report_damage(cache)


def _run_in_worker(job: Job, steps: Any) -> None:
    processes.working_on(str(job.workdir))
    _run_job(job, steps.put, all_devices=False)


@functools.lru_cache(maxsize=4)
def _training_rows(folder: Path, section: CorpusSection) -> Corpus:
    return training_rows(folder, section)


@functools.lru_cache(maxsize=4)
def _test_rows(test: Test) -> Corpus:
    return test.rows()


def _run_job(job: Job, advance: Callable[[int], Any], *, all_devices: bool) -> None:
    if job.average_of:
        _score(job, _averaged(job))
        return
    trained = _training_rows(job.corpus, job.config.corpus)
    if job.config.method in WITHOUT_STEPS:
        trained, _ = with_validation(job.corpus, job.config.validation, trained)
        excluded = {*job.config.episode.exclude, *job.config.validation.attacks}
        trained = trained.take(~np.isin(trained.attack, sorted(excluded)))
        fit = _fit_lfcc if job.config.method == LFCC else _fit_probe
        score = fit(job, trained)
        advance(job.config.steps)
    else:
        score = _train_detector(job, trained, advance, all_devices)
    _score(job, score)
    if job.calibrated and not job.is_done():
        _calibrate(job)
    shutil.rmtree(job.workdir / trajectory.SEGMENTS, ignore_errors=True)


def _score(job: Job, score: Callable[[Corpus, Average | None], np.ndarray]) -> None:
    for test, average in job.unscored():
        rows = _test_rows(test)
        write_scores(job.scores(test, average), rows, score(rows, average))


def _calibrate(job: Job) -> None:
    from mldg_jax.scoring import scorer

    corpus, section = job.config.corpus, job.config.calibration
    of = corpus, corpus.name, corpus.config, corpus.sha256, section.split
    try:
        scorer.calibrate(
            job.workdir,
            load_trials(job.config, job.corpus, section.split),
            utterances=section.utterances,
            trials=trials_of(*of),
        )
    except UserError as error:  # the run is complete without a calibration
        log.warning("%s is not calibrated: %s", job.workdir, error)


def _averaged(job: Job) -> Callable[[Corpus, Average | None], np.ndarray]:
    """Returns the scores of the average of several runs."""
    from mldg_jax.scoring.scorer import load_parameters, score_waveforms
    from mldg_jax.training import averaging

    runs = [load_parameters(folder) for folder in job.average_of]
    scale = runs[0].detector.frontend.lora_scale
    equal = [1.0] * len(runs)
    average = runs[0]._replace(
        trainable=averaging.average_runs(
            [run.trainable for run in runs], [scale] * len(runs), scale=scale
        ),
        batch_stats=averaging.weighted_average((r.batch_stats for r in runs), equal),
    )
    detector = average.scorer()
    return lambda rows, _: score_waveforms(detector, _waveforms(rows))


def _waveforms(rows: Corpus, keep: np.ndarray | slice = slice(None)) -> Iterator:
    """Iterates over waveforms, each read when it is needed."""
    return map(rows.waveform, np.arange(len(rows.label))[keep])


def _train_detector(
    job: Job, trained: Corpus, advance: Callable[[int], Any], all_devices: bool
) -> Callable[[Corpus, Average | None], np.ndarray]:
    from mldg_jax.scoring.scorer import load_parameters, score_waveforms
    from mldg_jax.training import loop, parallel

    done = 0

    def report(step: int) -> None:
        nonlocal done
        advance(step - done)
        done = step

    trained, validate_on = with_validation(job.corpus, job.config.validation, trained)
    loop.train(
        job.config,
        job.workdir,
        trained,
        validate_on=validate_on,
        devices=parallel.devices() if all_devices else None,
        progress=report,
    )
    report(job.config.steps)
    parts = load_parameters(job.workdir)

    def score(rows: Corpus, average: Average | None) -> np.ndarray:
        chosen = parts
        if average is not None:
            file = trajectory.path(job.workdir, average.step, average.name)
            trainable, batch_stats = run_folder.read_parameters(file)
            chosen = parts._replace(trainable=trainable, batch_stats=batch_stats)
        return score_waveforms(chosen.scorer(), _waveforms(rows))

    return score


def _fit_probe(
    job: Job, trained: Corpus
) -> Callable[[Corpus, Average | None], np.ndarray]:
    from mldg_jax.experiments.probing import probe_run
    from mldg_jax.scoring.scorer import load_parameters, score_waveforms

    probe_run.train(job.config, job.workdir, trained)
    detector = load_parameters(job.workdir).scorer()
    return lambda rows, _: score_waveforms(detector, _waveforms(rows))


def _fit_lfcc(
    job: Job, trained: Corpus
) -> Callable[[Corpus, Average | None], np.ndarray]:
    from mldg_jax.experiments import lfcc_gmm

    facts = provenance.collect(trained_on(trained))
    run_folder.write_config(job.workdir, job.config, facts)
    model = lfcc_gmm.fit(
        _waveforms(trained, trained.label == BONAFIDE),
        _waveforms(trained, trained.label == SPOOF),
        components=job.config.components,
        seed=job.config.seed,
    )
    return lambda rows, _: lfcc_gmm.score(model, _waveforms(rows))


def write_scores(path: Path, rows: Corpus, scores: np.ndarray) -> None:
    """Writes a score file in the format of ASVspoof 2019, whole or not at all.

    Args:
      path: the file; its lines are ``utterance attack key score``, with attack "-" for
        bona fide.
      rows: n utterances.
      scores: (n,), higher for bona fide.
    """
    score_files.write(
        path,
        rows.utterance,
        scores,
        "asvspoof2019",
        labels=rows.label,
        attacks=rows.attack,
    )


def read_scores(path: Path, rows: Corpus) -> np.ndarray:
    """Reads a score file that ``write_scores`` wrote.

    Args:
      path: the file.
      rows: n utterances.

    Returns:
      (n,) float64, in the order of ``rows``.
    """
    table = score_files.read(path, "asvspoof2019")
    by_name = dict(zip(table.utterance.tolist(), table.score.tolist(), strict=True))
    return np.array([by_name[u] for u in rows.utterance.tolist()])
