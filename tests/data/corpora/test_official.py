"""The seven public corpora, built from intact and from damaged miniature archives."""

import importlib.util
import re

import numpy as np
import pytest
import soundfile

from mldg_jax.common.errors import UserError
from mldg_jax.data import audio
from mldg_jax.data.corpora import official, official_layouts, prepare
from mldg_jax.data.corpus import load_split, read_columns, split_names
from tests.data import miniatures

NAMES = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            name == "fakeavceleb" and importlib.util.find_spec("av") is None,
            reason="needs PyAV",
        ),
    )
    for name in miniatures.MAKERS
]


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.fixture
def mini(name, tmp_path, monkeypatch):
    """A miniature archive whose own counts replace the official ones."""
    made = miniatures.MAKERS[name](tmp_path / "source")
    builder = official.BUILDERS[name]
    small = builder.layout._replace(counts=made.counts)
    monkeypatch.setattr(builder, "layout", small)
    return made


def build(name, mini, tmp_path, **options):
    return prepare.build(
        name, mini.source, tmp_path / "data", workers=1, progress=False, **options
    )


def spoil(mini, change) -> None:
    """Rewrites the lines of the protocol with ``change``."""
    lines = mini.protocol.read_text().splitlines()
    mini.protocol.write_text("\n".join(change(lines)) + "\n")


def refused(name, mini, tmp_path, **options) -> tuple[str, str]:
    """Returns the error message and the report of a build that fails."""
    with pytest.raises(UserError) as refusal:
        build(name, mini, tmp_path, **options)
    assert corpus_folders(tmp_path) == []
    return str(refusal.value), (tmp_path / f"data/{name}/report.txt").read_text()


def corpus_folders(tmp_path) -> list:
    return list((tmp_path / "data").glob("**/dataset_info.json"))


def test_a_complete_source_is_built(name, mini, tmp_path):
    folder, report = build(name, mini, tmp_path)
    assert report.complete
    assert folder == tmp_path / "data" / name / "1.0.0"
    wanted = {split for group in mini.counts for split in group.split("+")}
    assert set(split_names(folder)) == wanted
    rows = load_split(folder, mini.split)
    assert len(rows.utterance) == len(rows.audio) == len(mini.recordings)
    expected = mini.counts[mini.split]
    assert rows.label.sum() == expected["bonafide"]
    assert (rows.attack[rows.label == 1] == "-").all()
    assert (rows.attack[rows.label == 0] != "-").all()
    for path, utterance, samples in zip(
        mini.recordings, rows.utterance, rows.audio, strict=True
    ):
        assert path.stem in utterance and not re.search(r"\s", utterance)
        np.testing.assert_array_equal(samples, audio.to_int16(audio.read(path)))
    columns = read_columns(folder, mini.split)
    assert all((mini.source / path).exists() for path in columns["path"])
    np.testing.assert_allclose(columns["duration"], 0.3, atol=1e-4)
    first = mini.recordings[0]
    if first.suffix != ".mp4":
        assert columns["rate"][0] == soundfile.info(first).samplerate
    assert (folder / "skipped.tsv").read_text().count("\n") == 1
    line = f"{name} {mini.split}: {sum(expected.values())} utterances expected"
    short = report.short()
    assert f"{line}, {sum(expected.values())} found; missing 0; extra 0" in short
    assert "unreadable 0" in short
    assert not (tmp_path / "data/build" / f"{name}.shards").exists()


def test_flac_files_are_kept_to_the_byte(tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    mini = miniatures.asvspoof2019_la(tmp_path / "source")
    folder, _ = build("asvspoof2019_la", mini, tmp_path, allow_incomplete=True)
    records = tfds.builder_from_directory(str(folder)).as_data_source("eval")
    for record, path in zip(records, mini.recordings, strict=True):
        assert record["audio"] == path.read_bytes()


def test_a_missing_recording(name, mini, tmp_path):
    gone = mini.recordings[1]
    gone.unlink()
    message, report = refused(name, mini, tmp_path)
    total = sum(mini.counts[mini.split].values())
    where = message.split("missing 1: ")[1].split(";")[0]
    assert f"{total} utterances expected, {total - 1} found" in message
    assert where.endswith(gone.name) and "wrong counts 1" in message
    assert "--allow-incomplete" in message and "\n\n" not in message
    assert f"  missing\t{where}\n" in report
    folder, _ = build(name, mini, tmp_path, allow_incomplete=True)
    paths = read_columns(folder, mini.split)["path"]
    assert len(paths) == total - 1 and where not in paths
    assert '"complete": false' in (folder / "corpus.json").read_text()


def test_a_wrong_count(name, mini, tmp_path):
    spoil(mini, lambda lines: lines[:-3] + lines[-2:])
    message, report = refused(name, mini, tmp_path)
    assert "wrong counts 1: " in message and "extra 1: " in message
    if name in ("asvspoof2021_la", "asvspoof2021_df"):
        assert "1: " in message and "has no key" in message
    extra = message.split("extra 1: ")[1].split(";")[0]
    assert f"  extra\t{extra}\n" in report


def test_an_utterance_listed_twice(name, mini, tmp_path):
    spoil(mini, lambda lines: [*lines, lines[-1]])
    if name == "fakeavceleb":  # its official table does that
        _, report = build(name, mini, tmp_path)
        assert any("listed more than once" in note for note in report.notes)
        return
    message, _ = refused(name, mini, tmp_path)
    assert "protocol problems 1: " in message and "listed more than once" in message
    folder, _ = build(name, mini, tmp_path, allow_incomplete=True)
    assert len(load_split(folder, mini.split).audio) == len(mini.recordings)


def test_an_unknown_key(name, mini, tmp_path):
    words = {"in_the_wild": "bona-fide", "fakeavceleb": "RealVideo-RealAudio"}
    word = words.get(name, " spoof")

    def change(lines):
        row = max(i for i, line in enumerate(lines[:-2]) if word in line)
        return [*lines[:row], lines[row].replace(word, " spoofy"), *lines[row + 1 :]]

    spoil(mini, change)
    message, report = refused(name, mini, tmp_path)
    assert "protocol problems" in message and "spoofy" in message
    assert f"problem\t{mini.protocol.name}, line " in report


def test_corrupt_recordings_are_named(name, mini, tmp_path):
    bad = mini.recordings[2]
    bad.write_bytes(bad.read_bytes()[:200])
    # A WAV still has some samples then.
    kind = "truncated" if bad.suffix == ".wav" else "unreadable"
    message, report = refused(name, mini, tmp_path)
    assert f"{kind} 1: " in message and bad.name in message
    assert f"1 of {len(mini.recordings)} recordings" in message
    assert f"  {kind}\t{bad.relative_to(mini.source.resolve())}\t" in report
    folder, said = build(name, mini, tmp_path, most_skipped=0.5)
    assert f"{kind} 1: " in said.short()
    assert len(load_split(folder, mini.split).audio) == len(mini.recordings) - 1
    header, line = (folder / "skipped.tsv").read_text().splitlines()
    assert header.split("\t") == ["split", "utterance", "path", "reason", "detail"]
    split, _, path, reason, _ = line.split("\t")
    assert (split, reason) == (mini.split, kind) and path.endswith(bad.name)


def test_a_mended_recording_is_read_again(tmp_path, monkeypatch):
    """Its shard was complete when the build failed; the other shards are kept."""
    mini = miniatures.in_the_wild(tmp_path / "source")
    builder = official.InTheWild
    small = builder.layout._replace(counts=mini.counts)
    monkeypatch.setattr(builder, "layout", small)
    good = mini.recordings[1].read_bytes()
    mini.recordings[1].write_bytes(b"")
    refused("in_the_wild", mini, tmp_path, shard_rows=2)
    kept = sorted((tmp_path / "data/build").glob("**/*-of-00003"))
    times = [path.stat().st_mtime_ns for path in kept]
    assert len(kept) == 3
    mini.recordings[1].write_bytes(good)
    folder, report = build("in_the_wild", mini, tmp_path, shard_rows=2)
    assert report.complete
    made = sorted(folder.glob("*-of-00003"))
    same = [a == b.stat().st_mtime_ns for a, b in zip(times, made, strict=True)]
    assert same == [True, False, True]


@pytest.mark.parametrize("track", ["LA", "DF"])
@pytest.mark.parametrize("where", ["inside", "beside", "as unpacked"])
def test_keys_of_2021_may_lie_inside_or_beside(track, where, tmp_path, monkeypatch):
    name = f"asvspoof2021_{track.lower()}"
    mini = miniatures.MAKERS[name](tmp_path)
    builder = official.BUILDERS[name]
    small = builder.layout._replace(counts=mini.counts)
    monkeypatch.setattr(builder, "layout", small)
    source = tmp_path / f"ASVspoof2021_{track}_eval"
    home = {
        "inside": source,
        "beside": tmp_path,
        "as unpacked": tmp_path / f"{track}-keys-full",
    }[where]
    home.mkdir(exist_ok=True)
    (tmp_path / "keys").rename(home / "keys")
    _, report = build(name, mini._replace(source=source), tmp_path)
    assert report.complete
    (home / "keys").rename(tmp_path / "lost")
    with pytest.raises(UserError, match=f"no keys/{track}/CM/trial_metadata.txt") as no:
        build(name, mini._replace(source=source), tmp_path / "again")
    assert f"{track}-keys-full.tar.gz" in str(no.value)


def test_parts_of_2021_df_may_stay_apart(tmp_path, monkeypatch):
    mini = miniatures.asvspoof2021_df(tmp_path / "source")
    for i, path in enumerate(mini.recordings):
        part = mini.source / f"ASVspoof2021_DF_eval_part0{i % 4}"
        place = part / path.relative_to(mini.source)
        place.parent.mkdir(parents=True, exist_ok=True)
        path.rename(place)
    listing = official.ASVspoof2021DF(data_dir=str(tmp_path)).scan(mini.source)
    assert not listing.missing and len(listing.rows) == 7
    assert not any(listing.extra.values())


def test_asvspoof5_as_other_tools_arrange_it(tmp_path):
    mini = miniatures.asvspoof5(tmp_path / "source")
    for split, folder in (
        ("train", "flac_T"),
        ("dev", "flac_D"),
        ("eval", "flac_E_eval"),
    ):
        (mini.source / f"ASVspoof5_{split}").mkdir()
        old = mini.source / folder
        old.rename(mini.source / f"ASVspoof5_{split}" / folder)
    protocols = mini.source / "ASVspoof5_protocols"
    protocols.mkdir()
    for path in mini.source.glob("*.tsv"):
        path.rename(protocols / path.name)
    builder = official.ASVspoof5(data_dir=str(tmp_path))
    listing = builder.scan(mini.source)
    assert not listing.missing and len(listing.rows) == 18 and not listing.problems


def test_official_counts():
    """Totals are those that the organisers published."""

    def total(layout, split):
        return sum(layout.counts[split].values())

    la, df, five = (
        official_layouts.ASVSPOOF2021_LA,
        official_layouts.ASVSPOOF2021_DF,
        official_layouts.ASVSPOOF5,
    )
    assert [
        total(official_layouts.ASVSPOOF2019_LA, x) for x in ("train", "dev", "eval")
    ] == [*(25_380, 24_844, 71_237)]
    assert sum(total(la, split) for split in la.counts) == 181_566
    assert sum(total(df, split) for split in df.counts) == 611_829
    assert [total(five, x) for x in five.counts] == [182_357, 140_950, 680_774]
    assert total(official_layouts.IN_THE_WILD, "eval") == 31_779
    assert total(official_layouts.FAKEAVCELEB, "eval") == 21_544


def test_a_folder_of_something_else(tmp_path):
    for name, builder in official.BUILDERS.items():
        if name != "manifest":
            with pytest.raises(UserError) as refusal:
                prepare.build(name, tmp_path, tmp_path / "data")
            assert builder.layout.unpack in str(refusal.value)
    with pytest.raises(UserError, match="no corpus 'nonesuch'"):
        prepare.build("nonesuch", tmp_path, tmp_path)


def test_a_corpus_that_is_there_stays(tmp_path):
    mini = miniatures.in_the_wild(tmp_path / "source")
    first, _ = build("in_the_wild", mini, tmp_path, allow_incomplete=True)
    before = (first / "corpus.json").stat().st_mtime_ns
    again, report = build("in_the_wild", mini, tmp_path)
    assert again == first and report is None
    assert (first / "corpus.json").stat().st_mtime_ns == before


def test_one_track_is_missing_pyav(tmp_path, monkeypatch):
    pytest.importorskip("av")
    mini = miniatures.fakeavceleb(tmp_path / "source")
    found = importlib.util.find_spec

    def without_av(name, package=None):
        return None if name == "av" else found(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", without_av)
    with pytest.raises(UserError, match=r"need PyAV: pip install"):
        build("fakeavceleb", mini, tmp_path, allow_incomplete=True)


def test_partialspoof_has_segment_labels(tmp_path, monkeypatch):
    mini = miniatures.partialspoof(tmp_path / "source")
    builder = official.BUILDERS["partialspoof"]
    small = builder.layout._replace(counts=mini.counts)
    monkeypatch.setattr(builder, "layout", small)
    folder, _ = build("partialspoof", mini, tmp_path)
    rows = load_split(folder, "eval")
    assert rows.segments is not None
    assert rows.segments.tolist() == [
        *("-", "0.04-0.1 0.2-0.24", "0-0.3", "-", "-"),
    ]
    assert rows.attack.tolist() == ["-", "CON", "CON", "-", "-"]
    assert rows.spoofed_parts(1) == ((0.04, 0.1), (0.2, 0.24))
    assert rows.take(np.array([2])).spoofed_parts(0) == ((0.0, 0.3),)


def test_partialspoof_without_or_with_wrong_segment_labels(tmp_path, monkeypatch):
    mini = miniatures.partialspoof(tmp_path / "source")
    builder = official.BUILDERS["partialspoof"]
    small = builder.layout._replace(counts=mini.counts)
    monkeypatch.setattr(builder, "layout", small)
    home = mini.source / "database/segment_labels"
    labels = np.load(home / "eval_seglab_0.02.npy", allow_pickle=True).item()
    labels["LA_E_1000137"][3] = "0"
    del labels["CON_E_0000001"]
    np.save(home / "eval_seglab_0.02.npy", labels)
    (home / "dev_seglab_0.02.npy").unlink()
    _, report = refused("partialspoof", mini, tmp_path)
    assert "LA_E_1000137 is bonafide, but its segment labels say otherwise" in report
    assert "CON_E_0000001 has no segment labels" in report
    assert "segment_labels/dev_seglab_0.02.npy is missing" in report
