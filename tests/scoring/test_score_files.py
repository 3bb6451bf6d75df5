"""Score files and keys of every format; the official readers' calls read ours."""

import csv

import numpy as np
import pytest

from mldg_jax import UserError
from mldg_jax.data import protocols, schema
from mldg_jax.data.corpora import official
from mldg_jax.scoring import key_files, score_files
from tests.data import miniatures

NAMES = ["LA_E_1", "LA_E_2", "LA_E_3", "LA_E_4"]
SCORES = np.array([1 / 3, -2e-17, 5.0, -7.25])
LABELS = np.array([1, 0, 0, 1])
ATTACKS = ["-", "A07", "A08", "-"]
KEYS_2019 = """\
LA_0039 LA_E_1 - - bonafide
LA_0014 LA_E_2 - A07 spoof
LA_0014 LA_E_3 - A08 spoof
LA_0040 LA_E_4 - - bonafide
"""


@pytest.mark.parametrize("format", score_files.FORMATS)
def test_written_scores_are_read_back_to_the_bit(format, tmp_path):
    path = tmp_path / "new" / "scores.txt"
    score_files.write(path, NAMES, SCORES, format, labels=LABELS, attacks=ATTACKS)
    for name in (format, "auto"):
        read_back = score_files.read(path, name)
        assert read_back.format == format
        assert read_back.utterance.tolist() == NAMES
        np.testing.assert_array_equal(read_back.score, SCORES)
    if format == "asvspoof2019":
        np.testing.assert_array_equal(read_back.label, LABELS)
        assert read_back.attack.tolist() == ATTACKS


def test_the_2019_script_reads_our_file(tmp_path):
    """The calls of tDCF_python_v2/evaluate_tDCF_asvspoof19.py."""
    path = tmp_path / "scores.txt"
    score_files.write(
        path, NAMES, SCORES, "asvspoof2019", labels=LABELS, attacks=ATTACKS
    )
    data = np.genfromtxt(path, dtype=str)
    np.testing.assert_array_equal(data[:, 0], NAMES)
    np.testing.assert_array_equal(data[:, 1], ATTACKS)
    keys = ["bonafide", "spoof", "spoof", "bonafide"]
    np.testing.assert_array_equal(data[:, 2], keys)
    np.testing.assert_array_equal(data[:, 3].astype(np.float64), SCORES)


@pytest.mark.parametrize(
    ("format", "separator", "header"),
    [("asvspoof2021", " ", None), ("asvspoof5", "\t", ["filename", "cm-score"])],
)
def test_single_separators_as_the_packages_of_2021_and_5_want_them(
    format, separator, header, tmp_path
):
    """Both use pandas.read_csv with this separator: one cell too many and they stop."""
    path = tmp_path / "scores.txt"
    score_files.write(path, NAMES, SCORES, format)
    with path.open(newline="") as file:
        rows = list(csv.reader(file, delimiter=separator))
    if header:
        assert rows.pop(0) == header
    assert [len(row) for row in rows] == [2] * 4
    assert [row[0] for row in rows] == NAMES
    assert [float(row[1]) for row in rows] == SCORES.tolist()


@pytest.mark.parametrize(
    ("text", "format"),
    [
        ("a.wav,0.5\nb.wav,nan\n", "csv"),
        ("\ufeffname,attack,score\r\na.wav,A01,0.5\r\nb.wav,A02,nan\r\n", "csv"),
        ("path\tllr\na.wav\t0.5\nb.wav\tnan\n", "csv"),
        ("filename\tspk\tcm-score\na.wav\ts\t0.5\nb.wav\tt\tnan\n", "asvspoof5"),
        ("\na.wav   0.5\n\nb.wav\tnan", "asvspoof2021"),
        ("a.wav A01 Spoof 0.5\nb.wav - bonafide NaN\n", "asvspoof2019"),
    ],
)
def test_formats_are_told_apart(text, format, tmp_path):
    path = tmp_path / "scores"
    path.write_text(text, newline="")
    read_back = score_files.read(path)
    assert read_back.format == format
    assert read_back.utterance.tolist() == ["a.wav", "b.wav"]
    np.testing.assert_array_equal(read_back.score, [0.5, np.nan])


@pytest.mark.parametrize(
    ("text", "format", "words"),
    [
        ("", "auto", "is empty"),
        ("LA_E_1\nLA_E_2\n", "auto", "does not fit any score format"),
        ("LA_E_1 0.5\nLA_E_2\n", "auto", "entry 2 is 'LA_E_2', but asvspoof2021 has 2"),
        ("LA_E_1 A07 spoof 0.5\n", "asvspoof5", "none of which is"),
        ("LA_E_1 A07 maybe 0.5\n", "asvspoof2019", "entry 1 is 'LA_E_1 A07 maybe"),
        ("LA_E_1 half\n", "asvspoof2021", "entry 1"),
        ("a,b\nx,0.5\n", "csv", "rename one in its first line"),
        ("name,score,llr\na,1,2\n", "csv", "the columns score and llr mean the same"),
        ("file,name,score\na,b,1\n", "csv", "the columns file and name"),
        ("file,score,score\na,2,1\n", "csv", "the columns score and score"),
        ('file,score\n\n"a,2\n', "csv", r"scores, line 2: "),
        ("LA_E_1 0.5\n", "asvspoof2023", "'asvspoof2023' is not a score format"),
    ],
)
def test_what_is_no_score_file_is_named(text, format, words, tmp_path):
    path = tmp_path / "scores"
    path.write_text(text)
    with pytest.raises(UserError, match=words):
        score_files.read(path, format)


def test_nothing_is_written_that_a_script_would_misread(tmp_path):
    path = tmp_path / "scores"
    for names, scores, format, words in (
        (["my clip.wav"], [1.0], "asvspoof2021", "a blank"),
        (["clip#1"], [1.0], "asvspoof5", "a #"),
        (["a", "b"], [1.0, np.nan], "csv", "score of b is nan"),
    ):
        with pytest.raises(UserError, match=words):
            score_files.write(path, names, np.array(scores), format)
    assert not list(tmp_path.iterdir())
    score_files.write(path, ["my, clip.wav"], np.array([1.0]), "csv")
    assert score_files.read(path).utterance.tolist() == ["my, clip.wav"]


LA_2021 = "LA_0009 LA_E_9332881 alaw ita_tx A07 spoof notrim eval"
DF_2021 = (
    "LA_0023 DF_E_2000011 nocodec asvspoof A14 spoof notrim progress "
    "traditional_vocoder - - - -"
)
PA_2021 = "PA_0010 PA_E_1000001 R3 M3 d4 r1 m1 s4 c4 spoof notrim eval"
V5 = "D_4461 D_0000000169 F - - - AC1 A14 spoof -"
AV = (
    "source,target1,target2,method,category,type,race,gender,path,\n"
    "id00076,-,-,real,A,RealVideo-RealAudio,African,men,00109.mp4,"
    "FakeAVCeleb/RealVideo-RealAudio/African/men/id00076\n"
    "id00076,id00166,-,rtvc,B,RealVideo-FakeAudio,African,men,00109_rtvc.mp4,"
    "FakeAVCeleb/RealVideo-FakeAudio/African/men/id00076\n"
    "id00076,id00166,3,faceswap,C,FakeVideo-RealAudio,African,men,00109_3.mp4,"
    "FakeAVCeleb/FakeVideo-RealAudio/African/men/id00076\n"
)


@pytest.mark.parametrize(
    ("text", "format", "label", "columns"),
    [
        (
            KEYS_2019,
            "ASVspoof 2019 protocol",
            [1, 0, 0, 1],
            {"speaker": "LA_0039 LA_0014 LA_0014 LA_0040", "attack": "- A07 A08 -"},
        ),
        (
            LA_2021,
            "ASVspoof 2021 LA",
            [0],
            {
                "speaker": "LA_0009",
                "codec": "alaw",
                "transmission": "ita_tx",
                "attack": "A07",
                "trim": "notrim",
                "subset": "eval",
            },
        ),
        (
            DF_2021,
            "ASVspoof 2021 DF",
            [0],
            {
                "speaker": "LA_0023",
                "codec": "nocodec",
                "source": "asvspoof",
                "attack": "A14",
                "trim": "notrim",
                "subset": "progress",
                "vocoder": "traditional_vocoder",
            },
        ),
        (
            V5.replace(" ", "\t"),
            "ASVspoof 5",
            [0],
            {"speaker": "D_4461", "gender": "F", "attack": "A14"},
        ),
        (
            "file,speaker,label\n0.wav,Alec Guinness,spoof\n1.wav,Bo,bona-fide\n",
            "table with a header",
            [0, 1],
            {"speaker": ["Alec Guinness", "Bo"]},
        ),
        (
            "filename\tcm-label\nE_1\tbonafide\nE_2\tspoof\n",
            "table with a header",
            [1, 0],
            {},
        ),
        (
            "tar_spk_anon trial_anon cm-label attack_anon codec\nE_9 E_1 spoof A3 C01",
            "table with a header",
            [0],
            {"speaker": "E_9", "attack": "A3", "codec": "C01"},
        ),
        (
            "utterance, label,attack,split\nu1, real,,dev\nu2,fake,,eval\n"
            "u3, Spoof,tts,eval\n",
            "table with a header",
            [1, 0, 0],
            {"attack": "- unknown tts", "subset": "dev eval eval"},
        ),
        (
            AV,
            "FakeAVCeleb",
            [1, 0, 1],
            {
                "attack": "- rtvc -",
                "speaker": "id00076 id00076 id00076",
                "race": "African African African",
            },
        ),
        ("u1 A01 spoof -3.5\n", "ASVspoof 2019 scores", [0], {"attack": "A01"}),
    ],
)  # fmt: skip
def test_key_files_of_every_corpus(text, format, label, columns, tmp_path):
    path = tmp_path / "keys"
    path.write_text(text)
    keys = key_files.read(path)
    assert keys.format == format
    assert keys.label.tolist() == label
    expected = {k: v.split() if isinstance(v, str) else v for k, v in columns.items()}
    assert {k: v.tolist() for k, v in keys.columns.items()} == expected


@pytest.mark.parametrize("name", sorted(set(miniatures.MAKERS) - {"fakeavceleb"}))
def test_the_builder_of_a_corpus_reads_the_same(name, tmp_path):
    mini = miniatures.MAKERS[name](tmp_path)
    keys, layout = key_files.read(mini.protocol), official.BUILDERS[name].layout
    rows, problems = protocols.read_rows(layout.format, mini.protocol.read_text(), "x")
    assert len(rows) > 4 and not problems
    assert [schema.LABELS[x] for x in keys.label] == [row.label for row in rows]
    names = [x.removesuffix(layout.format.suffix) for x in keys.utterance]
    assert names == [row.utterance for row in rows]
    if name != "in_the_wild":
        attacks = keys.columns[layout.format.attack]
        real = keys.label == schema.BONAFIDE
        assert np.where(real, "-", attacks).tolist() == [row.attack for row in rows]


def test_2021_pa_and_names_of_fakeavceleb(tmp_path):
    path = tmp_path / "keys"
    path.write_text(PA_2021)
    assert key_files.read(path).label.tolist() == [0]
    path.write_text(AV)
    first = key_files.read(path).utterance[0]
    assert first == "RealVideo-RealAudio/African/men/id00076/00109.mp4"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("LA_E_9332881\nLA_E_6866159\n", "list of ids alone is not enough"),
        ("a,b,c\n1,2,3\n", "nor a header with a column"),
        (
            KEYS_2019 + "LA_0040 LA_E_5 - - maybe\n",
            "line 5: 'maybe'; bonafide or spoof .*correct that line",
        ),
        (
            "file,label,key\na,spoof,spoof\n",
            "line 1: the columns label and key mean the",
        ),
        ("name,file,label\na,b,spoof\n", "line 1: the columns name and file"),
        ("file,label,label\na,spoof,spoof\n", "the columns label and label"),
        (KEYS_2019 + "LA_0040 LA_E_1 - - bonafide\n", r"LA_E_1: 2 times"),
        (
            AV.replace("RealVideo-FakeAudio,", "B,"),
            "line 3: 'B'; RealAudio or FakeAudio expected",
        ),
    ],
)
def test_what_is_no_key_file_is_named(text, words, tmp_path):
    path = tmp_path / "keys"
    path.write_text(text)
    with pytest.raises(UserError, match=words):
        key_files.read(path)


def test_a_manifest_is_a_key_file(tmp_path):
    """It has a path and an utterance; both are names, and the utterance counts."""
    path = tmp_path / "keys.csv"
    path.write_text("path,utterance,label,attack\na/b.wav,u1,spoof,A1\n")
    keys = key_files.read(path)
    assert keys.utterance.tolist() == ["u1"]
    assert keys.columns["path"].tolist() == ["a/b.wav"]


def test_the_eval_subset_is_the_default(tmp_path):
    path = tmp_path / "keys"
    lines = [LA_2021, *(LA_2021.replace("9332881", x) for x in ("1", "2"))]
    lines[1] = lines[1].replace("eval", "progress")
    path.write_text("\n".join(lines))
    keys = key_files.read(path)
    assert key_files.subset(keys).utterance.tolist() == ["LA_E_9332881", "LA_E_2"]
    assert key_files.subset(keys, "progress").utterance.tolist() == ["LA_E_1"]
    assert len(key_files.subset(keys, "all").label) == 3
    with pytest.raises(
        UserError, match="no subset 'hidden': the keys have the subsets eval, progress"
    ):
        key_files.subset(keys, "hidden")
    path.write_text(KEYS_2019)
    with pytest.raises(
        UserError, match="no subset 'eval': the keys have no column subset"
    ):
        key_files.subset(key_files.read(path), "eval")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("u1,0.5,1\nu2,-0.5,0\n", "which column is the score"),
        ("u1\t0.5\t1\n", "three columns of which the second may"),
        ("u1,0.5,bonafide\n", "which column is the score"),
        ("u1 bonafide 0.5\n", "three columns of which the second may"),
        ("u1 1 0.5\n", "three columns of which the second may"),
    ],
)
def test_a_label_is_never_taken_for_the_score(tmp_path, text, message):
    (tmp_path / "scores").write_text(text)
    with pytest.raises(UserError, match=message):
        score_files.read(tmp_path / "scores")


@pytest.mark.parametrize("text", ["utterance,label\nu1,1\n", "u1 1\n", "u1,0\n"])
def test_numbers_are_no_labels(tmp_path, text):
    """Half of the field has 1 for spoof: read the wrong way, all error rates are."""
    (tmp_path / "keys").write_text(text)
    with pytest.raises(UserError, match="half of the field has 1 for spoof"):
        key_files.read(tmp_path / "keys")
