"""The config of a run: every knob, its meaning and its default, once.

A config file (``configs/``) sets what it wants otherwise, ``config_values.complete``
adds the rest, and ``config.json`` of a run has all of it. Tags as everywhere: [known]
stated by the authors of arXiv 2502.10838, [derived] computed from what they state,
[base] of the public XLS-R + AASIST code, which the paper builds on, [ours] our choice
where nothing is stated. Every default without a tag is [ours].
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class CorpusSection:
    """What is trained on.

    Attributes:
      name: of a prepared corpus.
      config: of it, e.g. "small"; empty where there is only one.
      sha256: of its utterances; filled in when training starts.
      fold: train on the speakers of all splits but those of this speaker fold.
    """

    name: str = "debspoof"
    config: str = ""
    sha256: str = ""
    fold: int | None = None


@dataclass(frozen=True)
class LoraSection:
    """Adapters of the front-end.

    Attributes:
      rank: 0 for none; 16 on XLS-R [derived].
      alpha: scale × rank.
      dropout: of what the adapters take.
      rank_stabilised: scale alpha / √rank instead of alpha / rank.
      targets: query, key, value, out [known] and mlp_in, mlp_out, of every layer.
    """

    rank: int = 0
    alpha: float = 16.0
    dropout: float = 0.0
    rank_stabilised: bool = False
    targets: tuple[str, ...] = ("query", "key", "value", "out")


@dataclass(frozen=True)
class ModelSection:
    """The detector.

    Attributes:
      weights: of the front-end: a name of the Hugging Face hub, a folder, a file,
        "whisper-tiny.en" or "random".
      frontend: ``kind`` (whisper or wav2vec2) and attributes of its module.
      head: ``kind`` (pooling or aasist) and attributes of its module.
      lora: adapters.
      full: every parameter of the front-end is trained; needs ``lora.rank`` 0.
    """

    weights: str = "random"
    frontend: Mapping[str, Any] = field(default_factory=dict)
    head: Mapping[str, Any] = field(default_factory=dict)
    lora: LoraSection = LoraSection()
    full: bool = False


@dataclass(frozen=True)
class ObjectiveSection:
    """What is minimised; an option that is None is left to the objective's default.

    Attributes:
      name: erm, mldg, mldg_gc, mldg_gn or domainbed, see ``mldg``.
      inner_lr: step size of the inner step, ≥ 0.
      beta: weight of the meta-test loss, ≥ 0.
      order: first [known] or second.
      inner_steps: ≥ 1.
      adapt: the part of φ that the inner step moves: all, frontend or head.
    """

    name: str = "erm"
    inner_lr: float | None = None
    beta: float | None = None
    order: str | None = None
    inner_steps: int | None = None
    adapt: str | None = None

    def options(self) -> dict[str, Any]:
        """Returns the options that are set."""
        options = dataclasses.asdict(self)
        del options["name"]
        return {name: value for name, value in options.items() if value is not None}


@dataclass(frozen=True)
class EpisodeSection:
    """What a step is made of.

    Attributes:
      num_meta_test: attacks (domains) held out in a step.
      examples_per_attack: utterances of each attack, half of them bona fide.
      exclude: attacks to exclude from training.
      attacks_per_episode: 0 for all.
      weights: of attacks, where a step does not take all; 1 where not given.
      domains: "attack", or "speaker": every speaker of an attack is a domain.
      crop: "random", or "first": clips begin with the utterance.
    """

    num_meta_test: int = 2
    examples_per_attack: int = 4
    exclude: tuple[str, ...] = ()
    attacks_per_episode: int = 0
    weights: Mapping[str, float] = field(default_factory=dict)
    domains: str = "attack"
    crop: str = "random"


@dataclass(frozen=True)
class AugmentSection:
    """Augmentation, the same for both classes; everything is off by default.

    Attributes:
      speed: on the host: by up to ± this part.
      equaliser: on the host: random smooth gains, standard deviation in dB.
      codec: on the host: some of mp3, aac, opus, g722, mulaw, alaw, none.
      rawboost: on the device: algorithm 1 … 8, 0 for none; 5 or 3 [base].
      noise_snr: on the device: white noise, between two SNRs in dB.
      gain: on the device: by up to ± this, in dB.
    """

    speed: float = 0.0
    equaliser: float = 0.0
    codec: tuple[str, ...] = ()
    rawboost: int = 0
    noise_snr: tuple[float, ...] = ()
    gain: float = 0.0


@dataclass(frozen=True)
class OptimizerSection:
    """Adam [base].

    Attributes:
      lr: of the front-end's part of φ; 1e-6 for fine-tuning [base].
      head_lr: of the head.
      warmup: steps of a linear warm-up.
    """

    lr: float = 1e-4
    head_lr: float = 1e-4
    warmup: int = 0


@dataclass(frozen=True)
class CalibrationSection:
    """How ``mldg train`` ends: scores become log-likelihood ratios.

    Attributes:
      split: one that training has not seen.
      utterances: at most, of each class; 0 for no calibration.
    """

    split: str = "dev"
    utterances: int = 1000


@dataclass(frozen=True)
class ValidationSection:
    """Choosing a checkpoint on held-out training attacks.

    Attributes:
      attacks: of the training split, excluded from training.
      split: whose bona fide and held-out attacks are scored.
      every: steps; 0 for never.
      utterances: at most, of each class; 0 for all.
      keep: checkpoints with the lowest EER.
      patience: validations without a better one after which training stops; 0: never.
    """

    attacks: tuple[str, ...] = ()
    split: str = "dev"
    every: int = 0
    utterances: int = 200
    keep: int = 2
    patience: int = 0


@dataclass(frozen=True)
class LoaderSection:
    """What makes episodes ahead of the step.

    Attributes:
      threads: in every process.
      workers: processes; 0: this one alone.
    """

    threads: int = 2
    workers: int = 0


@dataclass(frozen=True)
class ComputeSection:
    """How the step is computed.

    Attributes:
      dtype: of the front-end's activations: float32 or bfloat16.
      remat: its layers are computed again in the backward pass.
      scan: one layer is compiled for all of them.
      micro_batches: in how many parts the front-end takes each half of an episode.
    """

    dtype: str = "float32"
    remat: bool = False
    scan: bool = False
    micro_batches: int = 1


@dataclass(frozen=True)
class SelectionSection:
    """How ``mldg demo`` and ``mldg compare --tune`` tune hyper-parameters.

    Attributes:
      held_out: training attacks that these runs do not see and are judged on.
      num_meta_test: of these runs' episodes.
      steps: of these runs.
      seeds: runs a candidate.
      head_lr, lr, inner_lr: the demo's candidates.
    """

    held_out: tuple[str, ...] = ()
    num_meta_test: int = 1
    steps: int = 200
    seeds: int = 1
    head_lr: tuple[float, ...] = ()
    lr: tuple[float, ...] = ()
    inner_lr: tuple[float, ...] = ()


@dataclass(frozen=True)
class Config:
    """Everything that a run follows from.

    Attributes:
      method: the name of the method, for tables.
      seed: everything random follows from it.
      steps: of training.
      crop_samples: length of a training crop, at 16 kHz; 64,600 [base].
      checkpoint_every: steps.
      keep_every: keep the checkpoints of these steps besides the last two; 0: none.
      log_every: steps.
      ema_decay: of the exponential moving average of φ that the detector is made of.
      tensorboard: event files beside metrics.jsonl.
      components: of the mixtures of LFCC-GMM, which reads nothing else but ``seed``.
      feature_cache: a folder for what comes before the first adapter, computed once
        for every utterance; for crops that are always the same (``crop`` first, no
        augmentation).
      tests: CORPUS:SPLIT, what ``mldg compare`` tests on; the corpus's eval if empty.
    """

    method: str = ""
    seed: int = 0
    steps: int = 1000
    crop_samples: int = 64_600
    checkpoint_every: int = 100
    keep_every: int = 0
    log_every: int = 10
    ema_decay: float = 0.99
    tensorboard: bool = False
    components: int = 64
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
    loader: LoaderSection = LoaderSection()
    compute: ComputeSection = ComputeSection()
    selection: SelectionSection = SelectionSection()
