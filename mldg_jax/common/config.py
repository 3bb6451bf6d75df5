"""Every setting of a run, with its meaning and its default.

A config file (``configs/``) sets only what differs from the defaults,
``config_values.complete`` fills in the rest, and the ``config.json`` of a run records
every value. The sections, and what the tags mean, are in ``sections``.
"""

from dataclasses import dataclass
from typing import Annotated

from mldg_jax.common.sections import (
    AugmentSection,
    AveragesSection,
    CalibrationSection,
    ComputeSection,
    CorpusSection,
    Count,
    EpisodeSection,
    LoaderSection,
    LoraSection,
    ModelSection,
    ObjectiveSection,
    OptimizerSection,
    Positive,
    SelectionSection,
    ValidationSection,
    Within,
)

__all__ = [
    "AugmentSection",
    "AveragesSection",
    "CalibrationSection",
    "ComputeSection",
    "Config",
    "CorpusSection",
    "EpisodeSection",
    "LoaderSection",
    "LoraSection",
    "ModelSection",
    "ObjectiveSection",
    "OptimizerSection",
    "SelectionSection",
    "ValidationSection",
]


@dataclass(frozen=True)
class Config:
    """The complete config of a run.

    Attributes:
      method: name of the method, shown in tables.
      seed: seed of all randomness.
      steps: number of training steps, at least 1; 0 for baselines, which take none.
      crop_samples: length of a training crop in samples at 16 kHz, 400 (what
        wav2vec 2.0 needs) … 9,600,000 (ten minutes); 64,600 [base].
      checkpoint_every: steps between checkpoints.
      keep_every: keep the checkpoints at multiples of this step permanently, in
        addition to the last two; 0 for none.
      log_every: steps between log lines.
      init_seed: seed of the initial parameters alone, for runs that shall differ in
        everything else; None for ``seed``.
      ema_decay: decay of the exponential moving average (EMA) of φ; the finished
        detector uses the EMA, see ``averages``.
      tensorboard: write TensorBoard event files too.
      components: mixture components of LFCC-GMM, whose only other setting is ``seed``.
      feature_cache: folder for the front-end's output before the first adapter,
        computed once per utterance. Requires crops that never change: ``episode.crop``
        first and no augmentation.
      tests: test sets of ``mldg compare``, each CORPUS:SPLIT; the training corpus's
        eval split if empty.
    """

    method: str = ""
    seed: Annotated[int, Within(0, 2**32 - 1)] = 0
    steps: Count = 1000
    crop_samples: Annotated[int, Within(400, 9_600_000)] = 64_600
    checkpoint_every: Positive = 100
    keep_every: Count = 0
    log_every: Positive = 10
    init_seed: Annotated[int, Within(0, 2**32 - 1)] | None = None
    ema_decay: Annotated[float, Within(0, 0.999_999)] = 0.99
    tensorboard: bool = False
    components: Annotated[int, Within(1, 4_096)] = 64
    feature_cache: str = ""
    tests: tuple[str, ...] = ()
    corpus: CorpusSection = CorpusSection()
    model: ModelSection = ModelSection()
    objective: ObjectiveSection = ObjectiveSection()
    episode: EpisodeSection = EpisodeSection()
    augment: AugmentSection = AugmentSection()
    optimizer: OptimizerSection = OptimizerSection()
    calibration: CalibrationSection = CalibrationSection()
    validation: ValidationSection = ValidationSection()
    averages: AveragesSection = AveragesSection()
    loader: LoaderSection = LoaderSection()
    compute: ComputeSection = ComputeSection()
    selection: SelectionSection = SelectionSection()
