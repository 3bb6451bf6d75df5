"""Building a corpus from a table."""

import csv
import hashlib
import json
import sys

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from mldg_jax.common.errors import UserError
from mldg_jax.data import episodes
from mldg_jax.data.corpora import completeness, manifest, prepare
from mldg_jax.data.corpus import load_split, read_columns, split_names
from tests.data import miniatures

FULL = {
    "utterance": ["one", "two", "three", "four"],
    "path": ["clips/1.wav", "clips/2.flac", "clips/3.wav", "clips/4.ogg"],
    "label": ["bonafide", "spoof", "Real", "fake"],
    "attack": ["-", "vits", "", "world copy"],
    "speaker": ["anna", "anna", "béla k", ""],
    "split": ["train", "train", "test", "train"],
    "codec": ["opus", "-", "", "mp3"],
    "language": ["hu", "hu", "hu", ""],
    "comment": ["kept", "nowhere", "x", "y"],
}
SHORT = {name: FULL[name] for name in ("path", "label", "attack")}


def write(path, columns):
    for name in columns["path"]:
        miniatures.noise(path.parent / name, rate=22_050)
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.table(columns), path)
        return path
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def build(path, data_dir, **options):
    return prepare.from_manifest(path, data_dir, workers=1, progress=False, **options)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_every_column_arrives(tmp_path, suffix):
    table = write(tmp_path / f"my corpus{suffix}", FULL)
    folder, report = build(table, tmp_path / "data")
    assert report.complete
    assert folder == tmp_path / "data/manifest/my_corpus/1.0.0"
    assert split_names(folder) == ["test", "train"]
    columns = read_columns(folder, "train")
    assert columns["utterance"].tolist() == ["one", "two", "four"]
    assert columns["label"].tolist() == [1, 0, 0]
    assert columns["attack"].tolist() == ["-", "vits", "world_copy"]
    assert columns["speaker"].tolist() == ["anna", "anna", "-"]
    assert columns["codec"].tolist() == ["opus", "-", "mp3"]
    assert columns["language"].tolist() == ["hu", "hu", "-"]
    assert columns["path"].tolist() == ["clips/1.wav", "clips/2.flac", "clips/4.ogg"]
    assert columns["rate"].tolist() == [22_050] * 3
    assert read_columns(folder, "test")["speaker"].tolist() == ["béla_k"]
    rows = load_split(folder, "train")
    assert [len(samples) for samples in rows.audio] == [4_800] * 3
    assert episodes.group(rows).attacks == ("vits", "world_copy")


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_three_columns_are_enough(tmp_path, suffix):
    folder, _ = build(write(tmp_path / f"m{suffix}", SHORT), tmp_path / "data")
    rows = load_split(folder, "eval")
    assert rows.utterance.tolist() == ["clips/1", "clips/2", "clips/3", "clips/4"]
    assert rows.attack.tolist() == ["-", "vits", "-", "world_copy"]
    assert set(rows.speaker) == {"-"}


def test_absolute_paths_and_capital_names(tmp_path):
    columns = {name.upper(): values for name, values in SHORT.items()}
    columns["PATH"] = [str(tmp_path / name) for name in SHORT["path"]]
    columns["ATTACK"] = [""] * 4
    for name in SHORT["path"]:
        miniatures.noise(tmp_path / name)
    path = tmp_path / "m.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    folder, _ = build(path, tmp_path / "data")
    rows = load_split(folder, "eval")
    assert rows.attack.tolist() == ["-", "unknown", "-", "unknown"]
    with pytest.raises(UserError, match="at least 2 attacks"):
        episodes.group(rows)


def test_a_missing_recording_is_refused_or_left_out(tmp_path):
    table = write(tmp_path / "m.csv", SHORT)
    (tmp_path / "clips/3.wav").unlink()
    words = "manifest/m eval: 4 utterances listed, 3 found; missing 1: clips/3.wav"
    with pytest.raises(UserError, match=words):
        build(table, tmp_path / "data")
    folder, _ = build(table, tmp_path / "data", allow_incomplete=True)
    assert len(load_split(folder, "eval").audio) == 3


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("label", "1", "line 3: label '1'; one of bonafide"),
        ("label", "", "line 3: label ''"),
        ("path", "", "line 3: no path"),
        ("path", "clips/1.wav", "line 3: clips/1 is listed twice"),
        ("split", "all", "line 3: split 'all'"),
        ("split", "a/b", "line 3: split 'a/b'"),
        ("split", "", "m.csv, line 3: no split"),
        ("split", "Eval", "m.csv: the splits Eval and eval differ only in case"),
        ("attack", "nan", "m.csv, line 3: attack 'nan'; a name expected"),
        ("attack", "real", "m.csv, line 3: spoof with the attack 'real'; write the"),
        ("label", "real", "m.csv, line 3: bona fide with the attack 'vits'; write - "),
        ("attack", "None", "m.csv, line 3: attack 'None'; a name expected"),
        ("attack", "NULL", "m.csv, line 3: attack 'NULL'; a name expected"),
    ],
)
def test_bad_lines_are_named(tmp_path, column, value, words):
    columns = {**SHORT, "split": ["eval"] * 4}
    table = write(tmp_path / "m.csv", columns)
    text = {name: list(values) for name, values in columns.items()}
    text[column][1] = value
    with open(table, "w", newline="") as file:
        csv.writer(file).writerows([text, *zip(*text.values(), strict=True)])
    with pytest.raises(UserError) as refusal:
        build(table, tmp_path / "data")
    assert words in str(refusal.value)
    assert words in (tmp_path / "data/manifest/m/report.txt").read_text()


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("m.csv", "path,label\na.wav,spoof\n", "no column attack; it has path, label"),
        ("m.csv", "", "no column path or label or attack; it has none"),
        ("m.csv", "path,label,attack\n", "no utterance in it"),
        ("m.csv", "path,label,attack\n\xff", None),
        (
            "m.csv",
            "path;label;attack\na;spoof;x\n",
            "semicolons, and must",
        ),
        ("m.csv", "path;label;attack;note\na,b;spoof;x;1,5\n", "by semicolons"),
        ("m.tsv", "path;label;attack\na;spoof;x\n", "separated by semicolons"),
        ("m.json", "{}", "a .csv, .tsv or .parquet file, not '.json'"),
        ("m.parquet", "no parquet", "cannot be read as Parquet"),
        (None, None, "there is no such file"),
        (".", None, "is a folder. --source is a CSV, TSV or Parquet file"),
    ],
)
def test_bad_tables_are_named(tmp_path, name, text, words):
    path = tmp_path / (name or "none.csv")
    if text is not None:
        path.write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=words or "not UTF-8 text"):
        manifest.scan(path)


@pytest.mark.parametrize("attack", ["", "-"])
def test_spoof_without_an_attack_is_counted(attack, tmp_path):
    columns = {**SHORT, "attack": ["-", attack, "bonafide", attack]}
    _, report = build(write(tmp_path / "m.csv", columns), tmp_path / "data")
    assert report is not None
    unknown, splits = report.remarks
    assert "2 spoof utterances without an attack are taken as one" in unknown
    assert "all utterances are in split eval and none in train" in splits
    assert report.short().endswith(f"{unknown}\n{splits}")


def test_a_table_to_train_on_has_no_remark(tmp_path):
    assert manifest.scan(write(tmp_path / "m.csv", FULL)).remarks == []


def test_training_without_a_training_split_names_the_fix(tmp_path):
    folder, _ = build(write(tmp_path / "m.csv", SHORT), tmp_path / "data")
    with pytest.raises(UserError, match=r"it has eval\. .* a column split with train"):
        load_split(folder, "train")


def test_m4a_needs_pyav(tmp_path, monkeypatch):
    pytest.importorskip("av")
    columns = {name: values[:2] for name, values in SHORT.items()}
    columns["path"] = ["1.m4a", "2.m4a"]
    for name in columns["path"]:
        miniatures.sound_track(
            tmp_path / name, miniatures.noise(tmp_path / "x.wav"), 16_000
        )
    table = tmp_path / "m.csv"
    table.write_text("path,label,attack\n1.m4a,real,\n2.m4a,fake,tts\n")
    folder, _ = build(table, tmp_path / "data")
    samples = load_split(folder, "eval").audio[0]
    assert samples.dtype == np.int16 and len(samples) == 4_800
    assert "av" in sys.modules


HEADER = "path\tlabel\tattack\tspeaker\ttranscript\n"


def test_every_line_of_a_table_is_accounted_for(tmp_path):
    """Quotes mean nothing in a TSV, and lines end at newlines alone."""
    for name in "abcde":
        (tmp_path / f"{name}.wav").touch()
    table = tmp_path / "t.tsv"
    table.write_text(
        HEADER
        + 'a.wav\tspoof\tx\ts1\t"Yes", she said\n'
        + 'b.wav\tbonafide\t-\ts1\t"a quote that never ends\n'
        + "c.wav\tbonafide\t-\ts2\tline\u2028and\x85and\x0cend\r\n"
        + "\n"
        + "d.wav\tspoof\ty\n"
        + 'e.wav\tspoof\ty\ts3\tfive "5" in. tape"\n',
        newline="",
    )
    found = manifest.scan(table)
    assert [(row.path, row.label) for row in found.rows] == [
        ("a.wav", "spoof"), ("b.wav", "bonafide"), ("c.wav", "bonafide"),
        ("e.wav", "spoof"),
    ]  # fmt: skip
    assert found.problems == ["t.tsv, line 6: 3 cells; 5 expected, as in the header"]


def test_a_quote_that_never_ends_swallows_no_lines_of_a_csv(tmp_path):
    (tmp_path / "t.csv").write_text(
        'path,label,attack\na.wav,spoof,"x\nb.wav,spoof,y\n'
    )
    with pytest.raises(UserError, match=r"t.csv, line 2: unexpected end of data"):
        manifest.scan(tmp_path / "t.csv")


def test_a_link_into_a_cache_counts_where_it_is(tmp_path):
    """Hugging Face's cache: snapshots/REVISION/NAME → ../../blobs/HASH."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "abc"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    for name, blob in (("t.csv", "0f"), ("a.wav", "1e")):
        (blobs / blob).write_text("path,label,attack\na.wav,spoof,x\n")
        (snapshot / name).symlink_to(f"../../blobs/{blob}")
    assert [row.path for row in manifest.scan(snapshot / "t.csv").rows] == ["a.wav"]


def test_two_columns_of_one_name_are_refused(tmp_path):
    (tmp_path / "t.csv").write_text("path,label,attack,Label\na.wav,spoof,x,real\n")
    with pytest.raises(UserError, match="a column is there twice"):
        manifest.scan(tmp_path / "t.csv")


def test_an_edited_table_is_no_silent_success(tmp_path):
    table, data = write(tmp_path / "m.csv", SHORT), tmp_path / "data"
    folder, _ = build(table, data)
    summary = json.loads((folder / "corpus.json").read_text())
    assert summary["source_sha256"] == hashlib.sha256(table.read_bytes()).hexdigest()
    assert build(table, data) == (folder, None)
    table.write_text(table.read_text().replace("vits", "hifigan"))
    with pytest.raises(UserError, match=rf"{folder} was built from another table"):
        build(table, data)
    del summary["source_sha256"]  # a corpus of an older version
    (folder / "corpus.json").write_text(json.dumps(summary))
    assert build(table, data) == (folder, None)


def test_a_subset_is_a_split_and_unused_columns_are_named(tmp_path):
    for name in "abc":
        (tmp_path / f"{name}.wav").touch()
    table = tmp_path / "t.csv"
    text = (
        "path,label,attack,subset,set,comment\na.wav,spoof,a0,train,1,x\n"
        "b.wav,spoof,A0,dev,1,x\nc.wav,real,nan,dev,1,x\n"
    )
    table.write_text(text)
    found = manifest.scan(table)
    assert [row.split for row in found.rows] == ["train", "dev", "dev"]
    assert [row.attack for row in found.rows] == ["a0", "A0", "-"]
    assert not found.problems
    unused, case = found.notes
    assert unused == "t.csv: columns not used: set, comment"
    assert "t.csv: the attacks A0 and a0 differ only in case" in case
    assert unused in completeness.compare("manifest", found, {}).short()
    table.write_text(text.replace(",set,", ",split,"))
    with pytest.raises(UserError, match="subset and split mean the same"):
        manifest.scan(table)


LABELLED = {
    **FULL,
    "split": ["eval"] * 4,
    "segments": ["", "0.1-0.2 0.25-0.3", "-", "all"],
}


def test_segment_labels_arrive(tmp_path):
    plain, _ = build(write(tmp_path / "plain.csv", LABELLED | {"segments": [""] * 4}),
                     tmp_path / "data")  # fmt: skip
    folder, _ = build(write(tmp_path / "m.csv", LABELLED), tmp_path / "data")
    rows = load_split(folder, "eval")
    assert rows.segments is not None
    assert rows.segments.tolist() == ["-", "0.1-0.2 0.25-0.3", "-", "all"]
    parts = [rows.spoofed_parts(i) for i in range(4)]
    assert parts == [(), ((0.1, 0.2), (0.25, 0.3)), (), ((0.0, np.inf),)]
    digests = [json.loads((x / "corpus.json").read_text())["corpus_sha256"]
               for x in (plain, folder)]  # fmt: skip
    assert digests[0] != digests[1]  # the fingerprint covers the labels


HASH = "28370361c10d70fda496fdfda49c03bc99ca85b07fdf0886d2b707f12222cdba"


def test_a_corpus_without_segment_labels_is_as_before(tmp_path):
    """The hash is that of the version before there were segment labels."""
    folder, _ = build(write(tmp_path / "m.csv", FULL), tmp_path / "data")
    assert "segments" not in read_columns(folder, "train")
    rows = load_split(folder, "train")
    assert rows.segments is None
    assert [rows.spoofed_parts(i) for i in range(3)] == [
        (),
        ((0.0, np.inf),),
        ((0.0, np.inf),),
    ]
    summary = json.loads((folder / "corpus.json").read_text())
    assert summary["corpus_sha256"] == HASH


def test_segment_labels_in_a_file_of_their_own(tmp_path):
    table = write(tmp_path / "m.csv", FULL)
    labels = tmp_path / "m.rttm"
    labels.write_text(
        "SPEAKER two 1 0.1 0.1 <NA> <NA> spoof <NA> <NA>\n"
        "SPEAKER 4 1 0 0.3 <NA> <NA> spoof <NA> <NA>\n"  # its recording's name
    )
    folder, _ = build(table, tmp_path / "data", segments=labels)
    rows = load_split(folder, "train")
    assert rows.segments is not None
    assert rows.segments.tolist() == ["-", "0.1-0.2", "0-0.3"]
    assert build(table, tmp_path / "data", segments=labels)[1] is None  # is there
    with pytest.raises(UserError, match="other segment labels"):
        build(table, tmp_path / "data")


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (["0-0.1", "all", "", "all"], "bona fide with spoofed segments"),
        (["", "-", "", "all"], "spoof without a spoofed segment"),
        (["", "0.3", "", "all"], "'0.3' is not START-END"),
        (["", "100-4800", "", "all"], "check that they are in seconds"),
    ],
)
def test_wrong_segment_labels_are_refused(tmp_path, cells, words):
    table = write(tmp_path / "m.csv", LABELLED | {"segments": cells})
    with pytest.raises(UserError, match=words):
        build(table, tmp_path / "data")


def test_spoof_without_segment_labels_is_pointed_out(tmp_path):
    table = write(tmp_path / "m.csv", LABELLED | {"segments": ["", "0-0.1", "", ""]})
    folder, report = build(table, tmp_path / "data")
    assert "1 spoof utterances have no segment labels" in report.short()
    assert load_split(folder, "eval").spoofed_parts(3) is None
