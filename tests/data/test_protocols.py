"""Protocol lines in the official syntax, and lines that cannot be used."""

import pytest

from mldg_jax.data import protocols


def test_asvspoof2019():
    text = "LA_0079 LA_T_1138215 - - bonafide\nLA_0081 LA_T_3727749 - A01 spoof\n"
    (real, fake), problems = protocols.read_rows(protocols.ASVSPOOF2019, text, "train")
    assert not problems
    assert real == (
        *("LA_T_1138215", "LA_T_1138215.flac", "bonafide", "-", "LA_0079", "train"),
        *("-", "en", (), ""),
    )
    assert (fake.label, fake.attack, fake.speaker) == ("spoof", "A01", "LA_0081")


def test_asvspoof2021_la():
    """Bona fide lines have "bonafide" in the attack column too."""
    text = (
        "LA_0009 LA_E_9332881 alaw ita_tx A07 spoof notrim eval\n"
        "LA_0020 LA_E_7294490 g722 loc_tx bonafide bonafide notrim progress\n"
    )
    (fake, real), problems = protocols.read_rows(protocols.ASVSPOOF2021_LA, text, "")
    assert not problems
    assert (fake.attack, fake.codec, fake.split) == ("A07", "alaw", "eval")
    assert (real.attack, real.codec, real.split) == ("-", "g722", "progress")


def test_asvspoof2021_df():
    text = (
        "LA_0023 DF_E_2000011 nocodec asvspoof A14 spoof notrim progress "
        "traditional_vocoder - - - -\n"
        "TGF1 DF_E_2000024 mp3m4a vcc2020 Task2-team12 spoof notrim eval "
        "traditional_vocoder Task2 team12 FF G\n"
        "LA_0043 DF_E_2000026 mp3m4a asvspoof - bonafide notrim eval bonafide - - - -\n"
    )
    rows, problems = protocols.read_rows(protocols.ASVSPOOF2021_DF, text, "")
    assert not problems
    assert [row.attack for row in rows] == ["traditional_vocoder"] * 2 + ["-"]
    assert [row.language for row in rows] == ["en", "de", "en"]
    assert [row.split for row in rows] == ["progress", "eval", "eval"]


@pytest.mark.parametrize("separator", [" ", "\t"])
def test_asvspoof5(separator):
    text = (
        "D_4461 D_0000000169 F C05 2 x AC1 A14 spoof -\n"
        "D_0461 D_0000000190 M - - - - bonafide bonafide -\n"
    ).replace(" ", separator)
    (fake, real), problems = protocols.read_rows(protocols.ASVSPOOF5, text, "dev")
    assert not problems
    assert (fake.attack, fake.codec, fake.split) == ("A14", "C05", "dev")
    assert (real.attack, real.path) == ("-", "D_0000000190.flac")


def test_in_the_wild():
    text = (
        "file,speaker,label\n0.wav,Alec Guinness,spoof\n1.wav,Alec Guinness,bona-fide"
    )
    (fake, real), problems = protocols.read_rows(protocols.IN_THE_WILD, text, "eval")
    assert not problems
    assert (fake.utterance, fake.attack, fake.speaker) == (
        "0",
        "unknown",
        "Alec_Guinness",
    )
    assert (real.label, real.attack) == ("bonafide", "-")


FAKEAVCELEB = (
    "id00076,-,-,{},A,{},African,men,00109.mp4,FakeAVCeleb/{}/African/men/id00076"
)


@pytest.mark.parametrize(
    ("kind", "label"),
    [
        ("RealVideo-RealAudio", "bonafide"),
        ("FakeVideo-RealAudio", "bonafide"),
        ("RealVideo-FakeAudio", "spoof"),
        ("FakeVideo-FakeAudio", "spoof"),
    ],
)
def test_fakeavceleb_is_labelled_by_its_sound(kind, label):
    header = "source,target1,target2,method,category,type,race,gender,path,"
    text = f"{header}\n{FAKEAVCELEB.format('rtvc', kind, kind)}\n"
    (row,), problems = protocols.read_rows(protocols.FAKEAVCELEB, text, "eval")
    assert not problems
    assert row.label == label
    assert row.attack == ("-" if label == "bonafide" else "rtvc")
    assert row.path == f"{kind}/African/men/id00076/00109.mp4"
    assert row.speaker == "id00076"


@pytest.mark.parametrize(
    ("header", "line"),
    [
        # a name for the folder, another order, the whole path in one cell
        ("Source,method,filename,path", "id1,rtvc,a.mp4,FakeAVCeleb/{}/Asian/men/id1"),
        ("method,path,filename,source", "rtvc,{}/Asian/men/id1,a.mp4,id1"),
        ("source,method,path", "id1,rtvc,FakeAVCeleb_v1.2/{}/Asian/men/id1/a.mp4"),
    ],
)
def test_fakeavceleb_headers_may_differ(header, line):
    text = f"{header}\n{line.format('RealVideo-FakeAudio')}\n"
    (row,), problems = protocols.read_rows(protocols.FAKEAVCELEB, text, "eval")
    assert not problems
    assert row.path == "RealVideo-FakeAudio/Asian/men/id1/a.mp4"
    assert (row.speaker, row.attack) == ("id1", "rtvc")


@pytest.mark.parametrize(
    ("format", "line", "words"),
    [
        (protocols.ASVSPOOF2019, "a b - bonafide", "5 columns expected"),
        (protocols.ASVSPOOF2019, "a b - A01 fake", "'fake'; bonafide or spoof"),
        (protocols.ASVSPOOF2021_LA, "a b c d A07 spoof notrim all", "eval or progress"),
        (protocols.ASVSPOOF2021_DF, "a b c d A07 spoof notrim eval", "13 columns"),
        (protocols.ASVSPOOF5, "a b F - - - AC1 A14 spoofed -", "'spoofed'"),
        (
            protocols.IN_THE_WILD,
            "file,speaker,label\n1.wav,X,real",
            "bona-fide or spoof",
        ),
        (protocols.IN_THE_WILD, "file,speaker,label\n1.wav,bona-fide", "3 columns"),
        (protocols.FAKEAVCELEB, "source,path\nid1,a.mp4", "a folder and an .mp4"),
        (protocols.IN_THE_WILD, "1.wav,X,spoof", "'1.wav X spoof'; a header with"),
    ],
)
def test_unusable_lines_are_named(format, line, words):
    rows, problems = protocols.read_rows(format, f"\n{line}\n", "eval")
    assert not rows
    assert len(problems) == 1 and words in problems[0]
    assert problems[0].startswith(("line 2: ", "line 3: "))


@pytest.mark.parametrize("format", [protocols.ASVSPOOF5, protocols.FAKEAVCELEB])
def test_an_empty_file_has_no_rows(format):
    assert protocols.read_rows(format, "\n", "eval") == ([], [])


def test_a_list_of_official_size():
    """As many lines as ASVspoof 2021 LA has, half of them with Windows line ends."""
    text = "".join(
        f"LA_{i % 67:04d} LA_E_{i:07d} alaw ita_tx "
        + (f"A{7 + i % 13:02d} spoof" if i % 10 else "bonafide bonafide")
        + f" notrim {protocols.ASVSPOOF2021_LA.subsets[i % 3]}"
        + ("\r\n" if i % 2 else "\n")
        for i in range(181_566)
    )
    rows, problems = protocols.read_rows(protocols.ASVSPOOF2021_LA, text, "")
    assert len(rows) == 181_566 and not problems
    assert len({row.utterance for row in rows}) == 181_566
    assert sum(row.label == "bonafide" for row in rows) == 18_157
