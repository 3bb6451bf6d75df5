"""`mldg evaluate` on files of every format, against the challenge's own numbers."""

import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics

from mldg_jax import UserError, cli, metrics
from mldg_jax.scoring import asv, bootstrap, evaluate, intervals, score_files

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "metrics.npz")
REFERENCE = json.loads(str(GOLDEN["reference"]))
ASV = dict(zip(("pfa", "pmiss", "pmiss-spoof"), GOLDEN["asv_rates"], strict=True))
ASV["pmiss-spoof"] = 1 - ASV["pmiss-spoof"]  # the file has the accepted fraction
MEASURES = ("eer", "eer_threshold", "min_dcf", "act_dcf", "cllr")


def lines_of(names, labels, template):
    """A key line for each trial, from a format string of name, key and attack."""
    return "".join(
        template.format(
            name=name,
            key="bonafide" if label else "spoof",
            attack="-" if label else f"A{i % 3 + 7:02d}",
            speaker=f"LA_{i % 11:04d}",
            codec=("alaw", "g722")[i % 2],
        )
        + "\n"
        for i, (name, label) in enumerate(zip(names, labels, strict=True))
    )


KEYS = {
    "asvspoof2019": "{speaker} {name} - {attack} {key}",
    "asvspoof2021": "{speaker} {name} {codec} ita_tx {attack} {key} notrim eval",
    "asvspoof5": "{speaker} {name} F - - - AC1 {attack} {key} -",
    "csv": "{name},{key},{attack},{codec}",
}
HEADERS = {"csv": "utterance,label,attack,codec\n"}


def write_case(folder, format, bonafide, spoof, seed=0):
    """Writes keys.txt and scores.txt, trials in two random orders."""
    rng = np.random.default_rng(seed)
    scores, labels = np.r_[bonafide, spoof], np.arange(len(bonafide) + len(spoof))
    labels = (labels < len(bonafide)).astype(int)
    order = rng.permutation(labels.size)
    scores, labels = scores[order], labels[order]
    names = [f"LA_E_{i:07d}" for i in rng.permutation(labels.size)]
    text = HEADERS.get(format, "") + lines_of(names, labels, KEYS[format])
    (folder / "keys.txt").write_text(text)
    again = rng.permutation(labels.size)
    attacks = np.where(labels == 1, "-", "A07")
    score_files.write(
        folder / "scores.txt",
        [names[i] for i in again],
        scores[again],
        format,
        labels=labels[again],
        attacks=attacks[again],
    )
    return scores, labels


def run(folder, *options, capsys):
    command = ["evaluate", "--scores", f"{folder}/scores.txt", "--json", *options]
    assert cli.main([*command, "--keys", f"{folder}/keys.txt"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("format", score_files.FORMATS)
@pytest.mark.parametrize("case", REFERENCE)
def test_json_equals_the_evaluation_packages(case, format, tmp_path, capsys):
    bonafide, spoof = GOLDEN[f"{case}/bonafide"], GOLDEN[f"{case}/spoof"]
    scores, labels = write_case(tmp_path, format, bonafide, spoof)
    tandem = itertools.chain(*((f"--asv-{k}", str(v)) for k, v in ASV.items()))
    named = ("--format", format) if case == "gauss" else ()
    found = run(tmp_path, "--replicas", "0", *tandem, *named, capsys=capsys)
    for measure in MEASURES:
        assert found[measure] == pytest.approx(REFERENCE[case][measure], abs=1e-9)
    assert found["min_tdcf"] == pytest.approx(
        REFERENCE[case]["min_tdcf_2021"], abs=1e-9
    )
    assert (found["n_bonafide"], found["n_spoof"]) == (bonafide.size, spoof.size)

    fpr, fnr, _ = sklearn.metrics.det_curve(labels, scores)
    assert found["min_dcf"] == pytest.approx(
        min(1, metrics.normalised_cost(fnr, fpr).min()), abs=1e-9
    )
    attacks = np.array([f"A{i % 3 + 7:02d}" for i in range(labels.size)])
    assert set(found["by_attack"]) == {"A07", "A08", "A09"}
    for attack, one in found["by_attack"].items():
        own = scores[(labels == 0) & (attacks == attack)]
        assert one["n"] == own.size
        assert one["eer"] == metrics.eer(scores[labels == 1], own)[0]
    if format in ("asvspoof2021", "csv"):  # a codec against its own bona fide
        even = np.arange(labels.size) % 2 == 0
        expected = metrics.eer(
            scores[even & (labels == 1)], scores[even & (labels == 0)]
        )
        assert found["by_codec"]["alaw"]["eer"] == expected[0]
        assert found["by_codec"]["alaw"]["n"] == even.sum()


def test_2019_scores_carry_their_keys(tmp_path, capsys):
    write_case(tmp_path, "asvspoof2019", GOLDEN["ties/bonafide"], GOLDEN["ties/spoof"])
    path = tmp_path / "scores.txt"
    assert cli.main(["evaluate", "--scores", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["eer"] == pytest.approx(REFERENCE["ties"]["eer"], abs=1e-9)
    assert found["clusters"] == "utterances"


def test_intervals_are_those_of_the_bootstrap_over_speakers(tmp_path, capsys):
    bonafide, spoof = GOLDEN["gauss/bonafide"], GOLDEN["gauss/spoof"]
    scores, labels = write_case(tmp_path, "asvspoof2019", bonafide, spoof)
    found = run(tmp_path, "--replicas", "300", capsys=capsys)
    assert found["clusters"] == "speakers" and found["replicas"] == 300
    assert found["bootstrap"] == {
        "resampled": "speakers, each drawn with the trials of both classes",
        "replicates": 300, "seed": 0, "level": 0.95, "interval": "percentile",
    }  # fmt: skip
    speakers = [f"{i % 11:04d}" for i in range(labels.size)]
    scheme = bootstrap.Scheme("together", replicates=300)
    clusters = bootstrap.cluster(labels, speakers, scheme)
    attacks = np.arange(labels.size) % 3

    def repeated(counts, keep):
        weights = counts[:, clusters.index] * keep
        pairs = [(np.repeat(scores, w), np.repeat(labels, w)) for w in weights]
        return np.array([metrics.eer(s[k == 1], s[k == 0])[0] for s, k in pairs])

    keeps = [np.ones(labels.size, int), (labels == 1) | (attacks == 0)]
    statistics = [lambda c, keep=keep: repeated(c, keep) for keep in keeps]
    pooled, attack = bootstrap.replicate(statistics, clusters, scheme)
    assert found["intervals"]["eer"] == pytest.approx(bootstrap.interval(pooled))
    one = found["by_attack"]["A07"]
    assert [one["low"], one["high"]] == pytest.approx(bootstrap.interval(attack))
    for measure in ("min_dcf", "act_dcf", "cllr"):
        low, high = found["intervals"][measure]
        assert low < found[measure] < high


def test_systems_are_compared_on_the_same_trials(tmp_path, capsys):
    scores, _ = write_case(
        tmp_path, "asvspoof2021", GOLDEN["gauss/bonafide"], GOLDEN["gauss/spoof"]
    )
    read = score_files.read(tmp_path / "scores.txt")
    noise = np.random.default_rng(1).normal(size=scores.size)
    worse = tmp_path / "worse.txt"
    score_files.write(worse, read.utterance, read.score + 2 * noise, "csv")
    found = run(tmp_path, "--scores", f"worse={worse}", capsys=capsys)
    assert set(found["systems"]) == {"scores", "worse"}
    (pair,) = found["differences"].items()
    assert pair[0] == "scores - worse"
    expected = found["systems"]["scores"]["eer"] - found["systems"]["worse"]["eer"]
    assert pair[1]["difference"] == expected < 0
    assert pair[1]["low"] < expected < pair[1]["high"] < 0
    assert pair[1]["p"] < 0.01
    same = tmp_path / "same.csv"
    score_files.write(same, read.utterance, 3 * read.score, "csv")
    found = run(tmp_path, "--scores", f"same={same}", capsys=capsys)
    equal = {"difference": 0, "low": 0, "high": 0, "p": 1}
    expected = {**equal, "on_new_attacks": equal}
    assert found["differences"]["scores - same"] == expected


def test_the_eval_subset_is_scored_by_default(tmp_path, capsys):
    write_case(tmp_path, "asvspoof2021", np.arange(40.0), np.arange(40) - 5.5)
    keys = (tmp_path / "keys.txt").read_text().splitlines()
    mixed = [
        re.sub("eval$", ("eval", "progress")[i % 4 == 0], x) for i, x in enumerate(keys)
    ]
    (tmp_path / "keys.txt").write_text("\n".join(mixed))
    found = run(tmp_path, capsys=capsys)
    assert found["n_bonafide"] + found["n_spoof"] == 60
    assert found["keys"]["subset"] == "eval"
    found = run(tmp_path, "--subset", "progress", capsys=capsys)
    assert found["n_bonafide"] + found["n_spoof"] == 20
    files = [f"{tmp_path}/scores.txt", "--keys", f"{tmp_path}/keys.txt"]
    assert cli.main(["evaluate", "--replicas", "0", "--scores", *files]) == 0
    subset = "evaluating subset eval; the keys have eval, progress"
    assert subset in capsys.readouterr().err
    found = run(tmp_path, "--subset", "all", capsys=capsys)
    assert found["n_bonafide"] + found["n_spoof"] == 80


def test_tables_show_the_numbers(tmp_path, capsys):
    write_case(
        tmp_path,
        "asvspoof2021",
        GOLDEN["llr_scale/bonafide"],
        GOLDEN["llr_scale/spoof"],
    )
    command = ["evaluate", "--scores", f"{tmp_path}/scores.txt"]
    command += ["--keys", f"{tmp_path}/keys.txt", "--by", "codec,trim"]
    assert cli.main(command) == 0
    out = capsys.readouterr().out
    for text in ("8.00 [", "0.190 [", "0.265 [", "300", "3,000", "A07", "alaw"):
        assert text in out, text
    assert "1,000 bootstrap replicates of speakers, each drawn with" in out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--by", "team"], "no column 'team': choose --by from speaker, codec"),
        (["--subset", "x"], "no subset 'x': the keys have the subsets eval"),
        (["--asv-pfa", "0.1"], "add --asv-pmiss, --asv-pmiss-spoof"),
        (
            ["--asv-pfa", "5", "--asv-pmiss", "0", "--asv-pmiss-spoof", "0"],
            "asv_pfa is 5.0, must be in",
        ),
        (["--replicas", "-1"], "must be 0 for no intervals or at least 40"),
        (["--replicas", "39"], "is 39, must be 0 for no intervals or at least 40"),
        (["--scores", "=b.txt"], "--scores is '=b.txt', which lacks the name"),
        (["--scores", "b="], "--scores is 'b=', which lacks the name or the file"),
        (["--threshold-from", " =b"], "--threshold-from is ' =b', which lacks"),
        (["--format", "asvspoof5"], "none of which is"),
        (["--scores", "scores.txt"], "two score files are called 'scores'"),
        (["--scores", "b=none.txt"], "none.txt: there is no such file"),
    ],
)
def test_wrong_input_is_named(options, words, tmp_path, capsys):
    write_case(tmp_path, "asvspoof2021", np.arange(40.0), np.arange(40) - 5.5)
    command = ["evaluate", "--scores", f"{tmp_path}/scores.txt"]
    assert cli.main([*command, "--keys", f"{tmp_path}/keys.txt", *options]) == 2
    captured = capsys.readouterr()
    assert words in captured.err and captured.err.count("\n") == 1
    assert not captured.out


@pytest.mark.parametrize("command", ["evaluate", "check"])
def test_swapped_files_are_named(command, tmp_path, capsys):
    for format in ("asvspoof2021", "csv"):
        write_case(tmp_path, format, np.arange(40.0), np.arange(40) - 5.5)
        scores, keys = f"{tmp_path}/scores.txt", f"{tmp_path}/keys.txt"
        first = ["--scores", keys] if command == "evaluate" else [keys]
        assert cli.main([command, *first, "--keys", scores]) == 2
        message = capsys.readouterr().err
        assert f"give {scores} as the scores, and --keys {keys}" in message
        assert message.count("\n") == 1


@pytest.mark.filterwarnings("error")
def test_scores_that_would_overflow_are_refused(tmp_path, capsys):
    bonafide = np.r_[np.arange(40.0), 1e308]
    write_case(tmp_path, "csv", bonafide, np.arange(40) - 5.5)
    for command in (["check"], ["evaluate", "--scores"]):
        command += [f"{tmp_path}/scores.txt", "--keys", f"{tmp_path}/keys.txt"]
        assert cli.main(command) == 2
        captured = capsys.readouterr()
        assert "too large: 1 score is beyond ±1e+30" in captured.out + captured.err
    write_case(tmp_path, "csv", bonafide.clip(max=1e30), np.arange(40) - 5.5)
    run(tmp_path, capsys=capsys)


INPUTS = ("--scores", "--keys", "--threshold-from", "--threshold-keys", "--asv-scores",
          "--asv-keys")  # fmt: skip


@pytest.mark.parametrize("name", [*INPUTS, "--card", "config.json"])
def test_no_output_replaces_an_input_or_what_is_no_page(name, tmp_path, capsys):
    """Whatever is at --html or --card stays, and the message says why."""
    for option in INPUTS:
        (tmp_path / option).write_text(f"<!doctype html> {option}")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "MODEL_CARD.md").symlink_to(tmp_path / "--keys")
    before = {path: path.read_text() for path in tmp_path.iterdir()}
    command = ["evaluate"]
    for option in INPUTS:
        command += [option, str(tmp_path / option)]
    option, output = ("--html", tmp_path / name)
    if name == "--card":
        option, output = name, tmp_path
    assert cli.main([*command, option, str(output)]) == 2
    message = capsys.readouterr().err
    words = "is not an HTML page" if name == "config.json" else "is one of the inputs"
    assert words in message and message.count("\n") == 1
    assert before == {path: path.read_text() for path in tmp_path.iterdir()}


def test_a_page_is_replaced_by_a_page(tmp_path, capsys):
    write_case(tmp_path, "csv", GOLDEN["ties/bonafide"], GOLDEN["ties/spoof"])
    page = tmp_path / "report.html"
    for before in ("", "<html>old", "\ufeff\n<!DOCTYPE HTML>"):
        page.write_text(before)
        run(tmp_path, "--replicas", "0", "--html", str(page), capsys=capsys)
        assert page.read_text().startswith("<!DOCTYPE html>\n")
    files = ["--scores", f"{tmp_path}/scores.txt", "--keys", f"{tmp_path}/keys.txt"]
    assert cli.main(["evaluate", *files, "--replicas", "0", "--html", str(page)]) == 0
    assert f"mldg: wrote {page}\n" in capsys.readouterr().err


def test_spoiled_scores_are_refused_or_warned_of(tmp_path, capsys):
    write_case(tmp_path, "asvspoof2021", np.arange(40.0), np.arange(40) - 60)
    path = tmp_path / "scores.txt"
    good = score_files.read(path)
    command = ["evaluate", "--scores", str(path), "--keys", f"{tmp_path}/keys.txt"]
    path.write_text(path.read_text().replace(good.utterance[3], "LA_E_x"))
    assert cli.main(command) == 2
    err = capsys.readouterr().err
    assert "missing: 1 of 80 trials have no score" in err and "mldg check" in err
    path.write_text("".join(f"{u} nan\n" for u in good.utterance))
    assert cli.main(command) == 2
    assert "80 scores are NaN" in capsys.readouterr().err
    score_files.write(path, good.utterance, -good.score, "asvspoof2021")
    assert cli.main([*command, "--json"]) == 0
    captured = capsys.readouterr()
    assert "inverted: the EER is 100.00 %" in captured.err
    assert json.loads(captured.out)["eer"] == 1
    (tmp_path / "keys.txt").write_text("LA_1 LA_E_1 - A07 spoof\n")
    path.write_text("LA_E_1 0.5\n")
    assert cli.main(command) == 2
    assert "all 1 trials of the keys are spoof" in capsys.readouterr().err


def test_speakers_unknown_to_some_and_single_voices():
    speakers = np.array(["a", "a", "b", "-", "tts", "tts", "tts"])
    label = np.array([1, 1, 1, 1, 0, 0, 0])
    keys = evaluate.Keys(np.arange(7).astype(str), label, {"speaker": speakers}, "")
    ids, kind = intervals.cluster_ids(keys)
    assert kind == (
        "speakers (1 trial without a speaker: utterances) (spoof: utterances of one "
        "speaker)"
    )
    assert len(set(ids.tolist())) == 6 and ids[0] == ids[1]
    ids, kind = intervals.cluster_ids(keys._replace(columns={}))
    assert kind == "utterances" and len(set(ids.tolist())) == 7


def test_asv_rates_from_the_files_of_2019_and_2021(tmp_path):
    scores = {"target": [1, 3, 4, 5], "nontarget": [-1, 0, 1.5, 2]}
    scores["spoof"] = [0, 2, 2.5, 9, 9]
    trials = [(kind, x) for kind, its in scores.items() for x in its]
    expected = {"asv_pfa": 0.5, "asv_pmiss": 0.25, "asv_pmiss_spoof": 0.2}
    path, keys = tmp_path / "asv.txt", tmp_path / "trial_metadata.txt"
    path.write_text("".join(f"- {kind} {x}\n" for kind, x in trials))
    assert asv.rates(path) == expected
    path.write_text("".join(f"LA_1 E_{i} {x}\n" for i, (_, x) in enumerate(trials)))
    metadata = [f"LA_1 E_{i} a b - {k} notrim eval" for i, (k, _) in enumerate(trials)]
    keys.write_text("\n".join([*metadata, "LA_1 E_x a b - target notrim progress"]))
    with pytest.raises(UserError, match=r"has 13 trials and .* 14;"):
        asv.rates(path, keys)
    with path.open("a") as file:
        file.write("LA_1 E_x -99\n")
    assert asv.rates(path, keys) == expected
    assert asv.rates(path, keys, "all")["asv_pmiss"] == 0.2
    with pytest.raises(UserError, match="need --asv-keys"):
        asv.rates(path)
    with pytest.raises(UserError, match="of each of target"):
        asv.rates(path, keys, "progress")


def attack_case(folder, attacks, unknown=False):
    """Writes keys and scores of three systems; attacks differ more than speakers."""
    rng, lines, scores = (
        np.random.default_rng(4),
        ["utterance,label,attack,speaker"],
        {},
    )
    for i in range(1200):
        attack = i % attacks if i % 3 else None
        label = "bonafide" if attack is None else "spoof"
        name = "" if unknown and i == 4 else f"A{attack}"
        lines.append(f"u{i},{label},{'-' if attack is None else name},s{i % 20}")
        scores[f"u{i}"] = 6 if attack is None else (5 * attack) % 7
    (folder / "keys.csv").write_text("\n".join(lines) + "\n")
    values = np.array(list(scores.values()), float)
    command = ["evaluate", "--keys", f"{folder}/keys.csv", "--replicas", "200"]
    for name, noise in (("a", 1.0), ("b", 1.1), ("c", 2.0)):
        noisy = values + noise * rng.normal(size=values.size)
        score_files.write(folder / f"{name}.txt", list(scores), noisy, "csv")
        command += ["--scores", f"{folder}/{name}.txt"]
    return command


def test_the_interval_on_new_attacks_is_beside_the_others(tmp_path, capsys):
    command = attack_case(tmp_path, 7)
    assert cli.main([*command, "--json"]) == 0
    default = json.loads(capsys.readouterr().out)
    assert cli.main([*command, "--json", "--resample", "speakers-attacks"]) == 0
    both = json.loads(capsys.readouterr().out)
    assert cli.main([*command, "--json", "--resample", "trials"]) == 0
    trials = json.loads(capsys.readouterr().out)
    assert both["clusters"] == "speakers" and trials["clusters"] == "trials"
    assert both["bootstrap"]["interval"] == "expanded percentile"
    assert both["bootstrap"]["resampled"].endswith("crossed with replicates of attacks")
    for name, system in default["systems"].items():
        own, new = system["intervals"]["eer"], system["intervals"]["eer_new_attacks"]
        assert np.diff(new) > 2 * np.diff(own)
        assert both["systems"][name]["intervals"]["eer"] == new
        assert "eer_new_attacks" not in both["systems"][name]["intervals"]
        # Of one attack there are no others to draw.
        assert both["systems"][name]["by_attack"] == system["by_attack"]
    for pair, gap in default["differences"].items():
        new = gap.pop("on_new_attacks")
        assert both["differences"][pair] == new
        assert gap["p"] <= gap["p_adjusted"] and new["p"] <= new["p_adjusted"]
        assert new["high"] - new["low"] > gap["high"] - gap["low"]
    assert cli.main(command) == 0
    out = capsys.readouterr().out
    assert out.count("on new attacks") == 1 + 3 + 1 and "p, adjusted" in out
    assert "These intervals hold for the 7 attacks of the keys; those on new" in out


def test_attacks_of_a_family_are_drawn_as_one(tmp_path, capsys):
    command = attack_case(tmp_path, 4)
    assert cli.main([*command, "--families", "A0=x,A1=x"]) == 0
    assert "hold for the 3 attack families of the keys" in capsys.readouterr().out
    assert cli.main([*command, "--families", "A0=x,A1=x,A2=x"]) == 0
    out = capsys.readouterr().out
    assert "on new attacks" not in out
    assert "too narrow, and 3 attack families are needed" in out


@pytest.mark.parametrize(
    ("attacks", "unknown", "options", "words"),
    [
        (2, False, ["--resample", "speakers-attacks"], "the keys have 2"),
        (9, True, ["--resample", "speakers-attacks"], "whose attack is unknown"),
        (4, False, ["--families", "A9=x"], "'A9', which the keys do not have"),
        (4, False, ["--families", "A1=x,A1=y"], "gives A1 the families x and y"),
        (4, False, ["--families", "A1=A2,A2=A3"], "A2, an attack that has the family"),
        (4, False, ["--families", "A1"], "has 'A1', must be ATTACK=FAMILY"),
    ],
)
def test_attacks_that_cannot_be_drawn(
    attacks, unknown, options, words, tmp_path, capsys
):
    command = attack_case(tmp_path, attacks, unknown)
    assert cli.main([*command, *options]) == 2
    captured = capsys.readouterr()
    assert words in captured.err and captured.err.count("\n") == 1
    if "--resample" in options:  # without, all as before
        assert cli.main(command) == 0
        out = capsys.readouterr().out
        assert "on new attacks" not in out
        assert ("for new attacks they are too narrow" in out) == (not unknown)
