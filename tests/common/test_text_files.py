"""Text that users give: understood, or refused in one line."""

import codecs
import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mldg_jax.common import text_files
from mldg_jax.common.errors import UserError

TEXT = "é.wav bonafide\r\nb\u2028\x85\x0c.wav spoof\n\nc.wav spoof"


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (b"", "utf-8"),
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ],
)
@pytest.mark.parametrize("suffix", ["txt", "gz"])
def test_marks_encodings_and_gzip_are_understood(tmp_path, mark, encoding, suffix):
    path, data = tmp_path / f"a.{suffix}", mark + TEXT.encode(encoding)
    path.write_bytes(gzip.compress(data) if suffix == "gz" else data)
    assert text_files.read_text(path) == TEXT
    lines = [
        (1, "é.wav bonafide"),
        (2, "b\u2028\x85\x0c.wav spoof"),
        (4, "c.wav spoof"),
    ]
    assert text_files.read_lines(path) == lines


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a\nb \xe9\n", r"not UTF-8 text \(byte 0xe9, line 2\): save it as UTF-8"),
        (b"\x7fELF\0\0\1", "not text: it has zero bytes"),
        ("no mark".encode("utf-16-le"), "not text: it has zero bytes"),
        (b"x" * 200, "more than 100 bytes"),
        (None, "there is no such file"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path, data, message):
    path = tmp_path / "a.txt"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(UserError, match=f"{path}.*{message}"):
        text_files.read_text(path, largest=100)


@pytest.mark.parametrize("path", ["/dev/zero", "/tmp", "a\0b", "x" * 5_000])
def test_only_files_are_read(path):
    with pytest.raises(UserError, match=r"not a file|cannot be read"):
        text_files.read_text(path)


def test_a_damaged_gzip_file_is_one_line(tmp_path):
    path = tmp_path / "a.gz"
    for data in (b"no gzip", gzip.compress(b"a" * 1_000)[:20]):
        path.write_bytes(data)
        with pytest.raises(UserError, match=r"a\.gz cannot be read"):
            text_files.read_text(path)


def test_a_file_of_one_endless_line_is_no_table(tmp_path):
    (tmp_path / "a.txt").write_text("x" * (text_files.LONGEST_LINE + 1))
    with pytest.raises(UserError, match="line 1 has 1,048,577 characters"):
        text_files.read_lines(tmp_path / "a.txt")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ('{"a": ', "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("1" * 10_000, "not JSON"),
        ("null", "holds NoneType and not dict"),
        ("[1]", "holds list and not dict"),
    ],
)
def test_damaged_json_is_one_line(tmp_path, text, message):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError, match=f"a.json is damaged: it .*{message}") as error:
        text_files.read_json(tmp_path / "a.json", dict)
    assert len(str(error.value)) < 300
    (tmp_path / "a.json").write_text('{"a": 1}')
    assert text_files.read_json(tmp_path / "a.json", dict) == {"a": 1}


def test_json_lines_end_where_a_kill_cut_them(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"step": 1}\n\n{"step": 2, "name": "\u2028"}\n{"st')
    entries = list(text_files.read_json_lines(path))
    assert entries == [{"step": 1}, {"step": 2, "name": "\u2028"}]
    for line in ("[]", "{}", '{"a":', "]}"):
        path.write_text(f'{{"step": 1}}\n{line}\n')
        with pytest.raises(UserError, match="line 2 is damaged"):
            list(text_files.read_json_lines(path, check=lambda x: "step" in x))


@given(st.text())
def test_names_stay_different_and_on_one_line(name):
    escaped = text_files.printable(name)
    assert len(escaped.splitlines()) <= 1
    assert escaped.encode("utf-8").decode() == escaped  # no halves of surrogates
    if name.isprintable() and "\\" not in name and name == name.strip():
        assert escaped == name
    assert json.loads(json.dumps(escaped)) == escaped


@given(st.lists(st.text(alphabet="a\\n\n\x1b\u2028\udcff", max_size=6), unique=True))
def test_escaping_is_one_to_one(names):
    assert len(set(map(text_files.printable, names))) == len(names)


def test_what_is_shown_has_no_control_characters():
    assert (
        text_files.visible("a\x1b[31m\u202eb\n\tc\\ é 日本") == "a�[31m�b\n\tc\\ é 日本"
    )


def test_blanks_at_the_ends_of_a_name_are_escaped():
    """A line of a score file would lose them."""
    assert text_files.printable(" a b.wav  ") == r"\x20a b.wav\x20\x20"
    assert text_files.printable("\u3000a\xa0") == r"\u3000a\xa0"
    assert text_files.printable("a\t") == r"a\t"
