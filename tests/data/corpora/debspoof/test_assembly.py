"""Rendering and writing a small synthetic corpus."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from mldg_jax.common.errors import UserError
from mldg_jax.data import audio
from mldg_jax.data.corpora.debspoof import assembly, counts, dataset, neural, render
from mldg_jax.data.corpora.debspoof.clip import Clip, Plan
from mldg_jax.data.corpora.debspoof.voices import Recording
from mldg_jax.data.corpus import load_split, read_columns

RATE = 16_000


@pytest.fixture
def tiny(tmp_path, vowel):
    """A cache of six recordings (one too short) and a plan with quotas of 3 + 9."""
    rows = []
    for i in range(6):
        path = tmp_path / "cache" / "x" / "pkg" / f"{i}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        length = 0.5 if i == 1 else 2.0 + 0.1 * i
        soundfile.write(path, vowel[: int(length * RATE)], RATE)
        rows.append(
            Recording(
                *("v", "fr", "f", f"x/pkg/{i}.wav", "un texte", None, None),
                *("pkg", "CC0", length),
            )
        )
    clips = []
    for split in dataset.SPLITS:
        for kind in ("-", "phase_voc"):
            for i, row in enumerate(rows):
                label = "bonafide" if kind == "-" else "spoof"
                cell = f"{split}/bonafide/v" if kind == "-" else f"{split}/{kind}"
                clips.append(
                    Clip(
                        *(f"{split}_{label}_{i}", split, label, kind, "v", "fr"),
                        *("un texte", "pkg", "CC0", cell),
                        family="-" if kind == "-" else "phase",
                        fold=i % 4,
                        recording=row,
                    )
                )
    # With a single speaker, the cap of a tenth leaves one bona fide utterance
    quotas = {clip.cell: 3 if clip.label == "spoof" else 1 for clip in clips}
    return Plan("small", tuple(clips), quotas), tmp_path


class InProcess:
    """Replaces the process pool, which takes seconds to start."""

    def __init__(self, workers):
        del workers

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def submit(self, function, *arguments):
        from concurrent.futures import Future

        future = Future()
        future.set_result(function(*arguments))
        return future


@pytest.fixture
def fast(monkeypatch):
    monkeypatch.setattr(render, "pool", InProcess)
    monkeypatch.setattr(neural, "prepare_kokoro", lambda cache: cache)


def run(plan, folder):
    build = dataset.build_folder(folder, "small")
    clips, _ = render.render(plan, folder / "cache", build, workers=1, progress=False)
    dataset.write_rows(build, [assembly.row(clip) for clip in clips])
    return clips, dataset.corpus_hash(dataset.prepare(folder, "small"))


def test_round_trip(tiny, fast):
    plan, folder = tiny
    clips, _ = run(plan, folder)
    assert len(clips) == 3 + 9
    # Recording 1 is too short, so the next candidate replaces it
    names = [clip.utterance for clip in clips if clip.cell == "train/phase_voc"]
    assert names == ["train_spoof_0", "train_spoof_2", "train_spoof_3"]
    failure = dataset.build_folder(folder, "small") / "clips/train_spoof_1.failed"
    assert failure.read_text() == "less than 1.3 s of speech"
    target = dataset.corpus_folder(folder, "small")
    assert list(target.glob("*.array_record*"))
    data = dataset.DebSpoof(config="small", data_dir=str(folder))
    examples = list(data.as_data_source(split="train"))
    expected = [clip for clip in clips if clip.split == "train"]
    assert len(examples) == len(expected)
    for item, clip in zip(examples, expected, strict=True):
        path = dataset.build_folder(folder, "small") / f"clips/{clip.utterance}.flac"
        assert item["utterance"].decode() == clip.utterance
        assert item["label"] == (clip.label == "bonafide")
        assert item["codec"].decode() == "g722"
        samples = audio.from_flac(item["audio"])
        np.testing.assert_array_equal(samples, dataset.read_clip(path))
        assert item["audio"] == path.read_bytes()
        assert item["duration"] == pytest.approx(len(samples) / RATE)
        assert item["licence"].decode() == "CC0"
        assert item["family"].decode() == clip.family
        assert item["fold"].decode() == str(clip.fold)
    columns = read_columns(target, "train")
    assert list(columns["fold"]) == [clip.fold for clip in expected]
    assert list(columns["family"]) == [clip.family for clip in expected]
    rows = load_split(target, "train")
    assert list(rows.utterance) == [clip.utterance for clip in expected]
    np.testing.assert_array_equal(rows.audio[-1], samples)


def test_resume_gives_the_same_hash(tiny, fast):
    plan, folder = tiny
    _, first = run(plan, folder)
    build = dataset.build_folder(folder, "small")
    flacs = sorted((build / "clips").glob("*.flac"))
    times = {path.name: path.stat().st_mtime_ns for path in flacs}
    for path in flacs[::2]:
        path.unlink()
    stale = dataset.corpus_folder(folder, "small").parent / "incomplete.X_1.0.0"
    stale.mkdir()  # left by a killed run
    _, second = run(plan, folder)
    assert second == first
    untouched = {path.name for path in flacs[1::2]}
    assert not stale.exists()
    for path in (build / "clips").glob("*.flac"):
        same = path.stat().st_mtime_ns == times[path.name]
        assert same == (path.name in untouched)


def test_another_plan_forgets_the_clips(tiny, fast):
    plan, folder = tiny
    run(plan, folder)
    clips = dataset.build_folder(folder, "small") / "clips"
    marked = clips / "train_bonafide_0.flac"
    before = marked.stat().st_mtime_ns
    changed = tuple(replace(clip, longest=1.5) for clip in plan.clips)
    build = dataset.build_folder(folder, "small")
    other = Plan("small", changed, plan.quotas)
    render.render(other, folder / "cache", build, workers=1, progress=False)
    assert marked.stat().st_mtime_ns != before


def test_broken_synthesiser_is_named(tiny, fast):
    plan, folder = tiny
    broken = tuple(
        replace(clip, attack="nonesuch") if clip.label == "spoof" else clip
        for clip in plan.clips
    )
    build = dataset.build_folder(folder, "small")
    with pytest.raises(UserError, match=r"Only 0 of 3.*nonesuch"):
        render.render(
            Plan("small", broken, plan.quotas),
            *(folder / "cache", build),
            workers=1,
            progress=False,
        )


def test_needed_replaces_failures_only(tiny):
    plan, _ = tiny
    first = [c.utterance for c in render.needed(plan, {}) if c.cell == "dev/phase_voc"]
    assert first == ["dev_spoof_0", "dev_spoof_1", "dev_spoof_2"]
    state = {"dev_spoof_0": True, "dev_spoof_1": False, "dev_spoof_2": True}
    then = [
        c.utterance for c in render.needed(plan, state) if c.cell == "dev/phase_voc"
    ]
    assert then == ["dev_spoof_3"]


def test_festival_clips_share_a_process(tiny):
    plan, _ = tiny
    clips = [
        replace(clip, attack="fest_hts", voice="v", recording=None)
        for clip in plan.clips[:12]
    ]
    assert sorted(len(task) for task in render.batches(clips)) == [4, 8]
    assert sorted(len(task) for task in render.batches(plan.clips)) == [1] * 36


def test_build_is_skipped_when_done(tmp_path):
    target = dataset.corpus_folder(tmp_path, "small")
    target.mkdir(parents=True)
    (target / "corpus.json").write_text("{}")
    assert assembly.build("small", tmp_path) == (target, None)


def test_unknown_size(tmp_path):
    with pytest.raises(UserError, match="'huge'"):
        assembly.build("huge", tmp_path)


def test_attribution_names_every_package(tiny):
    plan, _ = tiny
    spoken = replace(plan.clips[-1], recording=None, package="fillets-ng-data")
    versions = {"pkg": "1.0-2", "hibari-tts": "0.2.1"}
    text = assembly.attribution([*plan.clips, spoken], versions, ["hibari-tts"])
    assert (
        "| pkg | 1.0-2 | CC0 | 18 bona fide utterances, 18 re-synthesised utterances |"
    ) in text
    assert "| fillets-ng-data | ? | GPL-2 | texts of 1 synthesised utterances |" in text
    assert "- hibari-tts 0.2.1" in text


def test_counts_by_attack_language_voice_and_fold(tiny):
    plan, _ = tiny
    clips = [clip for clip in plan.clips if clip.split == "train"]
    numbers = counts.clip_counts(clips)
    assert numbers["split_attack"] == {"train/bonafide": 6, "train/phase_voc": 6}
    assert numbers["split_label_fold"]["train/spoof/0"] == 2
    attacks, languages, voices = counts.tables(clips)
    assert "phase_voc  phase       6    -     -" in attacks
    assert "6 (100)" in languages
    assert "v            fr         train     0         2       6" in voices
    assert "train 2 + 2, 2 + 2, 1 + 1, 1 + 1" in voices


def test_no_tensorflow():
    program = (
        "import sys, mldg_jax.data.corpora.debspoof.dataset; "
        "sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
