"""The commands ``mldg train`` and ``mldg calibrate``."""

import argparse
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mldg_jax.cli.arguments import (
    add_command,
    add_config,
    add_corpus,
    add_data_dir,
    corpus_folder,
    corpus_title,
)
from mldg_jax.common import console, processes
from mldg_jax.common.config import Config, CorpusSection
from mldg_jax.common.errors import UserError

TRAIN = "Train one detector; run the same command again to continue a run."
TRAIN_DETAILS = """\
The run folder gets config.json, metrics.jsonl (the log), checkpoints/ and, once the
run is finished, trainable.safetensors and MODEL_CARD.md. Ctrl-C finishes the step,
saves and stops. At the end the scores are calibrated on the corpus's dev split if it
has one. Compiled programs are kept in ~/.cache/mldg_jax/xla ($XDG_CACHE_HOME or
$JAX_COMPILATION_CACHE_DIR move it), so that the same model starts faster the next time;
the folder can be deleted at any time.

methods of the presets (`mldg configs` lists them), the word after the colon:
  frozen    train the head on the frozen front-end
  erm       train LoRA adapters and head on the pooled loss of all attacks
  mldg      the same parameters with MLDG: adapt to some attacks, and require that the
            adapted model works on the attacks held out in the step (first order)
  mldg2     MLDG of second order
  control   the utterances and weights of MLDG, without its inner step
  full      fine-tune the whole front-end, without LoRA
  Add ,smoke for a run of seconds.

examples:
  mldg train --config debspoof:mldg --workdir runs/mldg
  mldg train --config debspoof:erm,smoke --workdir runs/try     (seconds)
  validate every 500 steps on two held-out attacks, and keep the best checkpoint
    mldg train --config xlsr:mldg --workdir runs/x \\
      --set 'validation.attacks=[A05, A06]' --set validation.every=500
  two processes, started on two hosts
    mldg train … --coordinator host0:1234 --processes 2 --process 0
    mldg train … --coordinator host0:1234 --processes 2 --process 1
"""
CALIBRATE = "Calibrate a run on a split that it was not trained on."
CALIBRATE_DETAILS = """\
Afterwards the run's scores are log-likelihood ratios (natural logarithm): at 0, bona
fide and spoof are equally likely. `mldg train` does this at the end of a run if the
corpus has a dev split. Attacks that the run held out of training are left out.

example:
  mldg calibrate runs/mldg --corpus asvspoof5 --split dev
"""


def add(commands: Any) -> None:
    """Adds the commands.

    Args:
      commands: subparsers of the main parser.
    """
    _add_train(add_command(commands, "train", _train, TRAIN, TRAIN_DETAILS))
    _add_calibrate(
        add_command(commands, "calibrate", _calibrate, CALIBRATE, CALIBRATE_DETAILS)
    )


def _add_train(train: argparse.ArgumentParser) -> None:
    add_config(train)
    train.add_argument(
        "--workdir",
        required=True,
        metavar="RUN",
        help="the run folder, new or of an unfinished run with the same config; may be "
        "in a bucket: gs://… or s3://…",
    )
    train.add_argument(
        "--devices",
        type=int,
        metavar="N",
        help="number of GPUs or TPU devices to train on; default: all",
    )
    train.add_argument(
        "--coordinator",
        metavar="HOST:PORT",
        help="train in several processes: address of process 0, the same in all; "
        "'auto' on a TPU slice",
    )
    train.add_argument(
        "--processes",
        type=int,
        metavar="N",
        help="with HOST:PORT: number of processes",
    )
    train.add_argument(
        "--process",
        type=int,
        metavar="I",
        help="with HOST:PORT: number of this process, from 0 to N − 1",
    )
    train.add_argument(
        "--stopped-status",
        type=int,
        default=0,
        metavar="STATUS",
        help="exit status of a run that was told to stop and has saved, for schedulers "
        "that should start it again; default: %(default)s",
    )
    add_data_dir(train)


def _add_calibrate(calibrate: argparse.ArgumentParser) -> None:
    calibrate.add_argument("run", metavar="RUN", help="a finished run folder")
    add_corpus(calibrate, "run")
    calibrate.add_argument(
        "--split", default="dev", help="split to calibrate on; default: %(default)s"
    )
    calibrate.add_argument(
        "--utterances",
        type=int,
        default=1000,
        metavar="N",
        help="maximum number of utterances per class; 0 for all; default: %(default)s",
    )
    calibrate.add_argument(
        "--include-excluded",
        action="store_true",
        help="calibrate on the attacks that the run held out of training too "
        "(episode.exclude, validation.attacks); by default they are left out",
    )
    add_data_dir(calibrate)


def _train(arguments: argparse.Namespace) -> int | None:
    if arguments.coordinator:
        status = processes.run_supervised(processes.same_command())
        if status is not None:
            return status

    from mldg_jax.training import parallel, remote_run
    from mldg_jax.training.config_files import read_config_file

    with remote_run.local_folder(arguments.workdir) as (workdir, publish):
        config = read_config_file(arguments.config, arguments.overrides)
        if ":" not in arguments.config:  # it was the config file that chose it
            console.progress(f"{arguments.config}: method {config.method}")
        if arguments.coordinator:
            parallel.connect(
                arguments.coordinator, arguments.processes, arguments.process
            )
        return _train_in(workdir, publish, config, arguments)


def _train_in(
    workdir: Path,
    publish: Callable[[], None] | None,
    config: Config,
    arguments: argparse.Namespace,
) -> int | None:
    """Trains and calibrates in a folder of this machine, see ``remote_run``."""
    from mldg_jax.common import compile_cache, run_folder
    from mldg_jax.common.begun import has_begun
    from mldg_jax.common.config_values import with_values
    from mldg_jax.data.attack_folds import training_rows, with_validation
    from mldg_jax.data.corpus import corpus_sha256, find_corpus
    from mldg_jax.scoring.calibration import CALIBRATION_FILE
    from mldg_jax.training import loop, parallel

    name, size = config.corpus.name, config.corpus.config
    folder = find_corpus(name, size, arguments.data_dir)
    config = with_values(config, {"corpus.sha256": corpus_sha256(folder)})
    is_new = not has_begun(workdir)
    if is_new and config.calibration.utterances and config.corpus.fold is None:
        _trials(config.corpus, config.calibration.split)  # refused before the training
    rows, validate_on = with_validation(
        folder, config.validation, training_rows(folder, config.corpus)
    )
    with (
        processes.caught(multiprocess=parallel.is_multiprocess()) as stop,
        compile_cache.used(),
    ):
        loop.train(
            config,
            workdir,
            rows,
            validate_on=validate_on,
            devices=parallel.devices(arguments.devices),
            stop=stop,
            publish=publish,
        )
    if not parallel.is_primary():
        return None
    run = arguments.workdir
    if not run_folder.finished(workdir):
        print(f"{run}: stopped and saved; to continue, run\n  {_same_command()}")
        return arguments.stopped_status
    # (training on a fold used speakers of every split: none is left)
    is_calibrated = (workdir / CALIBRATION_FILE).exists()
    if config.calibration.utterances and config.corpus.fold is None:
        if not is_calibrated:
            _calibrate_trained(run, workdir, config, folder)
        if publish is not None:
            publish()
    print(f"{run}: finished; to score recordings: mldg score {run} your.wav")
    return None


def _calibrate_trained(run: str, workdir: Path, config: Config, folder: Path) -> None:
    """Calibrates a run on its corpus; says so if it cannot: the run is complete."""
    from mldg_jax.scoring import scorer
    from mldg_jax.scoring.calibration_trials import load_trials

    split, utterances = config.calibration.split, config.calibration.utterances
    try:
        trials = _trials(config.corpus, split)
        rows = load_trials(config, folder, split)
        scorer.calibrate(workdir, rows, utterances=utterances, trials=trials)
    except UserError as error:
        print(f"mldg: {run} is not calibrated: {error}", file=sys.stderr)


def _trials(corpus: CorpusSection, split: str) -> Any:
    """Describes a split of a run's training corpus; it must not be the one trained on.

    Raises ``UserError`` with the fix in the config's words.
    """
    from mldg_jax.data.corpus import TRAINING_SPLIT
    from mldg_jax.scoring.calibration_trials import trials_of

    if split == TRAINING_SPLIT:
        raise UserError(
            f"calibration.split is {split!r}, which the run is trained on: set "
            "calibration.split=dev, or calibration.utterances=0 for no calibration"
        )
    return trials_of(corpus, corpus.name, corpus.config, corpus.sha256, split)


def _same_command() -> str:
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def _calibrate(arguments: argparse.Namespace) -> None:
    from mldg_jax.common import run_folder
    from mldg_jax.data.corpus import corpus_sha256
    from mldg_jax.scoring import scorer
    from mldg_jax.scoring.calibration_trials import load_trials, trials_of

    config = run_folder.read_config(arguments.run)
    trained_on = config.corpus
    name, size = corpus_title(arguments, trained_on)
    folder = corpus_folder(arguments, trained_on)
    trials = trials_of(trained_on, name, size, corpus_sha256(folder), arguments.split)
    rows = load_trials(
        config, folder, arguments.split, include_excluded=arguments.include_excluded
    )
    path = scorer.calibrate(
        arguments.run, rows, utterances=arguments.utterances, trials=trials
    )
    print(f"wrote {path}; the run's scores are now log-likelihood ratios")
