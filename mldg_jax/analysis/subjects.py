"""What analysis starts from: run folders and some utterances of every attack."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from mldg_jax.analysis import losses
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
    """A run's parameters, its adapters beside the front-end's own.

    Attributes:
      name: of its folder.
      folder: where it is.
      config: the run's.
      detector: the model, computing in float32.
      trainable: φ: ``head`` and, with adapters, ``frontend``.
      batch_stats: the head's statistics.
      frozen: the front-end's own parameters.
      step: of training.
    """

    name: str
    folder: Path
    config: Config
    detector: Detector
    trainable: dict[str, Any]
    batch_stats: dict[str, Any]
    frozen: dict[str, Any]
    step: int

    @property
    def scale(self) -> float:
        """What multiplies A @ B."""
        return self.detector.frontend.lora_scale

    @property
    def loss(self) -> jax.tree_util.Partial:
        """``losses.evaluation`` of this run."""
        return losses.evaluation(self.detector, self.batch_stats, self.frozen)

    @property
    def variables(self) -> dict[str, Any]:
        """What ``detector.apply`` takes."""
        return split.variables(self.trainable, self.batch_stats, self.frozen)

    @property
    def point(self) -> dict[str, Any]:
        """What ``landscape`` takes."""
        return {"trainable": self.trainable, "batch_stats": self.batch_stats}


class Examples(NamedTuple):
    """The same number of utterances of every attack.

    Attributes:
      attacks: names, sorted.
      batch: ``waveform`` (attacks, examples, samples) float32 in [-1, 1] and ``label``
        (attacks, examples) int32, 1 bona fide; half spoof, half bona fide.
      row: (attacks, examples) int64, in the corpus.
    """

    attacks: tuple[str, ...]
    batch: dict[str, np.ndarray]
    row: np.ndarray

    @property
    def spoof(self) -> "Examples":
        """Only the spoofed half."""
        half = self.row.shape[1] // 2
        batch = {name: x[:, :half] for name, x in self.batch.items()}
        return Examples(self.attacks, batch, self.row[:, :half])

    def episode(self, meta_test: Sequence[int]) -> dict[str, Any]:
        """An episode whose meta-test half are the attacks of these numbers."""
        held_out = np.isin(np.arange(len(self.attacks)), meta_test)
        halves = {"meta_train": ~held_out, "meta_test": held_out}
        return {
            name: {k: x[chosen] for k, x in self.batch.items()}
            for name, chosen in halves.items()
        }


def load(folder: str | Path) -> FinishedRun:
    """Loads a finished run, as it scores: the moving average of its parameters.

    Raises:
      UserError: no such run, not finished, or its parameters fit another model.
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
    """The parameters that training started from, made again from the run's seed.

    The head's statistics, which are measured on training examples, play no part.
    """
    return _state(run).trainable


def _state(run: FinishedRun) -> TrainState:
    silence = np.zeros((1, run.config.crop_samples), np.float32)
    state, _ = build_state(run.config, run.detector, run.frozen["frontend"], silence)
    return state


def checkpoints(run: FinishedRun) -> Iterator[FinishedRun]:
    """The run at each of its checkpoints, in order: φ itself, not its average.

    ``config.keep_every`` says which a run keeps besides the last two.

    Raises:
      UserError: the run keeps none.
    """
    folder = run.folder / "checkpoints"
    found = sorted(int(x.name) for x in folder.glob("[0-9]*") if x.is_dir())
    if not found:
        raise UserError(f"{folder}: no checkpoint; train the run again to have some")
    state = _state(run)
    with open_checkpoints(run.folder, lambda: found) as manager:
        for step in found:
            _, state = restore_first(manager, [step], state)
            yield run._replace(
                trainable=state.trainable,
                batch_stats=state.batch_stats,
                step=step,
            )


def choose(corpus: Corpus, *, examples: int, samples: int, seed: int = 0) -> Examples:
    """Chooses utterances of every attack and as many bona fide ones.

    An attack's bona fide utterances are its own where there are enough for all attacks;
    else some are shared. Speakers are not balanced. Each is cut in its middle.

    Args:
      corpus: a split.
      examples: an attack, even, ≥ 2; half of them bona fide.
      samples: of a crop.
      seed: of the choice.

    Raises:
      UserError: an odd number, or more than there are.
    """
    rng = np.random.default_rng(seed)
    attacks = sorted(set(corpus.attack[corpus.label == SPOOF]))
    real = np.flatnonzero(corpus.label == BONAFIDE)
    fake = [
        np.flatnonzero((corpus.attack == a) & (corpus.label == SPOOF)) for a in attacks
    ]
    fewest = min([len(real), *map(len, fake)])
    half = examples // 2
    if examples < 2 or examples % 2 or half > fewest:
        raise UserError(
            f"{examples} examples an attack; it must be an even number from 2 to "
            f"{2 * fewest}: half are spoof and half bona fide, and the smallest class "
            f"of the split has {fewest} utterances"
        )
    spoof = np.stack([rng.permutation(rows)[:half] for rows in fake])
    rounds = -(-len(attacks) * half // (len(real) // half * half))
    dealt = [rng.permutation(real)[: len(real) // half * half] for _ in range(rounds)]
    bonafide = np.concatenate(dealt)[: len(attacks) * half].reshape(-1, half)
    row = np.concatenate([spoof, bonafide], axis=1)
    clips = np.stack([crop(corpus.waveform(i), samples, 0.5) for i in row.ravel()])
    batch = {
        "waveform": clips.reshape(*row.shape, samples),
        "label": corpus.label[row].astype(np.int32),
    }
    return Examples(tuple(map(str, attacks)), batch, row)
