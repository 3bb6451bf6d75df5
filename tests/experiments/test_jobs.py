"""Jobs in worker processes: real ones, of the classical baseline."""

import os
import signal

import numpy as np
import pytest

from mldg_jax.common.config import CorpusSection
from mldg_jax.common.errors import UserError
from mldg_jax.data.corpora import prepare
from mldg_jax.experiments import jobs
from tests.data import miniatures


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Twelve utterances, one split."""
    home = tmp_path_factory.mktemp("jobs")
    rows = ["path,label,attack,split"]
    for i in range(12):
        miniatures.noise(home / f"{i}.wav")
        rows.append(f"{i}.wav," + ("bonafide,-" if i % 2 else "spoof,A1") + ",train")
    (home / "m.csv").write_text("\n".join(rows))
    folder, _ = prepare.from_manifest(
        home / "m.csv", home / "data", workers=1, progress=False
    )
    return folder


class Deadly(jobs.Test):
    """A test that kills the worker which opens it."""

    def rows(self):
        os.kill(os.getpid(), signal.SIGKILL)


def job(workdir, corpus, seed, kind=jobs.Test):
    section = CorpusSection(name="m")
    config = jobs.lfcc_config(section, seed=seed, components=2)
    tests = (kind("train", corpus, "train"),)
    return jobs.Job(workdir / f"lfcc-{seed}", config, corpus, tests)


def test_two_workers_find_what_one_process_finds(corpus, tmp_path):
    """Also, a worker that dies is reported, and finished jobs stay finished."""
    alone, beside = (
        [job(tmp_path / name, corpus, seed) for seed in range(2)]
        for name in ("alone", "beside")
    )
    jobs.run("alone", alone, workers=0)
    jobs.run("beside", beside, workers=2)
    for one, other in zip(alone, beside, strict=True):
        assert one.scores(one.tests[0]).read_text() == (
            other.scores(other.tests[0]).read_text()
        )
    found = jobs.read_scores(one.scores(one.tests[0]), one.tests[0].rows())
    assert len(found) == 12 and np.isfinite(found).all()

    written = beside[0].scores(beside[0].tests[0]).stat().st_mtime_ns
    *_, last = more = [job(tmp_path / "beside", corpus, i, Deadly) for i in (2, 3)]
    with pytest.raises(UserError, match="one of the 2 worker processes died"):
        jobs.run("deadly", [*beside, *more], workers=2)
    assert beside[0].scores(beside[0].tests[0]).stat().st_mtime_ns == written
    assert not last.scores(last.tests[0]).exists()
