import pytest
from hypothesis import given
from hypothesis import strategies as st

from mldg_jax.data.corpora.debspoof import texts, transcripts, voices
from mldg_jax.data.corpora.debspoof.transcripts import Span

LUA = """
dialogId("v-tady", "font_big", "It is already there!")
dialogStr("A je to tady!")

dialogId("m-co", "font_small", "What \\"now\\"?")
dialogStr(
"Co \\"teď\\"?")
"""
RTTM = """SPEAKER a 1 1.000 4.000 <NA> <NA> MEE001 <NA> <NA>
SPEAKER a 1 3.000 1.000 <NA> <NA> FEE002 <NA> <NA>
SPEAKER b 1 3.000 2.000 <NA> <NA> FEE002 <NA> <NA>

NOISE a 1 0.0 1.0
"""


def test_lua_dialogs():
    assert transcripts.lua_dialogs(LUA) == {
        "v-tady": "A je to tady!",
        "m-co": "Co teď ?",
    }


def test_english_dialogs_are_what_the_others_translate():
    assert transcripts.english_dialogs(LUA) == {
        "v-tady": "It is already there!",
        "m-co": "What now ?",
    }


def test_extra_texts(tmp_path):
    scripts = tmp_path / "x/fillets-ng-data/usr/share/games/fillets-ng/script/room"
    scripts.mkdir(parents=True)
    (scripts / "dialogs_en.lua").write_text(LUA)
    (scripts / "dialogs_bg.lua").write_text(LUA)
    (scripts / "dialogs_cs.lua").write_text(LUA)  # unused: Czech is recorded
    stamps = tmp_path / "x/tuxpaint-stamps-default/usr/share/tuxpaint/stamps/coin"
    stamps.mkdir(parents=True)
    (stamps / "penny.txt").write_text("A penny.\nlt.utf8=Centas.\nfr.utf8=Un sou.\n")
    rows = texts.extra_texts(tmp_path)
    assert [(row.language, row.text) for row in rows] == [
        ("bg", "Co teď ?"),
        ("bg", "A je to tady!"),
        ("en", "What now ?"),
        ("en", "It is already there!"),
        ("lt", "Centas."),
    ]
    assert {row.voice for row in rows} == {""}
    assert len({row.key for row in rows}) == 5


def test_tuxpaint_text():
    script = "A penny.\nfr.utf8=Une pièce.\nfr_CA.utf8=Un sou.\n"
    assert transcripts.tuxpaint_text(script, "fr") == "Une pièce."
    assert transcripts.tuxpaint_text(script, "da") == ""


def test_festival_texts():
    assert transcripts.festival_texts('( ru_0002 "пр+ядь вол+ос" )\n') == {
        "ru_0002": "прядь волос"
    }


def test_asterisk_texts():
    script = "\ufeff; comment\nhello: Good day.\nbeep: [a tone]\ndigits/1: one\n"
    assert transcripts.asterisk_texts(script) == {
        "hello": "Good day.",
        "digits/1": "one",
    }


def test_librivox_texts():
    script = "<s> he was not young </s> (sense-0880)\n"
    assert transcripts.librivox_texts(script) == {"sense-0880": "he was not young"}


def test_rttm_spans():
    assert transcripts.rttm_spans(RTTM) == [
        Span("a", "MEE001", 1.0, 5.0),
        Span("a", "FEE002", 3.0, 4.0),
        Span("b", "FEE002", 3.0, 5.0),
    ]


def test_alone_cuts_out_the_overlap():
    spans = transcripts.alone(transcripts.rttm_spans(RTTM), 1.3)
    assert spans == [Span("a", "MEE001", 1.0, 3.0), Span("b", "FEE002", 3.0, 5.0)]


times = st.floats(0, 30, allow_nan=False)


@given(st.lists(st.tuples(st.sampled_from("xyz"), times, times), max_size=8))
def test_alone_never_overlaps_another_speaker(raw):
    spans = [Span("r", who, min(a, b), max(a, b)) for who, a, b in raw]
    for piece in transcripts.alone(spans, 1.3):
        assert piece.stop - piece.start >= 1.3
        for other in spans:
            if other.speaker != piece.speaker:
                inside = min(piece.stop, other.stop) - max(piece.start, other.start)
                assert inside <= 0 or other.stop == other.start


@given(st.floats(0, 10), st.floats(1.3, 60))
def test_windows_cover_the_span(start, length):
    parts = voices.windows(start, start + length)
    assert parts[0][0] == pytest.approx(start, abs=1e-3)
    assert parts[-1][1] == pytest.approx(start + length, abs=1e-3)
    assert all(stop - begin < 4.01 for begin, stop in parts)


def test_survey_is_readable_without_any_package(tmp_path):
    assert list(voices.survey(tmp_path)) == [
        row for row in voices.survey(tmp_path) if row.package == "festvox-ru"
    ]


def test_asterisk_and_catalogue_from_written_files(tmp_path):
    import gzip

    name = "asterisk-core-sounds-fr"
    script = tmp_path / f"x/{name}/usr/share/doc/{name}/core-sounds-fr.txt.gz"
    script.parent.mkdir(parents=True)
    script.write_bytes(gzip.compress(b"bonjour: Bonjour.\nlong: Trop long.\n"))
    sounds = tmp_path / f"x/{name}-g722/usr/share/asterisk/sounds/fr_CA_f_June"
    sounds.mkdir(parents=True)
    (sounds / "bonjour.g722").write_bytes(bytes(16_000))
    (sounds / "long.g722").write_bytes(bytes(80_000))
    (row,) = voices.asterisk(tmp_path)
    assert (row.voice, row.language, row.text) == ("ast_june", "fr", "Bonjour.")
    assert row.key == (
        f"{name}-g722/usr/share/asterisk/sounds/fr_CA_f_June/bonjour.g722"
    )


def test_duplicate_stamps_are_left_out(tmp_path):
    from dataclasses import replace

    folder = tmp_path / "x/tuxpaint-stamps-default"
    folder.mkdir(parents=True)
    base = voices.Recording(
        *("tux_fr", "fr", "f", "", "", None, None),
        *("tuxpaint-stamps-default", "GPL-2", 1.5),
    )
    rows = []
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (folder / name).write_bytes(content)
        rows.append(replace(base, path=f"x/tuxpaint-stamps-default/{name}"))
    distinct = voices.without_duplicates(rows, tmp_path)
    assert [row.path[-1] for row in distinct] == ["a", "c"]
