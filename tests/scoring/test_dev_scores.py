"""`mldg evaluate --threshold-from`: tables, JSON, the page, and wrong input."""

import json
import re

import numpy as np
import pytest

from mldg_jax import cli, metrics
from mldg_jax.scoring import evaluate, fixed_threshold, report
from tests import webpages

DEV = {"bonafide": [1, 2, 2, 3, 0.5], "spoof": [0, 0, 1, 1, 2]}
EVAL = {"bonafide": [1, 2, 2, 4, 5], "spoof": [0, 2, 2, 3, 1, -1, 0, 1]}
# By hand, see test_fixed_threshold.py; the dev EER threshold is 2.
AT_EER = {"threshold": 2, "frr": 0.2, "far": 0.375, "hter": 0.2875, "f1": 10 / 14}


def write(folder, name, classes, prefix):
    """Writes NAME.txt and NAME_keys.csv with attacks A1 and A2 in turn."""
    scores, keys = "", "utterance,label,attack\n"
    for label, values in classes.items():
        for i, value in enumerate(values):
            attack = "-" if label == "bonafide" else f"A{i % 2 + 1}"
            scores += f"{prefix}_{label}_{i} {value}\n"
            keys += f"{prefix}_{label}_{i},{label},{attack}\n"
    (folder / f"{name}.txt").write_text(scores)
    (folder / f"{name}_keys.csv").write_text(keys)


@pytest.fixture
def command(tmp_path):
    write(tmp_path, "eval", EVAL, "E")
    write(tmp_path, "dev", DEV, "D")
    words = ["evaluate", "--scores", f"{tmp_path}/eval.txt", "--replicas", "0"]
    words += ["--keys", f"{tmp_path}/eval_keys.csv"]
    words += ["--threshold-from", f"{tmp_path}/dev.txt"]
    return [*words, "--threshold-keys", f"{tmp_path}/dev_keys.csv"]


def refused(words, capsys):
    """The one line of standard error of a command that must fail."""
    assert cli.main(words) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1 and not captured.out
    return captured.err


def test_json_by_hand(command, tmp_path, capsys):
    assert cli.main([*command[:7], "--json"]) == 0
    before = json.loads(capsys.readouterr().out)
    assert cli.main([*command, "--json"]) == 0
    after = json.loads(capsys.readouterr().out)
    fixed = after.pop("fixed_threshold")
    assert after == before  # the other keys do not change
    assert fixed["positive_class"] == "spoof"
    assert fixed["eer"] == pytest.approx(
        {**AT_EER, "bonafide_rejected": 1, "spoof_accepted": 3, "n_bonafide": 5}
        | {"n_spoof": 8}
    )
    # A1: spoofs 0, 2, 1, 0 against all bona fide; A2: 2, 3, −1, 1.
    rates = {
        k: (x["eer"]["frr"], x["eer"]["far"]) for k, x in fixed["by_attack"].items()
    }
    assert rates == {"A1": (0.2, 0.25), "A2": (0.2, 0.5)}
    dev = fixed["dev"]
    assert dev["scores"] == f"{tmp_path}/dev.txt"
    assert (dev["eer"]["frr"], dev["eer"]["far"]) == (0.4, 0.2)
    threshold = fixed_threshold.bayes_threshold(*map(np.array, DEV.values()))
    assert fixed["bayes"]["threshold"] == dev["bayes"]["threshold"] == threshold
    assert fixed["cost_model"]["llr_threshold"] == metrics.BAYES_THRESHOLD


def test_text_and_page_show_the_rates(command, tmp_path, capsys):
    assert cli.main([*command, "--html", f"{tmp_path}/page.html"]) == 0
    text, page = capsys.readouterr().out, (tmp_path / "page.html").read_text()
    row = ["2", "40.00", "20.00", "20.00", "37.50", "28.75", "0.7143"]
    assert ["eval: dev EER", *row] in [re.split("  +", x) for x in text.split("\n")]
    assert "".join(f"<td>{cell}</td>" for cell in row) in page
    for shown in (" ".join(text.split()), page):
        assert "F1: of detecting spoof, which is the positive class" in shown
        assert "accepted as bona fide" in shown and "dev Bayes" in shown
        assert "20.00 / 50.00" in shown  # of A2
    webpages.needs_no_network(page)
    assert cli.main(command[:7]) == 0
    assert "FRR" not in capsys.readouterr().out


def test_each_system_has_its_own_threshold(command, tmp_path, capsys):
    shifted = {
        split: {label: [x + 7 for x in values] for label, values in classes.items()}
        for split, classes in (("eval", EVAL), ("dev", DEV))
    }
    write(tmp_path, "eval7", shifted["eval"], "E")
    write(tmp_path, "dev7", shifted["dev"], "D")
    command[2], command[8] = f"A={command[2]}", f"A={command[8]}"
    command += ["--scores", f"B={tmp_path}/eval7.txt"]
    err = refused(command, capsys)
    assert "the system 'B' has no dev scores; those given are of A." in err
    assert "add --threshold-from B=FILE" in err
    command += ["--threshold-from", f"B={tmp_path}/dev7.txt"]
    assert cli.main([*command, "--json"]) == 0
    systems = json.loads(capsys.readouterr().out)["systems"]
    for name, threshold in (("A", 2), ("B", 9)):
        expected = {**AT_EER, "threshold": threshold}
        found = systems[name]["fixed_threshold"]["eer"]
        assert {k: found[k] for k in expected} == pytest.approx(expected)
    assert cli.main(command) == 0
    assert "B: dev Bayes" in capsys.readouterr().out
    err = refused([*command, "--threshold-from", f"C={tmp_path}/dev7.txt"], capsys)
    assert "dev scores of 'C', but the evaluated systems are A, B" in err
    err = refused([*command, "--threshold-from", f"B={tmp_path}/dev.txt"], capsys)
    assert "two score files are called 'B'" in err and "--threshold-from NAME" in err


def test_a_name_of_another_system_is_not_ignored(command, capsys):
    command[8] = f"other={command[8]}"
    assert "the system 'eval' has no dev scores" in refused(command, capsys)


def test_dev_scores_may_carry_their_keys(command, tmp_path, capsys):
    lines = [
        f"D_{label}_{i} {'-' if label == 'bonafide' else 'A1'} {label} {x}\n"
        for label, values in DEV.items()
        for i, x in enumerate(values)
    ]
    (tmp_path / "dev.txt").write_text("".join(lines))
    assert cli.main([*command[:9], "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["fixed_threshold"]["eer"]
    assert found["hter"] == pytest.approx(0.2875)


def test_the_dev_subset_is_the_default(command, tmp_path, capsys):
    path = tmp_path / "dev_keys.csv"
    dev = path.read_text().splitlines()
    header, trials = dev[0] + ",split", [f"{line},dev" for line in dev[1:]]
    more = ["E_bonafide_0,bonafide,-,eval", "E_spoof_0,spoof,A1,eval"]
    path.write_text("\n".join([header, *trials, *more]))
    assert cli.main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["fixed_threshold"]["eer"]["threshold"] == 2
    assert not any("not other data" in x for x in found["warnings"])
    err = refused([*command, "--threshold-subset", "eval"], capsys)
    assert "choose it with --threshold-subset dev" in err
    path.write_text(path.read_text().replace(",dev", ",train"))
    err = refused(command, capsys)
    assert "no subset 'dev': the keys have the subsets eval, train" in err
    assert "--threshold-subset all" in err


def test_dev_trials_that_are_evaluated_are_warned_of(command, capsys):
    command[8], command[10] = command[2], command[6]
    assert cli.main(command) == 0
    err = capsys.readouterr().err
    assert "not other data: 13 of the 13 dev trials" in err and "E_bonafide_0" in err


def test_separable_dev_scores_are_warned_of(command, tmp_path, capsys):
    write(tmp_path, "dev", {"bonafide": [2, 3], "spoof": [0, 1]}, "D")
    assert cli.main([*command, "--html", f"{tmp_path}/page.html"]) == 0
    captured = capsys.readouterr()
    assert "no Bayes threshold from" in captured.err
    assert "calibrate on more or harder trials" in captured.err
    assert "eval: dev Bayes" not in captured.out
    assert "28.75" in captured.out


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (
            {"bonafide": [0, 1], "spoof": [2, 3]},
            "the EER of these dev scores is 100.00 %, must be at most 50 %",
        ),
        ({"bonafide": [], "spoof": [2, 3]}, "dev_keys.csv are spoof; error rates need"),
        ({"bonafide": [2, 3], "spoof": []}, "dev_keys.csv are bona fide; error rates"),
        ({"bonafide": [2, "nan"], "spoof": [0]}, "dev.txt: not finite: 1 score is NaN"),
        ({"bonafide": [2, "inf"], "spoof": [0]}, "1 score is NaN or infinite"),
        ({"bonafide": [1, 1], "spoof": [1]}, "dev.txt: every score is 1, so no"),
        ({"bonafide": [2, "x"], "spoof": [0]}, "dev.txt: entry 2 is 'D_bonafide_1 x'"),
    ],
)
def test_wrong_dev_scores(classes, words, command, tmp_path, capsys):
    write(tmp_path, "dev", classes, "D")
    assert words in refused(command, capsys)


def test_dev_scores_and_keys_that_do_not_match(command, tmp_path, capsys):
    command[10] = command[6]  # the keys of the evaluated trials
    err = refused(command, capsys)
    assert "dev.txt: wrong split: no trial of the keys has a score" in err
    assert "--keys" not in err
    write(tmp_path, "dev", {**DEV, "bonafide": [1, 2, 2, 3]}, "D")
    command[10] = f"{tmp_path}/none.csv"
    assert "none.csv: there is no such file" in refused(command, capsys)


def test_options_that_lack_their_counterpart(command, capsys):
    err = refused(command[:9], capsys)
    assert "dev.txt has scores but no keys: add them with --threshold-keys" in err
    err = refused([*command[:7], *command[9:]], capsys)
    assert "there are no dev scores: add them with --threshold-from" in err
    err = refused([*command[:7], "--threshold-subset", "dev"], capsys)
    assert "dev describes dev trials" in err


def test_library(command, tmp_path):
    _, _, scores, _, _, _, keys, _, dev, _, dev_keys = command
    found = evaluate.evaluate(
        {"x": scores}, keys, threshold_from={"x": dev}, threshold_keys=dev_keys
    )
    assert found.fixed["x"].errors["eer"].hter == pytest.approx(0.2875)
    assert report.thresholds_table(found)[1][0][0] == "x: dev EER"


def test_help_mentions_it(capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main(["evaluate", "--help"])
    text = capsys.readouterr().out
    assert "--threshold-from dev.txt --threshold-keys dev_keys.txt" in text
    assert "HTER" in text
