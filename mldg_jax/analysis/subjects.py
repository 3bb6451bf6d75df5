"""Inputs of the analysis: finished runs, and some utterances of every attack."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from mldg_jax.analysis import losses
from mldg_jax.common import run_folder
from mldg_jax.common.config import Config
from mldg_jax.common.errors import UserError
from mldg_jax.data.corpus import BONAFIDE, SPOOF, Corpus
from mldg_jax.data.episodes import crop
from mldg_jax.models import split
from mldg_jax.models.detector import Detector
from mldg_jax.scoring.scorer import load_parameters
from mldg_jax.step import TrainState
from mldg_jax.training.build import build_state
from mldg_jax.training.checkpoints import open_checkpoints, restore_first


class FinishedRun(NamedTuple):
    """The model of a run, with its adapters not merged into the front-end.

    Attributes:
      name: name of the run's folder.
      folder: path of that folder.
      config: config of the run.
      detector: the model, computing in float32.
      trainable: φ: ``head`` and, with adapters, ``frontend``.
      batch_stats: running statistics of the head.
      frozen: pretrained parameters of the front-end.
      step: training step that the parameters are from.
      objective_state: state of the objective after that step, known of checkpoints
        only; ``()`` if the objective has none.
    """

    name: str
    folder: Path
    config: Config
    detector: Detector
    trainable: dict[str, Any]
    batch_stats: dict[str, Any]
    frozen: dict[str, Any]
    step: int
    objective_state: Any = ()

    @property
    def trained_on(self) -> dict[str, Any]:
        """Summary of the training data in the run's provenance; {} if it has none."""
        return run_folder.read_provenance(self.folder).get("trained_on", {})

    @property
    def scale(self) -> float:
        """Multiplier of A @ B in the LoRA update."""
        return self.detector.frontend.lora_scale

    @property
    def loss(self) -> jax.tree_util.Partial:
        """Evaluation loss of the run; see ``losses.evaluation``."""
        return losses.evaluation(self.detector, self.batch_stats, self.frozen)

    @property
    def loss_for_objectives(self) -> jax.tree_util.Partial:
        """The same loss, as objectives take it; see ``losses.for_objectives``."""
        return losses.for_objectives(self.detector, self.batch_stats, self.frozen)

    @property
    def variables(self) -> dict[str, Any]:
        """Variables for ``detector.apply``."""
        return split.variables(self.trainable, self.batch_stats, self.frozen)

    @property
    def point(self) -> dict[str, Any]:
        """The run as a point of ``landscape``."""
        return {"trainable": self.trainable, "batch_stats": self.batch_stats}


class Examples(NamedTuple):
    """The same number of utterances for every attack.

    Attributes:
      attacks: names, sorted.
      batch: ``waveform`` (attacks, examples, samples) float32 in [-1, 1] and ``label``
        (attacks, examples) int32, 1 for bona fide. The first half of an attack's
        examples is spoofed, the second bona fide.
      row: (attacks, examples) int64, indices of the utterances in the corpus.
    """

    attacks: tuple[str, ...]
    batch: dict[str, np.ndarray]
    row: np.ndarray

    @property
    def spoof(self) -> "Examples":
        """The spoofed examples only."""
        half = self.row.shape[1] // 2
        batch = {name: x[:, :half] for name, x in self.batch.items()}
        return Examples(self.attacks, batch, self.row[:, :half])

    def episode(self, meta_test: Sequence[int]) -> dict[str, Any]:
        """Returns an episode that holds out the given attacks for meta-test.

        Args:
          meta_test: indices into ``attacks``.

        Returns:
          ``{"meta_train": batch, "meta_test": batch}``.
        """
        held_out = np.isin(np.arange(len(self.attacks)), meta_test)
        halves = {"meta_train": ~held_out, "meta_test": held_out}
        return {
            name: {k: x[chosen] for k, x in self.batch.items()}
            for name, chosen in halves.items()
        }


def load(folder: str | Path) -> FinishedRun:
    """Loads a finished run with the parameters it scores with, the EMA of φ.

    Args:
      folder: the run's folder.

    Returns:
      The run, at the last step of training.

    Raises:
      UserError: the folder is not that of a finished run, or its parameters do not fit
        the model in its config.
    """
    parts = load_parameters(folder)
    return FinishedRun(
        Path(folder).resolve().name,
        Path(folder),
        parts.config,
        parts.detector,
        parts.trainable,
        parts.batch_stats,
        {"frontend": parts.frontend},
        parts.config.steps,
    )


def initial(run: FinishedRun) -> dict[str, Any]:
    """Recomputes from the seed the parameters that training started from.

    Training measures the head's initial statistics on training examples. They are not
    needed here, because they do not affect the initial parameters.

    Args:
      run: provides config, model and frozen parameters.

    Returns:
      A tree like ``run.trainable``.
    """
    return _state(run).trainable


def _state(run: FinishedRun) -> TrainState:
    silence = np.zeros((1, run.config.crop_samples), np.float32)
    state, _ = build_state(
        run.config,
        run.detector,
        run.frozen["frontend"],
        silence,
        num_domains=run.trained_on.get("domains"),
    )
    return state


def checkpoints(run: FinishedRun) -> Iterator[FinishedRun]:
    """Loads a run's checkpoints one after the other, with φ itself and not its EMA.

    A run keeps its last two checkpoints, and others as ``config.keep_every`` says.

    Args:
      run: the finished run.

    Yields:
      The run at each checkpoint, in the order of training.

    Raises:
      UserError: the run has no checkpoints, or one of them is damaged.
    """
    folder = run.folder / "checkpoints"
    steps = sorted(int(x.name) for x in folder.glob("[0-9]*") if x.is_dir())
    if not steps:
        raise UserError(f"{folder} contains no checkpoint: train the run again")
    state = _state(run)
    with open_checkpoints(run.folder, lambda: steps) as manager:
        for step in steps:
            _, state = restore_first(manager, [step], state)
            yield run._replace(
                trainable=state.trainable,
                batch_stats=state.batch_stats,
                step=step,
                objective_state=state.objective_state,
            )


def choose(corpus: Corpus, *, examples: int, samples: int, seed: int = 0) -> Examples:
    """Chooses spoofed utterances of every attack and as many bona fide ones.

    Attacks share bona fide utterances only if there are too few for all of them.
    Speakers are not balanced. Crops are taken from the middle of the utterances.

    Args:
      corpus: a split of a corpus.
      examples: utterances per attack, even, ≥ 2; half of them are bona fide.
      samples: length of a crop, at 16 kHz.
      seed: seed of the choice.

    Returns:
      The utterances of every attack.

    Raises:
      UserError: the split lacks spoofed or bona fide utterances, or ``examples`` is
        odd, below 2 or more than the split provides.
    """
    rng = np.random.default_rng(seed)
    attacks = sorted(set(corpus.attack[corpus.label == SPOOF]))
    real = np.flatnonzero(corpus.label == BONAFIDE)
    if not attacks or not len(real):
        missing = "bona fide" if attacks else "spoofed"
        raise UserError(
            f"the split has no {missing} utterance; the analysis needs spoofed and "
            "bona fide ones: use another split"
        )
    fake = [
        np.flatnonzero((corpus.attack == a) & (corpus.label == SPOOF)) for a in attacks
    ]
    fewest = min([len(real), *map(len, fake)])
    half = examples // 2
    if examples < 2 or examples % 2 or half > fewest:
        raise UserError(
            f"{examples} examples per attack; it must be an even number from 2 to "
            f"{2 * fewest}: half are spoofed and half bona fide, and the smallest "
            f"class of the split has {fewest} utterances"
        )
    spoof = np.stack([rng.permutation(rows)[:half] for rows in fake])
    # Each round deals every bona fide utterance at most once, in whole attacks, so an
    # attack never gets the same utterance twice.
    rounds = -(-len(attacks) * half // (len(real) // half * half))
    dealt = [rng.permutation(real)[: len(real) // half * half] for _ in range(rounds)]
    bonafide = np.concatenate(dealt)[: len(attacks) * half].reshape(-1, half)
    row = np.concatenate([spoof, bonafide], axis=1)
    crops = np.stack([crop(corpus.waveform(i), samples, 0.5) for i in row.ravel()])
    batch = {
        "waveform": crops.reshape(*row.shape, samples),
        "label": corpus.label[row].astype(np.int32),
    }
    return Examples(tuple(map(str, attacks)), batch, row)
