"""``mldg bench``: how fast this machine scores and trains, and what limits it.

The model is that of a config with random weights, and the utterances are noise: neither
changes the speed, and nothing has to be downloaded. The steps are those of training.
"""

import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from mldg_jax import lora
from mldg_jax.common.config import Config
from mldg_jax.common.config_values import with_values
from mldg_jax.common.errors import UserError
from mldg_jax.data import episodes, loader
from mldg_jax.data.audio import SAMPLE_RATE
from mldg_jax.data.corpus import Corpus
from mldg_jax.models import pretrained, split
from mldg_jax.models.detector import create_detector
from mldg_jax.scoring import scorer
from mldg_jax.training import lowered_step, parallel
from mldg_jax.training.build import build_sampler, build_state, build_step
from mldg_jax.training.machine import noise_corpus, peaks
from mldg_jax.training.machine.measurements import Benchmark, ProgramSpeed
from mldg_jax.training.tpu_plan.flops import count_flops

SCORE = "score"
OBJECTIVES: dict[str, dict[str, Any]] = {
    "erm": {"name": "erm"},
    "sam": {"name": "sam"},
    "mldg": {"name": "mldg", "inner_lr": 0.01, "order": "first"},
    "mldg2": {"name": "mldg", "inner_lr": 0.01, "order": "second"},
}
PROGRAMS = (SCORE, *OBJECTIVES)
ATTACKS = 6  # unless the config says how many a step has, as in ASVspoof 2019 LA
ROUNDS = 3


@dataclasses.dataclass(frozen=True)
class _Bench:
    """What the programs have in common."""

    config: Config
    devices: Sequence[jax.Device]
    frontend: Any
    corpus: Corpus
    seconds: float


class _Limit(NamedTuple):
    """FLOP/s that a program is compared with; the published peak may be unknown."""

    published: float | None
    measured: float


def run(
    config: Config,
    *,
    devices: Sequence[jax.Device],
    programs: Sequence[str] = PROGRAMS,
    seconds: float = 3.0,
    progress: Callable[[str], Any] = lambda text: None,
) -> Benchmark:
    """Measures programs on this machine.

    Args:
      config: its model, crops, episodes, augmentation and loader are used.
      devices: of this process, for training; scoring uses the first.
      programs: of ``PROGRAMS``.
      seconds: about how long to measure each.
      progress: called with what is being done.

    Returns:
      The measurements.

    Raises:
      UserError: an unknown program, or an episode that the devices cannot share.
    """
    for name in programs:
        if name not in PROGRAMS:
            raise UserError(f"program {name!r}; it must be of {', '.join(PROGRAMS)}")
    config = with_values(config, {"model.weights": pretrained.RANDOM})
    device, dtype = devices[0], config.compute.dtype
    progress("measuring matrix products")
    training, full = _limit(device, dtype), _limit(device, "highest")
    frontend = pretrained.load_frontend(config.model)
    shared = _Bench(
        config,
        devices,
        frontend,
        noise_corpus.make(config.episode, config.crop_samples, attacks=ATTACKS),
        seconds,
    )
    trained, _ = split.parameter_shapes(
        create_detector(config.model), config.model, config.crop_samples
    )
    speeds = []
    for name in programs:
        progress(f"{name}: compiling and measuring")
        if name == SCORE:
            speeds.append(_scoring(shared, full))
        else:
            speeds.append(_training(shared, training, name))
    return Benchmark(
        device=peaks.device_name(device),
        platform=device.platform,
        devices=len(devices),
        dtype=dtype,
        samples=config.crop_samples,
        parameters={"trained": lora.count(trained), "frozen": lora.count(frontend)},
        peak=training.published,
        product=training.measured,
        score_peak=full.published,
        score_product=full.measured,
        speeds=speeds,
    )


def _limit(device: jax.Device, arithmetic: str) -> _Limit:
    published = peaks.published_peak(device.device_kind, arithmetic)
    return _Limit(published, peaks.measured_rate(device, arithmetic))


def _scoring(shared: _Bench, limit: _Limit) -> ProgramSpeed:
    """Measures ``scorer.score_waveforms`` on windows in memory."""
    config = shared.config
    detector = create_detector(config.model)
    windows = np.resize(
        shared.corpus.waveform(0), (4 * scorer.BATCH, config.crop_samples)
    )
    batch = windows[: scorer.BATCH]
    state, _ = build_state(config, detector, shared.frontend, batch[:1])
    params = {**state.trainable, "frontend": shared.frontend}
    variables = {"params": params, "batch_stats": state.batch_stats}
    program = jax.jit(lambda values, waveform: detector.apply(values, waveform))
    jaxpr = jax.make_jaxpr(program)(variables, batch)
    compiled, compile_seconds = _compiled(program.lower(variables, batch))
    ready = scorer.Scorer(detector, variables, config.crop_samples, config)

    def score():
        scorer.score_waveforms(ready, windows)

    score()
    step = _median(score, shared.seconds) / 4
    return _speed(
        shared,
        limit,
        SCORE,
        jaxpr,
        compiled,
        compile_seconds=compile_seconds,
        step_seconds=step,
        clips=scorer.BATCH,
        devices=1,
        loader_share=None,
    )


def _training(shared: _Bench, limit: _Limit, program: str) -> ProgramSpeed:
    """Measures the training step alone, and together with the loader."""
    config = with_values(
        shared.config, {"objective": OBJECTIVES[program], "method": program}
    )
    devices = shared.devices
    domains = episodes.group(shared.corpus)
    count = len(domains.attacks)
    make = build_sampler(config, domains, shared.corpus)(
        devices=parallel.local_shard(devices)
    )
    axis_name = parallel.axis_name(devices)
    detector = create_detector(config.model, axis_name, config.compute)
    _, episode = make(0)
    example = shared.corpus.waveform(0)[None, : config.crop_samples]
    state, frozen = build_state(
        config, detector, shared.frontend, example, num_domains=count
    )
    step = build_step(config, detector, axis_name=axis_name, num_domains=count)
    mapping = config.compute.mapping
    shapes = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), (state, frozen, episode)
    )
    jaxpr, lowered = lowered_step.lower_step(step, devices, *shapes, mapping=mapping)
    compiled, compile_seconds = _compiled(lowered)
    fed = parallel.feed(compiled, devices, mapping)
    frozen = parallel.replicate(frozen, devices)
    state = parallel.replicate(state, devices)

    def steps(batches):
        nonlocal state
        metrics = None
        for _, batch in batches:
            state, metrics = fed(state, frozen, batch)
        jax.block_until_ready(metrics)

    steps([(None, episode)])
    once = _median(lambda: steps([(None, episode)]), 0)
    length = max(2, int(shared.seconds / ROUNDS / once))
    alone, together = [], []
    for number in range(ROUNDS):
        alone.append(_seconds(lambda: steps([(None, episode)] * length)))
        ahead = loader.prefetch(
            make,
            range(number * length, (number + 1) * length),
            threads=config.loader.threads,
            workers=config.loader.workers,
        )
        together.append(_seconds(lambda batches=ahead: steps(batches)))
    step_seconds = statistics.median(alone) / length
    share = 1 - step_seconds * length / statistics.median(together)
    return _speed(
        shared,
        limit,
        program,
        jaxpr,
        compiled,
        compile_seconds=compile_seconds,
        step_seconds=step_seconds,
        clips=count * config.episode.examples_per_attack,
        devices=len(devices),
        loader_share=max(0.0, share),
    )


def _speed(
    shared: _Bench,
    limit: _Limit,
    program: str,
    jaxpr: Any,
    compiled: Any,
    *,
    compile_seconds: float,
    step_seconds: float,
    clips: int,
    devices: int,
    loader_share: float | None,
) -> ProgramSpeed:
    flops = count_flops(jaxpr, shared.devices[0].platform, branch=min)
    rate = flops / step_seconds
    analysis = compiled.memory_analysis()
    memory = (
        analysis.argument_size_in_bytes
        + analysis.output_size_in_bytes
        - analysis.alias_size_in_bytes
        + analysis.temp_size_in_bytes
    )
    return ProgramSpeed(
        program=program,
        compile_seconds=compile_seconds,
        step_seconds=step_seconds,
        clips=clips,
        clips_per_second=clips / step_seconds,
        times_real_time=clips * shared.config.crop_samples / SAMPLE_RATE / step_seconds,
        flops=flops,
        utilisation=rate / limit.published if limit.published else None,
        of_product=rate / limit.measured,
        memory=memory,
        loader_share=loader_share,
    )


def _compiled(lowered: Any) -> tuple[Any, float]:
    """Compiles a program; returns it and the seconds."""
    started = time.perf_counter()
    return lowered.compile(), time.perf_counter() - started


def _seconds(function: Callable[[], Any]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def _median(function: Callable[[], Any], seconds: float) -> float:
    """Returns the median duration of at least three calls, in seconds."""
    times: list[float] = []
    while len(times) < ROUNDS or sum(times) < seconds:
        times.append(_seconds(function))
    return statistics.median(times)
