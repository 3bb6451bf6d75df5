"""The commands ``mldg evaluate`` and ``mldg check``."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from mldg_jax.cli import robustness_options
from mldg_jax.cli.arguments import add_command
from mldg_jax.common import console
from mldg_jax.common.errors import UserError
from mldg_jax.common.text_files import visible
from mldg_jax.scoring.scheme import CHOICES

EVALUATE = "Evaluate score files of any detector, or how robust a run is."
EVALUATE_DETAILS = """\
Prints the equal error rate (EER), the detection cost at the best and at the Bayes
threshold (min and act DCF), the cost of the scores as log-likelihood ratios (Cllr)
and the EER by attack, with 95 % confidence intervals from resampling speakers, which
hold for the attacks of the keys, and a wider one of the EER on new attacks, from
resampling speakers and attacks. Several systems are compared with paired tests. Score
files of ASVspoof 2019, 2021 and 5 and CSV are recognised by their first line; `mldg
check` explains what is wrong with others.

The EER stays if all scores move, but decisions at a threshold do not. With
--threshold-from the thresholds are fixed on dev scores (that of the EER, and the Bayes
threshold after calibration), and the table shows how much bona fide they reject and how
much spoof they accept on the evaluated trials, HTER (the mean of both) and F1 (of
detecting spoof).

With --robustness RUN there are no score files: the recordings of the eval split of the
run's corpus (or of --audio, with --keys) are degraded by codecs, noise, reverberation
and more, scored by the run after each, and compared with the clean ones.

examples:
  mldg evaluate --scores scores.txt --keys trial_metadata.txt
  mldg evaluate --scores A=a.txt --scores B=b.txt --keys keys.txt --html report.html
  mldg evaluate --scores eval.txt --keys eval_keys.txt \\
      --threshold-from dev.txt --threshold-keys dev_keys.txt
  mldg evaluate --robustness runs/demo/mldg-0 --limit 100
"""
CHECK = "Check a score file for errors, and say how to fix each."
CHECK_DETAILS = """\
Finds inverted, missing, extra, duplicate, NaN, constant, tied and shuffled scores, a
truncated file and the wrong split. The exit status is 2 if there is any problem.

example:
  mldg check scores.txt --keys trial_metadata.txt
"""


def add(commands: Any) -> None:
    """Adds the commands.

    Args:
      commands: subparsers of the main parser.
    """
    _add_evaluate(
        add_command(commands, "evaluate", _evaluate, EVALUATE, EVALUATE_DETAILS)
    )
    _add_check(add_command(commands, "check", _check, CHECK, CHECK_DETAILS))


def _add_evaluate(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--scores", action="append", metavar="[NAME=]FILE",
        help="a score file; repeat the option to compare systems on the same trials",
    )  # fmt: skip
    command.add_argument(
        "--keys",
        metavar="FILE",
        help="the keys (protocol) of the trials: an ASVspoof protocol or "
        "trial_metadata.txt, a meta.csv, or a table with the columns utterance and "
        "label, which is bonafide or spoof (optional: attack, speaker, codec, "
        "language, split); not needed for scores in the format of ASVspoof 2019, which "
        "contain the keys",
    )
    _add_reading(command)
    command.add_argument(
        "--by", metavar="COLUMN,…",
        help="columns of the keys to break the EER down by, in addition to the attack; "
        "default: codec,language if present",
    )  # fmt: skip
    command.add_argument(
        "--replicas", type=int, default=1000, metavar="N",
        help="number of bootstrap replicates for the intervals, at least 40; 0 for no "
        "intervals; default: %(default)s",
    )  # fmt: skip
    command.add_argument(
        "--resample", choices=tuple(CHOICES),
        help="what the intervals are drawn from, and so what they hold for: speakers, "
        "for new speakers and the same attacks; speakers-attacks, for new speakers and "
        "new attacks; trials, for neither (too narrow, to compare with papers); "
        "default: speakers; with --robustness speakers-attacks, if the keys have three "
        "attacks or more",
    )  # fmt: skip
    command.add_argument(
        "--families", metavar="ATTACK=FAMILY,…",
        help="attacks of one family (such as settings of one synthesiser), which are "
        "resampled as one; default: every attack is its own",
    )  # fmt: skip
    command.add_argument(
        "--json", action="store_true", help="print one JSON object instead of tables"
    )
    command.add_argument(
        "--html",
        metavar="FILE",
        help="also write a report: one HTML page that needs no network",
    )
    command.add_argument(
        "--card",
        metavar="RUN",
        help="also add the results to the model card of the run that produced the "
        "scores",
    )
    command.add_argument(
        "--figures", metavar="FOLDER", help="also write the figures as SVG and PDF"
    )
    fixed = command.add_argument_group("thresholds that were fixed on other data")
    fixed.add_argument(
        "--threshold-from", action="append", metavar="[NAME=]FILE",
        help="dev scores of the system NAME, to fix its thresholds on; repeat the "
        "option for several systems, with the names of --scores",
    )  # fmt: skip
    fixed.add_argument(
        "--threshold-keys", metavar="FILE",
        help="the keys of the dev scores, as for --keys",
    )  # fmt: skip
    fixed.add_argument(
        "--threshold-subset", metavar="SUBSET",
        help="subset of these keys if they have several, or 'all'; default: dev",
    )  # fmt: skip
    tandem = command.add_argument_group(
        "min t-DCF (the model of ASVspoof 2021)",
        "error rates of a speaker verifier (ASV), as fractions, or its scores:",
    )
    for name, text in (
        ("pfa", "rate of accepted nontargets"),
        ("pmiss", "rate of rejected targets"),
        ("pmiss-spoof", "rate of rejected spoofs"),
    ):
        tandem.add_argument(f"--asv-{name}", type=float, metavar="RATE", help=text)
    tandem.add_argument(
        "--asv-scores",
        metavar="FILE",
        help="the verifier's scores, instead of the rates, which are then taken at its "
        "EER",
    )
    tandem.add_argument(
        "--asv-keys",
        metavar="FILE",
        help="keys of --asv-scores if the file does not contain them, such as ASVspoof "
        "2021's keys/LA/ASV/trial_metadata.txt",
    )
    robustness_options.add(command)


def _add_check(command: argparse.ArgumentParser) -> None:
    command.add_argument("scores", metavar="SCORES", help="a score file")
    command.add_argument(
        "--keys",
        required=True,
        metavar="FILE",
        help="the keys of its trials, see mldg evaluate --help",
    )
    _add_reading(command)


def _add_reading(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--format",
        choices=("auto", "asvspoof2019", "asvspoof2021", "asvspoof5", "csv"),
        default="auto",
        help="format of the score file; default: %(default)s",
    )
    command.add_argument(
        "--subset",
        help="subset of the keys if they have several (ASVspoof 2021: progress, eval, "
        "hidden_track), or 'all'; default: eval",
    )


def _evaluate(arguments: argparse.Namespace) -> None:
    robustness_options.check(arguments)
    if arguments.robustness is not None:
        robustness_options.evaluate(arguments, _families(arguments.families))
        return
    from mldg_jax.scoring import evaluate, report

    systems, dev = evaluate.named(arguments.scores), arguments.threshold_from
    dev_systems = evaluate.named_dev(systems, dev) if dev else None
    _check_outputs(arguments, [*systems.values(), *(dev_systems or {}).values()])
    evaluation = evaluate.evaluate(
        systems,
        arguments.keys,
        format=arguments.format,
        subset=arguments.subset,
        by=arguments.by.split(",") if arguments.by else None,
        asv=_asv(arguments),
        threshold_from=dev_systems,
        threshold_keys=arguments.threshold_keys,
        threshold_subset=arguments.threshold_subset,
        replicas=arguments.replicas,
        resample=CHOICES[arguments.resample or "speakers"],
        families=_families(arguments.families),
    )
    if arguments.html or arguments.figures:
        report.write(evaluation, arguments.html, arguments.figures)
        for written in filter(None, (arguments.html, arguments.figures)):
            console.progress(f"mldg: wrote {written}")
    for name, system in evaluation.systems.items():
        for warning in system.warnings:
            print(visible(f"mldg: {name}: {warning}"), file=sys.stderr)
    if arguments.card:
        _add_to_card(arguments, evaluation)
    if arguments.json:
        print(json.dumps(evaluation.to_json(), allow_nan=False))
    else:
        print(visible(report.text(evaluation)))


def _check_outputs(arguments: argparse.Namespace, scores: list[str]) -> None:
    """Checks everything that ``mldg evaluate`` writes against all that it reads."""
    from mldg_jax.common import files, html
    from mldg_jax.scoring import model_card

    others = (arguments.keys, arguments.threshold_keys)
    asv = (arguments.asv_scores, arguments.asv_keys)
    inputs = [*scores, *filter(None, (*others, *asv))]
    if arguments.html is not None:
        html.check_page(arguments.html, inputs)
    if arguments.figures is not None:
        files.check_folder(arguments.figures)
    if arguments.card is not None:
        for name in (model_card.CARD, model_card.EVALUATIONS):
            files.check_output(Path(arguments.card) / name, inputs)


def _add_to_card(arguments: argparse.Namespace, evaluation: Any) -> None:
    from mldg_jax.scoring import model_card

    systems = evaluation.systems
    if len(systems) > 1:
        raise UserError(
            f"--card takes the scores of one run; {len(systems)} systems were given: "
            "evaluate that run alone"
        )
    (system,) = systems.values()
    name = Path(evaluation.trials.file).stem
    resampled = evaluation.scheme.resampled(evaluation.units)
    seen = model_card.add_evaluation(arguments.card, name, system, resampled)
    if seen:
        print(
            f"mldg: {arguments.card} was trained on {', '.join(seen)}: the error rates "
            "of these attacks do not tell how it performs on unseen attacks",
            file=sys.stderr,
        )


def _families(text: str | None) -> dict[str, str]:
    """Parses --families."""
    families: dict[str, str] = {}
    for entry in text.split(",") if text else ():
        attack, equals, family = entry.partition("=")
        if not (attack and equals and family):
            raise UserError(
                f"--families has {entry!r}, must be ATTACK=FAMILY, as in "
                "--families A04=A16,A06=A19"
            )
        if families.setdefault(attack, family) != family:
            raise UserError(
                f"--families gives {attack} the families {families[attack]} and "
                f"{family}: keep one of them"
            )
    return families


def _asv(arguments: argparse.Namespace) -> dict[str, float] | None:
    from mldg_jax.scoring import asv

    names = ("asv_pfa", "asv_pmiss", "asv_pmiss_spoof")
    rates = {name: getattr(arguments, name) for name in names}
    if arguments.asv_scores:
        return asv.rates(arguments.asv_scores, arguments.asv_keys, arguments.subset)
    missing = [name for name, rate in rates.items() if rate is None]
    if len(missing) == len(rates):
        return None
    if missing:
        options = ", ".join("--" + name.replace("_", "-") for name in missing)
        raise UserError(f"min t-DCF needs all three rates: add {options}")
    return rates


def _check(arguments: argparse.Namespace) -> int:
    """Runs ``mldg check``; returns status 2 if anything is wrong."""
    from mldg_jax.scoring import diagnose

    summary, findings = diagnose.check(
        arguments.scores,
        arguments.keys,
        format=arguments.format,
        subset=arguments.subset,
    )
    print(visible(summary))
    for finding in findings:
        print(visible(f"  {finding}"))
    problems = sum(not finding.note for finding in findings)
    print(f"{problems} problem{'s' * (problems > 1)}" if problems else "no problems")
    return 2 if problems else 0
