"""Renders the small corpus twice: the samples must be the same."""

import os
from pathlib import Path

import numpy as np
import pytest

from mldg_jax.data.corpora import debspoof
from mldg_jax.data.corpora.debspoof import dataset
from mldg_jax.data.corpora.debspoof.clip_plan import make_plan
from mldg_jax.data.corpora.debspoof.render import render
from mldg_jax.data.corpora.debspoof.voices import catalogue


@pytest.mark.full
def test_clips_do_not_depend_on_load_memory_or_user(tmp_path, monkeypatch):
    """Builds in data/, then renders with more workers, dirty memory and a new HOME."""
    data = Path("data").absolute()
    debspoof.build("small", data)
    cache = data / "cache"
    plan = make_plan(catalogue(cache), "small")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MALLOC_PERTURB_", "85")  # glibc fills what it hands out
    workers = 4 * len(os.sched_getaffinity(0))
    clips, _ = render(plan, cache, tmp_path, workers=workers)
    first = dataset.build_folder(data, "small") / "clips"
    different = [
        clip.utterance
        for clip in clips
        if not np.array_equal(
            dataset.read_clip(first / f"{clip.utterance}.flac"),
            dataset.read_clip(tmp_path / "clips" / f"{clip.utterance}.flac"),
        )
    ]
    assert len(clips) == 1486
    assert not different
