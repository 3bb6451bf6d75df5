"""The options of ``mldg evaluate --robustness``."""

import argparse
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mldg_jax.cli.arguments import add_corpus, add_data_dir, corpus_folder, corpus_title
from mldg_jax.common import console
from mldg_jax.common.config import CorpusSection
from mldg_jax.common.errors import UserError
from mldg_jax.common.text_files import visible
from mldg_jax.scoring.scheme import CHOICES

if TYPE_CHECKING:
    from mldg_jax.scoring.robustness.evaluation_set import EvaluationSet

OWN = ("corpus", "split", "audio", "limit", "only", "without", "output")
OTHERS = (
    *("scores", "by", "html", "card", "figures", "threshold_from", "threshold_keys"),
    *("threshold_subset", "asv_pfa", "asv_pmiss", "asv_pmiss_spoof", "asv_scores"),
    "asv_keys",
)


def add(command: argparse.ArgumentParser) -> None:
    """Adds the options.

    Args:
      command: parser of ``mldg evaluate``.
    """
    group = command.add_argument_group(
        "robustness of a run, instead of --scores",
        "RUN/robustness gets the scores of every degradation, report.html,\n"
        "robustness.json and a picture; the same command continues an interrupted\n"
        "one. Groups of degradations: codec, noise, reverberation, duration, level,\n"
        "resampling, silence. AMR-WB (amrwb) is applied only if --only names it, as\n"
        "PyAV's wheels have no encoder for it.",
    )
    group.add_argument(
        "--robustness", metavar="RUN", help="a finished run folder to evaluate"
    )
    add_corpus(group, "run")
    group.add_argument(
        "--split", metavar="SPLIT", help="split of the corpus; default: eval"
    )
    add_data_dir(group)
    group.add_argument(
        "--audio", nargs="+", metavar="PATH",
        help="recordings, folders or lists, as in mldg score, instead of a corpus; "
        "their keys with --keys",
    )  # fmt: skip
    group.add_argument(
        "--limit", type=int, metavar="N",
        help="maximum number of recordings of each class, evenly spread, for a quick "
        "look; default: all",
    )  # fmt: skip
    for name, text in (
        ("only", "degradations or groups to apply; default: all but amrwb"),
        ("without", "degradations or groups to leave out"),
    ):
        group.add_argument(f"--{name}", metavar="NAME,…", help=text)
    group.add_argument(
        "--output", metavar="FOLDER", help="where to write; default: RUN/robustness"
    )


def check(arguments: argparse.Namespace) -> None:
    """Checks that options belong to what is evaluated: score files or a run.

    Args:
      arguments: of ``mldg evaluate``.

    Raises:
      UserError: neither or both are given, or an option is of the other.
    """
    of_run = arguments.robustness is not None
    if not of_run and not arguments.scores:
        raise UserError(
            "nothing to evaluate: add score files with --scores FILE, or a run with "
            "--robustness RUN"
        )
    for name in OTHERS if of_run else OWN:
        if getattr(arguments, name) is not None:
            option = "--" + name.replace("_", "-")
            if of_run:
                raise UserError(f"{option} does not go with --robustness: remove it")
            raise UserError(
                f"{option} is for --robustness RUN: add that instead of --scores, or "
                f"remove {option}"
            )
    if not of_run:
        return
    if arguments.audio is None and (arguments.keys or arguments.subset):
        raise UserError(
            "--keys and --subset describe recordings on disk: add them with --audio, "
            "or choose a prepared corpus with --corpus and --split"
        )
    if arguments.audio is not None and not arguments.keys:
        raise UserError("--audio needs the keys of the recordings: add --keys FILE")
    if arguments.audio is not None and (arguments.corpus or arguments.split):
        raise UserError("--audio and --corpus are two sources: name one of them")
    if arguments.limit is not None and arguments.limit < 1:
        raise UserError(f"--limit is {arguments.limit}, must be at least 1")


def evaluate(arguments: argparse.Namespace, families: Mapping[str, str]) -> None:
    """Runs ``mldg evaluate --robustness``.

    Args:
      arguments: of ``mldg evaluate``.
      families: see ``Scheme.families``.

    Raises:
      UserError: see ``robustness_run.evaluate``.
    """
    from mldg_jax.common import compile_cache
    from mldg_jax.scoring.robustness import (
        evaluation_set,
        robustness_page,
        robustness_run,
    )
    from mldg_jax.scoring.scheme import Scheme

    limit = arguments.limit or 0

    def open_trials(trained_on: CorpusSection) -> "EvaluationSet":
        if arguments.audio is not None:
            return evaluation_set.from_files(
                arguments.audio, arguments.keys, arguments.subset, limit
            )
        title = "/".join(filter(None, corpus_title(arguments, trained_on)))
        folder = corpus_folder(arguments, trained_on)
        return evaluation_set.from_corpus(
            folder, title, arguments.split or "eval", trained_on, limit
        )

    scheme = Scheme(
        "together",
        replicates=arguments.replicas,
        clusters=CHOICES[arguments.resample or "speakers-attacks"],
        families=families,
    )
    with compile_cache.used():
        result, written = robustness_run.evaluate(
            arguments.robustness,
            open_trials,
            only=_words(arguments.only),
            without=_words(arguments.without),
            scheme=scheme,
            output=arguments.output,
        )
    console.progress(f"mldg: wrote {written[0]}")
    if arguments.json:
        print(json.dumps(result.to_json(), allow_nan=False))
    else:
        print(visible(robustness_page.text(result)))


def _words(text: str | None) -> list[str]:
    """Splits a list of names."""
    return [word.strip() for word in text.split(",")] if text else []
