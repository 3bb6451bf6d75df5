"""What ``mldg bench`` measures."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class ProgramSpeed:
    """The speed of one program.

    Attributes:
      program: one of ``bench.PROGRAMS``.
      compile_seconds: to compile it, without the cache of compiled programs.
      step_seconds: of a step, or of a batch of windows; median.
      clips: utterances (windows) per step on all devices.
      clips_per_second: on all devices.
      times_real_time: seconds of audio per second.
      flops: of matrix products and convolutions per step and device.
      utilisation: ``flops`` per second and device as a part of the published peak of
        its arithmetic; None if there is none, as for CPUs.
      of_product: the same as a part of the rate of a large matrix product here.
      memory: bytes per device that the program needs, by the compiler's analysis.
      loader_share: part of a step's time that training waits for the next episode; None
        for scoring.
    """

    program: str
    compile_seconds: float
    step_seconds: float
    clips: int
    clips_per_second: float
    times_real_time: float
    flops: int
    utilisation: float | None
    of_product: float
    memory: int
    loader_share: float | None


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """What ``mldg bench`` measures.

    Attributes:
      device: its kind; of a CPU, the model.
      platform: "cpu", "gpu" or "tpu".
      devices: how many.
      dtype: of the front-end's activations.
      samples: of an utterance.
      parameters: trained and frozen ones.
      peak: published peak of one device in FLOP/s; None if unknown.
      product: measured rate of a large matrix product on one device in FLOP/s.
      score_peak: ``peak`` of full float32, in which scores are computed.
      score_product: ``product`` in full float32.
      speeds: by program.
    """

    device: str
    platform: str
    devices: int
    dtype: str
    samples: int
    parameters: dict[str, int]
    peak: float | None
    product: float
    score_peak: float | None
    score_product: float
    speeds: list[ProgramSpeed]

    def to_json(self) -> dict[str, Any]:
        """Returns the measurements in JSON types."""
        return dataclasses.asdict(self)
