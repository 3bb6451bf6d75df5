"""The commands ``mldg evaluate`` and ``mldg check``: parses, calls, prints."""

import argparse
import json
import sys

from mldg_jax.errors import UserError

EVALUATE = """\
Error rates, costs and calibration of score files, with intervals from resampling
speakers, and a paired test between systems."""
CHECK = "Look for everything that is wrong with a score file, each with its fix."


def add_evaluate(command: argparse.ArgumentParser) -> None:
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


def add_check(command: argparse.ArgumentParser) -> None:
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


def evaluate(arguments: argparse.Namespace) -> None:
    """Runs ``mldg evaluate``."""
    from mldg_jax import evaluate as evaluations
    from mldg_jax import evaluation_page

    evaluation = evaluations.evaluate(
        evaluations.named(arguments.scores),
        arguments.keys,
        format=arguments.format,
        subset=arguments.subset,
        by=arguments.by.split(",") if arguments.by else None,
        asv=_asv(arguments),
        replicas=arguments.replicas,
    )
    if arguments.html or arguments.figures:
        evaluation_page.write(evaluation, arguments.html, arguments.figures)
    for name, one in evaluation.results["systems"].items():
        for warning in one["warnings"]:
            print(f"mldg: {name}: {warning}", file=sys.stderr)
    if arguments.json:
        print(json.dumps(evaluations.plain(evaluation), allow_nan=False))
    else:
        print(evaluation_page.text(evaluation))


def _asv(arguments: argparse.Namespace) -> dict[str, float] | None:
    from mldg_jax import asv

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


def check(arguments: argparse.Namespace) -> int:
    """Runs ``mldg check``; the status is 2 if anything is wrong."""
    from mldg_jax import checks

    summary, found = checks.check(
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
