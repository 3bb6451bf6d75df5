"""``mldg score``, ``mldg evaluate`` and ``mldg check``."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from mldg_jax.cli.arguments import add_command
from mldg_jax.common.errors import UserError

EVALUATE = """\
Error rates, costs and calibration of score files, with intervals from resampling
speakers, and a paired test between systems."""
CHECK = "Look for everything that is wrong with a score file, each with its fix."


SCORE = "Score recordings: one line 'name score' each, higher is more bona fide."


def add(commands: Any) -> None:
    """Adds the commands."""
    _add_score(add_command(commands, "score", _score, SCORE))
    _add_evaluate(add_command(commands, "evaluate", _evaluate, EVALUATE))
    _add_check(add_command(commands, "check", _check, CHECK))


def _add_score(score: argparse.ArgumentParser) -> None:
    score.add_argument("run", help="a finished run folder, e.g. runs/demo/mldg-0")
    score.add_argument(
        "audio",
        nargs="+",
        help="recordings of any rate, channels and length ≥ 0.2 s; folders, searched "
        "through; lists (.txt, .lst) with a path a line; - for such a list on "
        "standard input",
    )
    score.add_argument(
        "--output", help="a score file to write; interrupted, the command continues it"
    )
    score.add_argument(
        "--timeline",
        metavar="FOLDER",
        help="write the score of every window there: where in a recording is the fake?",
    )
    score.add_argument(
        "--overlap",
        type=float,
        default=0.0,
        help="share of a window that neighbours have in common at least; a score is "
        "the mean over windows; default: %(default)s, the fewest that cover all",
    )


def _add_evaluate(command: argparse.ArgumentParser) -> None:
    """The arguments of ``mldg evaluate``."""
    command.add_argument(
        "--scores", action="append", required=True, metavar="[NAME=]FILE",
        help="a score file; repeat it to compare systems on the same trials",
    )  # fmt: skip
    command.add_argument(
        "--keys",
        help="a protocol, trial_metadata.txt, meta.csv or a table with the columns "
        "utterance and label, bonafide or spoof (and attack, speaker, codec, language, "
        "split); not needed if the scores are in ASVspoof 2019's format, which carries "
        "the keys",
    )
    _add_reading(command)
    command.add_argument(
        "--by", metavar="COLUMN,…",
        help="columns of the keys to break the EER down by, beside the attack; "
        "default: codec,language where there are any",
    )  # fmt: skip
    command.add_argument(
        "--replicas", type=int, default=1000,
        help="of the bootstrap over speakers; 0: no intervals; default: %(default)s",
    )  # fmt: skip
    command.add_argument(
        "--json", action="store_true", help="one JSON object instead of tables"
    )
    command.add_argument("--html", metavar="FILE", help="write the report")
    command.add_argument(
        "--card",
        metavar="RUN",
        help="add the numbers to the model card of the run that made the scores",
    )
    command.add_argument(
        "--figures", metavar="FOLDER", help="write the pictures as SVG and PDF"
    )
    tandem = command.add_argument_group(
        "min t-DCF (model of ASVspoof 2021)", "error rates of a speaker verifier:"
    )
    for name, text in (
        ("pfa", "nontargets that it accepts, a fraction"),
        ("pmiss", "targets that it rejects"),
        ("pmiss-spoof", "spoofs that it rejects"),
    ):
        tandem.add_argument(f"--asv-{name}", type=float, metavar="RATE", help=text)
    tandem.add_argument(
        "--asv-scores", metavar="FILE", help="or its scores: the rates at its own EER"
    )
    tandem.add_argument(
        "--asv-keys", metavar="FILE", help="keys/LA/ASV/trial_metadata.txt, for 2021"
    )


def _add_check(command: argparse.ArgumentParser) -> None:
    """The arguments of ``mldg check``."""
    command.add_argument("scores", help="a score file")
    command.add_argument("--keys", required=True, help="the key file of its trials")
    _add_reading(command)


def _add_reading(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--format",
        choices=("auto", "asvspoof2019", "asvspoof2021", "asvspoof5", "csv"),
        default="auto",
        help="of the scores; default: %(default)s",
    )
    command.add_argument(
        "--subset",
        help="of key files that have several (ASVspoof 2021), or 'all'; default: eval",
    )


def _evaluate(arguments: argparse.Namespace) -> None:
    """Runs ``mldg evaluate``."""
    from mldg_jax.scoring import evaluate, report

    evaluation = evaluate.evaluate(
        evaluate.named(arguments.scores),
        arguments.keys,
        format=arguments.format,
        subset=arguments.subset,
        by=arguments.by.split(",") if arguments.by else None,
        asv=_asv(arguments),
        replicas=arguments.replicas,
    )
    if arguments.html or arguments.figures:
        report.write(evaluation, arguments.html, arguments.figures)
    for name, one in evaluation.systems.items():
        for warning in one.warnings:
            print(f"mldg: {name}: {warning}", file=sys.stderr)
    if arguments.card:
        _add_to_card(arguments, evaluation)
    if arguments.json:
        print(json.dumps(evaluation.to_json(), allow_nan=False))
    else:
        print(report.text(evaluation))


def _add_to_card(arguments: argparse.Namespace, evaluation: Any) -> None:
    from mldg_jax.scoring import model_card

    systems = evaluation.systems
    if len(systems) > 1:
        raise UserError(
            f"--card is for the scores of one run; {len(systems)} systems were given"
        )
    (system,) = systems.values()
    name = Path(evaluation.trials.file).stem
    resampled = evaluation.scheme.resampled(evaluation.units)
    met = model_card.add_evaluation(arguments.card, name, system, resampled)
    if met:
        print(
            f"mldg: {arguments.card} was trained on {', '.join(met)}: their error "
            "rates say nothing of new attacks",
            file=sys.stderr,
        )


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
    """Runs ``mldg check``; the status is 2 if anything is wrong."""
    from mldg_jax.scoring import diagnose

    summary, found = diagnose.check(
        arguments.scores,
        arguments.keys,
        format=arguments.format,
        subset=arguments.subset,
    )
    print(summary)
    for one in found:
        print(f"  {one}")
    problems = sum(not one.note for one in found)
    print(f"{problems} problem{'s' * (problems > 1)}" if problems else "no problem")
    return 2 if problems else 0


def _score(arguments: argparse.Namespace) -> int:
    from mldg_jax.scoring import recordings

    failed = recordings.score(
        arguments.run,
        arguments.audio,
        output=arguments.output or sys.stdout,
        timeline=arguments.timeline,
        overlap=arguments.overlap,
    )
    return 2 if failed else 0
