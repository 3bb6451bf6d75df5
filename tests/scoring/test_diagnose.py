"""Every way to spoil a score file, and its finding."""

import numpy as np
import pytest

from mldg_jax import cli
from mldg_jax.scoring import diagnose, key_files, score_files, trial_scores

N = 400
RNG = np.random.default_rng(0)
LABELS = (np.arange(N) % 4 == 0).astype(int)
SCORES = RNG.normal(size=N) + 3 * LABELS
NAMES = [f"LA_E_{i:07d}" for i in RNG.permutation(N)]
KEYS = "".join(
    f"LA_{i % 9:04d} {name} - {'-' if label else f'A{i % 3:02d}'} "
    f"{'bonafide' if label else 'spoof'}\n"
    for i, (name, label) in enumerate(zip(NAMES, LABELS, strict=True))
)


@pytest.fixture
def keys(tmp_path):
    path = tmp_path / "keys.txt"
    path.write_text(KEYS)
    return path


def found(tmp_path, keys, names=NAMES, scores=SCORES, **options):
    """Names of the findings of a 2021 file with these lines."""
    path = tmp_path / "scores.txt"
    path.write_text("".join(f"{n} {s}\n" for n, s in zip(names, scores, strict=True)))
    return [one.name for one in diagnose.check(path, keys, **options)[1]]


def test_a_good_file_has_no_findings(tmp_path, keys):
    assert found(tmp_path, keys) == []
    for format in score_files.FORMATS:
        path = tmp_path / format
        attacks = np.where(LABELS == 1, "-", "A00")
        score_files.write(path, NAMES, SCORES, format, labels=LABELS, attacks=attacks)
        assert diagnose.check(path, keys)[1] == []


def test_spoiled_files_are_named(tmp_path, keys):
    nan, same = SCORES.copy(), np.full(N, 0.5)
    nan[7], order = np.nan, RNG.permutation(N)
    assert found(tmp_path, keys, scores=-SCORES) == ["inverted"]
    assert found(tmp_path, keys, scores=SCORES[order]) == ["shuffled"]
    assert found(tmp_path, keys, NAMES[:300], SCORES[:300]) == ["truncated"]
    assert found(tmp_path, keys, NAMES[5:], SCORES[5:]) == ["missing"]
    assert found(tmp_path, keys, scores=nan) == ["not finite"]
    assert found(tmp_path, keys, scores=same) == ["constant"]
    assert found(tmp_path, keys, scores=(SCORES > 1.5) * 1) == ["tied"]
    more = [*NAMES, "LA_E_x"], [*SCORES, 1]
    assert found(tmp_path, keys, *more) == ["extra"]
    again = [*NAMES, NAMES[3]], [*SCORES, 1]
    assert found(tmp_path, keys, *again) == ["duplicate"]
    other = [name.replace("_E_", "_D_") for name in NAMES]
    assert found(tmp_path, keys, other) == ["wrong split"]
    all_at_once = found(tmp_path, keys, [*NAMES[5:], "x", NAMES[20]], [*-nan[5:], 0, 0])
    assert all_at_once == ["missing", "extra", "duplicate", "not finite", "inverted"]


def test_shuffled_lines_change_nothing_and_are_only_noted(tmp_path, keys):
    order = RNG.permutation(N)
    path = tmp_path / "scores.txt"
    score_files.write(path, [NAMES[i] for i in order], SCORES[order], "asvspoof2021")
    (one,) = diagnose.check(path, keys)[1]
    assert one.name == "shuffled lines" and one.note
    assert cli.main(["check", str(path), "--keys", str(keys)]) == 0


def test_a_file_cut_in_the_middle_of_a_line(tmp_path, keys):
    path = tmp_path / "scores.txt"
    score_files.write(path, NAMES, SCORES, "asvspoof2021")
    text = path.read_text()
    path.write_text(text[: text.index(NAMES[250]) + 5])
    names = [one.name for one in diagnose.check(path, keys)[1]]
    assert names == ["malformed", "truncated"]


def test_keys_of_a_2019_file_must_agree(tmp_path, keys):
    path = tmp_path / "scores.txt"
    attacks, labels = np.where(LABELS == 1, "-", "A00"), LABELS.copy()
    labels[3] = 1
    score_files.write(
        path, NAMES, SCORES, "asvspoof2019", labels=labels, attacks=attacks
    )
    assert [one.name for one in diagnose.check(path, keys)[1]] == ["other labels"]


def test_subsets_of_2021(tmp_path):
    keys = tmp_path / "trial_metadata.txt"
    subsets = ["eval", "progress", "hidden"]
    keys.write_text(
        "".join(
            f"LA_1 {name} alaw ita_tx {'bonafide' if label else 'A07'} "
            f"{'bonafide' if label else 'spoof'} notrim {subsets[i % 3]}\n"
            for i, (name, label) in enumerate(zip(NAMES, LABELS, strict=True))
        )
    )
    assert found(tmp_path, keys) == []  # all subsets, as the 2021 package wants them
    assert found(tmp_path, keys, NAMES[::3], SCORES[::3]) == []
    progress = NAMES[1::3], SCORES[1::3]
    assert found(tmp_path, keys, *progress) == ["wrong split"]
    assert found(tmp_path, keys, *progress, subset="progress") == []


def test_paths_are_matched_without_folders_and_suffix_where_that_is_clear(
    tmp_path, keys
):
    files = [f"data/flac/{name}.flac" for name in NAMES]
    assert found(tmp_path, keys, files) == []
    words = np.where(LABELS == 1, "bonafide", "spoof")
    keys.write_text(
        "utterance,label\n"
        + "".join(f"{i % 2}/{i // 2}.wav,{words[i]}\n" for i in range(N))
    )
    names = [f"x/{i % 2}/{i // 2}.mp3" for i in range(N)]
    assert found(tmp_path, keys, names) == []  # by the folder too
    names = [f"x/{i // 2}.wav" for i in range(N)]
    assert found(tmp_path, keys, names) == ["wrong split"]  # each might be either
    paths = ["sub/" * (i % 3) + name for i, name in enumerate(NAMES)]  # of any depth
    keys.write_text(
        "utterance,label\n"
        + "".join(f"{x}.flac,{w}\n" for x, w in zip(paths, words, strict=True))
    )
    assert found(tmp_path, keys, [f"../w/{x}.ogg" for x in paths]) == []


def test_the_command_names_the_fix_and_fails(tmp_path, keys, capsys):
    path = tmp_path / "scores.txt"
    score_files.write(path, NAMES, SCORES, "asvspoof2021")
    command = ["check", str(path), "--keys", str(keys)]
    assert cli.main(command) == 0
    assert "no problem" in capsys.readouterr().out
    score_files.write(path, NAMES[:-1], -SCORES[:-1], "asvspoof2021")
    assert cli.main(command) == 2
    out = capsys.readouterr().out
    assert f"1 of 400 trials have no score, all of them after {NAMES[-2]}" in out
    assert "inverted: the EER is 9" in out and "higher must mean bona fide" in out
    assert "100 bona fide, 300 spoof" in out
    assert cli.main(["check", "none.txt", "--keys", str(keys)]) == 2
    assert "none.txt: there is no such file" in capsys.readouterr().err


def test_labels_of_a_table_must_agree_with_the_keys(tmp_path, keys):
    path = tmp_path / "scores.csv"
    words = np.where(LABELS == 1, "spoof", "bonafide")
    lines = [f"{n},{w},{s}\n" for n, w, s in zip(NAMES, words, SCORES, strict=True)]
    for header in ("utterance,label,score\n", ""):
        path.write_text(header + "".join(lines))
        (finding,) = diagnose.check(path, keys)[1]
        assert finding.name == "other labels"
        assert finding.problem.startswith("400 trials have a different label")
    lines = [line.replace(",bonafide,", ",?,") for line in lines]
    path.write_text("utterance,label,score\n" + "".join(lines))
    (finding,) = diagnose.check(path, keys)[1]
    assert finding.problem.startswith("100 trials have")  # other words are no labels


def test_a_last_score_may_be_cut_in_the_middle(tmp_path, keys, caplog):
    path = tmp_path / "scores.txt"
    score_files.write(path, NAMES, SCORES, "asvspoof2021")
    path.write_text(path.read_text()[:-5])
    (finding,) = diagnose.check(path, keys)[1]
    assert finding.name == "no final newline" and not finding.note
    every = key_files.read(keys)
    assert len(trial_scores.read_scores(path, "auto", every, every)) == N
    assert "does not end with a newline" in caplog.text


@pytest.mark.parametrize(
    ("line", "name", "words"),
    [
        ('"{}" {}', "names", f'in quotes: "{NAMES[0]}"'),
        ("{} - {}", "columns", f"between the name {NAMES[0]} and its score there is -"),
        ("{} - 0 {}", "columns", "have 4 columns"),
    ],
)
def test_an_error_of_format_is_not_a_wrong_split(line, name, words, tmp_path, keys):
    path = tmp_path / "scores.txt"
    rows = zip(NAMES, SCORES, strict=True)
    path.write_text("".join(line.format(*row) + "\n" for row in rows))
    (finding,) = diagnose.check(path, keys)[1]
    assert finding.name == name and words in finding.problem
    assert ("1 for spoof" in finding.fix) == ("0" in line)


def test_capitals_and_carriage_returns(tmp_path, keys):
    path = tmp_path / "scores.txt"
    score_files.write(path, [x.lower() for x in NAMES], SCORES, "asvspoof2021")
    (finding,) = diagnose.check(path, keys)[1]
    assert finding.name == "names"
    assert f"{NAMES[0].lower()} in the scores, {NAMES[0]} in the" in finding.problem
    score_files.write(path, NAMES, SCORES, "asvspoof2021")
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r"))
    assert diagnose.check(path, keys)[1] == []


def test_a_file_without_a_readable_line_has_one_finding(tmp_path, keys):
    path = tmp_path / "scores.csv"
    path.write_text("utterance,score\nu1,2,5\nu2,1,25\n")
    (finding,) = diagnose.check(path, keys)[1]
    assert finding.name == "malformed"
    assert "2,5, which looks like a number with a decimal comma" in finding.problem
