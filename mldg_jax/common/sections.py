"""The sections of a config, with the meaning and the default of every setting.

Tags give the origin of a value: [known] stated by the authors of arXiv 2502.10838;
[derived] computed from that; [base] from the public XLS-R + AASIST code that the paper
builds on; [ours] our choice, as every default without a tag.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple


class Within(NamedTuple):
    """The range of a number, ends included."""

    least: float
    most: float


Count = Annotated[int, Within(0, 10**9)]
Positive = Annotated[int, Within(1, 10**9)]
Workers = Annotated[int, Within(0, 256)]
Rate = Annotated[float, Within(0, 10)]  # a learning rate


@dataclass(frozen=True)
class CorpusSection:
    """The corpus to train on.

    Attributes:
      name: name of a prepared corpus, see ``mldg corpus build``.
      config: configuration of the corpus, e.g. "small"; empty if it has only one.
      sha256: hash of the corpus's utterances; filled in when training starts.
      fold: speaker fold to hold out: training uses the speakers of every split except
        those of this fold. None trains on the official training split.
      attack_folds: the attacks, or their families, in groups of which one can be held
        out; every attack of the corpus is in one of them. A name of both is the family.
      attack_fold: number of the group to hold out: training uses all other attacks of
        the corpus that the speakers allow. None trains on the attacks of the official
        training split.
    """

    name: str = "debspoof"
    config: str = ""
    sha256: str = ""
    fold: Count | None = None
    attack_folds: tuple[tuple[str, ...], ...] = ()
    attack_fold: Count | None = None


@dataclass(frozen=True)
class LoraSection:
    """LoRA adapters in the front-end.

    Attributes:
      rank: rank of the adapters; 0 for none. 16 on XLS-R [derived].
      alpha: numerator of the adapters' scale, alpha / rank.
      dropout: dropout rate at the input of the adapters, in [0, 0.99].
      rank_stabilised: scale by alpha / √rank instead of alpha / rank.
      targets: projections that get an adapter, in every layer: query, key, value, out
        [known], mlp_in, mlp_out.
    """

    rank: Annotated[int, Within(0, 4_096)] = 0
    alpha: Annotated[float, Within(0, 10**6)] = 16.0
    dropout: Annotated[float, Within(0, 0.99)] = 0.0
    rank_stabilised: bool = False
    targets: tuple[str, ...] = ("query", "key", "value", "out")


@dataclass(frozen=True)
class ModelSection:
    """The detector.

    Attributes:
      weights: weights of the front-end: a name on the Hugging Face hub, a folder, a
        file, "whisper-tiny.en" or "random".
      frontend: ``kind`` (whisper, wav2vec2, hubert, wavlm, unispeech_sat,
        wav2vec2_bert, or PACKAGE.MODULE:NAME of your own, see docs/extend.md) and
        attributes of its module. ``layers`` is the number of layers to compute, or a
        list of those that the head reads, 0 for the input of the first.
      head: ``kind`` (pooling, aasist, linear, mhfa, sls, frame, or one of your own) and
        attributes of its module.
      lora: the adapters.
      full: train every parameter of the front-end; requires ``lora.rank`` 0.
    """

    weights: str = "random"
    frontend: Mapping[str, Any] = field(default_factory=dict)
    head: Mapping[str, Any] = field(default_factory=dict)
    lora: LoraSection = LoraSection()
    full: bool = False


@dataclass(frozen=True)
class ObjectiveSection:
    """The function to minimise; options that are None use the objective's default.

    Attributes:
      name: erm, mldg, mldg_gc, mldg_gn or domainbed, see ``mldg``; sam, sagm, coral,
        mmd, vrex, irm, group_dro, fish, fishr or mixup, see ``objectives``; or
        PACKAGE.MODULE:NAME of your own, see docs/extend.md.
      inner_lr: learning rate of the inner step, ≥ 0.
      beta: weight of the meta-test loss, ≥ 0.
      order: order of the meta-gradient: first [known] or second.
      inner_steps: number of inner steps, ≥ 1.
      adapt: part of φ that the inner step updates: all, frontend or head.
      rho: radius of the perturbation of sam and sagm, ≥ 0.
      alpha: sagm: the step back, ≥ 0; mixup: of the Beta distribution, > 0.
      penalty_weight: of coral, mmd, vrex, irm and fishr, ≥ 0.
      anneal_steps: first steps of vrex and irm with weight 1, of fishr with 0.
      ema: decay of fishr's average of variances, in [0, 1).
      eta: step size of group_dro's weights, ≥ 0.
      meta_lr: outer learning rate of fish, in (0, 1]; ``optimizer`` is its inner one.
      own: options of an objective of your own, by name.
    """

    name: str = "erm"
    inner_lr: float | None = None
    beta: float | None = None
    order: str | None = None
    inner_steps: int | None = None
    adapt: str | None = None
    rho: Annotated[float, Within(0, 100)] | None = None
    alpha: Annotated[float, Within(0, 100)] | None = None
    penalty_weight: Annotated[float, Within(0, 10**9)] | None = None
    anneal_steps: Count | None = None
    ema: Annotated[float, Within(0, 0.999_999)] | None = None
    eta: Annotated[float, Within(0, 100)] | None = None
    meta_lr: Annotated[float, Within(1e-6, 1)] | None = None
    own: Mapping[str, Any] = field(default_factory=dict)

    def options(self) -> dict[str, Any]:
        """Returns the options that are set, by name."""
        options = dataclasses.asdict(self)
        del options["name"], options["own"]
        options = {k: value for k, value in options.items() if value is not None}
        return options | dict(self.own)


@dataclass(frozen=True)
class EpisodeSection:
    """The utterances of one training step (an episode).

    Attributes:
      num_meta_test: attacks (domains) in the meta-test half of an episode.
      examples_per_attack: utterances per attack, half of them bona fide.
      exclude: attacks to exclude from training.
      attacks_per_episode: attacks per episode; 0 for all.
      weights: sampling weights by attack, used if an episode does not contain all
        attacks; 1 for attacks not listed.
      domains: "attack", or "speaker": each speaker of an attack is a domain.
      crop: where crops start: "random", or "first": at the start of the utterance.
    """

    num_meta_test: Positive = 2
    examples_per_attack: Positive = 4
    exclude: tuple[str, ...] = ()
    attacks_per_episode: Count = 0
    weights: Mapping[str, float] = field(default_factory=dict)
    domains: Literal["attack", "speaker"] = "attack"
    crop: Literal["random", "first"] = "random"


@dataclass(frozen=True)
class AugmentSection:
    """Augmentation, the same for both classes; off by default.

    Attributes:
      speed: on the host: maximum relative change of speed, e.g. 0.1 for ± 10 %.
      equaliser: on the host: standard deviation of random smooth gains, in dB.
      codec: on the host: codecs to draw from, see ``data.augment.codecs``, or none.
      rawboost: on the device: RawBoost algorithm, 1 … 8; 0 for none. 5 or 3 [base].
      noise_snr: on the device: white noise at a random SNR, (lowest, highest) in dB.
      gain: on the device: maximum random gain, ± dB.
    """

    speed: Annotated[float, Within(0, 0.5)] = 0.0
    equaliser: Annotated[float, Within(0, 40)] = 0.0
    codec: tuple[str, ...] = ()
    rawboost: Annotated[int, Within(0, 8)] = 0
    noise_snr: tuple[float, ...] = ()
    gain: Annotated[float, Within(0, 60)] = 0.0


@dataclass(frozen=True)
class OptimizerSection:
    """Adam [base].

    Attributes:
      lr: of the front-end's trained parameters; 1e-6 for fine-tuning [base].
      head_lr: of the head.
      warmup: length of the linear warm-up, in steps.
    """

    lr: Rate = 1e-4
    head_lr: Rate = 1e-4
    warmup: Count = 0


@dataclass(frozen=True)
class CalibrationSection:
    """Calibration at the end of ``mldg train``: scores become log-likelihood ratios.

    Attributes:
      split: split to calibrate on; training must not have seen it.
      utterances: maximum number of utterances per class; 0 for no calibration.
    """

    split: str = "dev"
    utterances: Count = 1000


@dataclass(frozen=True)
class ValidationSection:
    """Choice of a checkpoint on held-out training attacks.

    Attributes:
      attacks: attacks of the training split to exclude from training and validate on.
      split: split whose bona fide utterances and held-out attacks are scored; or
        "held_out": every eighth bona fide utterance of the training data, which is then
        excluded from training too, and its held-out attacks.
      every: steps between validations, by which a checkpoint is chosen; 0 for none.
      utterances: maximum number of utterances per class; 0 for all.
      keep: number of checkpoints to keep, those with the lowest EER.
      patience: stop after this many validations without improvement; 0 for never.
    """

    attacks: tuple[str, ...] = ()
    split: str = "dev"
    every: Count = 0
    utterances: Count = 200
    keep: Positive = 2
    patience: Count = 0


@dataclass(frozen=True)
class AveragesSection:
    """Averages of φ over the steps of a run, see ``training.averages``.

    Attributes:
      detector: the average that the finished detector uses: the EMA, the last step,
        the uniform average of the steps after ``start``, or SWAD, which chooses a part
        of the run by its losses on ``validation.attacks``.
      every: length of a segment in steps; the mean of φ over each segment is kept,
        which uniform and swad are made of. 0 for none.
      start: steps before the uniform average, a multiple of ``every``.
      at: earlier steps at which the averages are computed too, as if training had ended
        there.
      n_converge, n_tolerance, tolerance_ratio: of SWAD; its authors' values.
    """

    detector: Literal["ema", "last", "uniform", "swad"] = "ema"
    every: Count = 0
    start: Count = 0
    at: tuple[Positive, ...] = ()
    n_converge: Positive = 3
    n_tolerance: Positive = 6
    tolerance_ratio: Annotated[float, Within(0, 100)] = 0.3


@dataclass(frozen=True)
class LoaderSection:
    """The loader, which prepares episodes ahead of the training step.

    Attributes:
      threads, workers: threads per process; worker processes, 0 for none.
    """

    threads: Workers = 2
    workers: Workers = 0


@dataclass(frozen=True)
class ComputeSection:
    """How the step is computed.

    Attributes:
      dtype: dtype of the front-end's activations: float32 or bfloat16.
      remat: recompute the front-end's layers in the backward pass to save memory.
      scan: compile one layer and loop over it, which shortens compilation.
      micro_batches: number of parts in which the front-end processes each half of an
        episode; more parts need less memory.
      precision: of float32 matrix products in training on accelerators: "default" is
        the device's fastest (TF32 on NVIDIA, one bfloat16 pass on TPU), "highest" full
        float32. Scoring, analyses and exports always use full float32.
      mapping: how the step runs on several devices: ``pmap``, or ``shard_map`` under
        ``jit``. The results are the same.
    """

    dtype: Literal["float32", "bfloat16"] = "float32"
    remat: bool = False
    scan: bool = False
    micro_batches: Annotated[int, Within(1, 4_096)] = 1
    precision: Literal["default", "high", "highest"] = "default"
    mapping: Literal["pmap", "shard_map"] = "pmap"


@dataclass(frozen=True)
class SelectionSection:
    """How ``mldg demo`` and ``mldg compare --tune`` tune hyper-parameters.

    Attributes:
      held_out: training attacks to exclude from the tuning runs and test them on.
      num_meta_test, steps: ``episode.num_meta_test`` and steps of the tuning runs.
      seeds: runs per candidate.
      head_lr, lr, inner_lr: the candidates of ``mldg demo``.
      grid: the candidates of ``mldg compare --tune``, each ``NAME=V,…`` as for --vary.
    """

    held_out: tuple[str, ...] = ()
    num_meta_test: Positive = 1
    steps: Positive = 200
    seeds: Positive = 1
    head_lr: tuple[Rate, ...] = ()
    lr: tuple[Rate, ...] = ()
    inner_lr: tuple[float, ...] = ()
    grid: tuple[str, ...] = ()
