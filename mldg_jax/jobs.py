"""Many runs side by side: a job is a config and the split to score.

Each job trains in its own folder (or continues there), scores a split and writes
``scores_<split>.txt``; a job whose score file exists is done. Workers are processes
bound to one core each, because several single-threaded runs together do more steps a
second than one run with several threads.
"""

import functools
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from typing import Any, NamedTuple

import ml_collections
import numpy as np

from mldg_jax import checkpoint, provenance, scorefiles
from mldg_jax.data import corpus as corpora
from mldg_jax.data.corpus import BONAFIDE, SPOOF, Corpus
from mldg_jax.workers import pool


class Job(NamedTuple):
    """One run.

    Attributes:
      workdir: its folder.
      config: the run's config; the method is ``config.arm`` ("lfcc-gmm" or a detector).
      corpus: folder of the prepared corpus.
      split: the split to score.
      attacks: attacks to score beside bona fide; all when empty.
    """

    workdir: Path
    config: ml_collections.ConfigDict
    corpus: Path
    split: str
    attacks: tuple[str, ...] = ()

    @property
    def scores(self) -> Path:
        """The file the job ends with."""
        return self.workdir / f"scores_{self.split}.txt"


def run(jobs: Sequence[Job], *, workers: int, progress: Callable[[int], Any]) -> None:
    """Runs the jobs that are not done.

    Args:
      jobs: in the order of starting; put the longest first.
      workers: processes, ≥ 1.
      progress: called with the number of newly finished steps, of all jobs together.

    Raises:
      UserError: a folder holds a run of another config.
      Exception: whatever a job raises; the others are stopped.
    """
    todo = []
    for job in jobs:
        if job.scores.exists():
            checkpoint.check_config(job.workdir, job.config)
            progress(job.config.steps)
        else:
            todo.append(job)
    if not todo:
        return
    cache = Path(jobs[0].workdir).parent / "xla"
    with multiprocessing.Manager() as manager:
        steps, ranks = manager.Queue(), manager.Queue()
        for rank in range(workers):
            ranks.put(rank)
        with pool(workers, _start, (ranks, cache)) as processes:
            _watch([processes.submit(_work, j, steps) for j in todo], steps, progress)


def _watch(futures: list[Future], steps: Any, progress: Callable[[int], Any]) -> None:
    waiting = set(futures)
    while waiting:
        done, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
        while not steps.empty():
            progress(steps.get())
        for future in done:
            future.result()  # raises what the job raised


def _start(ranks: Any, cache: Path) -> None:
    """Prepares a worker, before its first computation."""
    from mldg_jax import parallel

    parallel.one_core_per_process(ranks.get())
    parallel.cache_compilations(cache)


@functools.lru_cache(maxsize=4)
def _load(folder: Path, split: str) -> Corpus:
    return corpora.load(folder, split)


def _work(job: Job, steps: Any) -> None:
    trained = _load(job.corpus, "train")
    left_out = job.config.get("episode", {}).get("without", ())
    facts = provenance.gather(trained, left_out)
    checkpoint.write_config(job.workdir, job.config, facts)
    rows = _load(job.corpus, job.split)
    if job.attacks:
        known = (rows.label == BONAFIDE) | np.isin(rows.attack, job.attacks)
        rows = rows.take(known)
    score = _score_lfcc if job.config.arm == "lfcc-gmm" else _score_detector
    write_scores(job.scores, rows, score(job, trained, rows, steps.put))


def _score_detector(
    job: Job, trained: Corpus, rows: Corpus, advance: Callable[[int], Any]
) -> np.ndarray:
    from mldg_jax import scoring, training

    done = 0

    def report(step: int) -> None:
        nonlocal done
        advance(step - done)
        done = step

    training.train(job.config, job.workdir, trained, progress=report)
    report(job.config.steps)
    waveforms = [rows.waveform(i) for i in range(len(rows.label))]
    return scoring.score_waveforms(scoring.load(job.workdir), waveforms)


def _score_lfcc(
    job: Job, trained: Corpus, rows: Corpus, advance: Callable[[int], Any]
) -> np.ndarray:
    from mldg_jax import lfcc

    def waveforms(corpus, keep):
        return [corpus.waveform(i) for i in np.flatnonzero(keep)]

    model = lfcc.fit(
        waveforms(trained, trained.label == BONAFIDE),
        waveforms(trained, trained.label == SPOOF),
        components=job.config.components,
        seed=job.config.seed,
    )
    advance(job.config.steps)
    return lfcc.score(model, waveforms(rows, rows.label >= 0))


def write_scores(path: Path, rows: Corpus, scores: np.ndarray) -> None:
    """Writes ``utterance attack key score`` lines (ASVspoof 2019), whole or not at all.

    The score is higher for bona fide; the attack of bona fide is "-".
    """
    scorefiles.write(
        path,
        rows.utterance,
        scores,
        "asvspoof2019",
        labels=rows.label,
        attacks=rows.attack,
    )


def read_scores(path: Path, rows: Corpus) -> np.ndarray:
    """Reads the scores of a corpus's rows, in their order."""
    found = scorefiles.read(path, "asvspoof2019")
    table = dict(zip(found.utterance.tolist(), found.score.tolist(), strict=True))
    return np.array([table[u] for u in rows.utterance.tolist()])
