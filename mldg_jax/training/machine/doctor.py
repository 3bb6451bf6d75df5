"""``mldg doctor``: what is installed, what JAX finds, and whether it computes right."""

import contextlib
import dataclasses
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
from packaging.requirements import Requirement

from mldg_jax.common.processes import cores
from mldg_jax.common.versions import installed
from mldg_jax.training.machine import peaks, reference_step

PACKAGE = "mldg_jax"
PACKAGES = (
    *("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "scipy"),
    *("librosa", "soundfile", "soxr", "grain", "tensorflow-datasets"),
    # whichever of these is there
    *("jax-cuda12-plugin", "jax-cuda13-plugin", "libtpu", "onnx", "onnxruntime"),
    *("torch", "transformers", "peft"),
)
EXACT = 1e-4  # relative difference of gradients that float32 never reaches


@dataclasses.dataclass(frozen=True)
class Device:
    """A device that JAX finds.

    Attributes:
      name: see ``peaks.device_name``.
      platform: "cpu", "gpu" or "tpu".
      count: how many of them.
      memory: bytes that JAX may use on each; None if the device does not say.
      product_error: relative error of a float32 matrix product, see
        ``peaks.product_error``.
    """

    name: str
    platform: str
    count: int
    memory: int | None
    product_error: float


@dataclasses.dataclass(frozen=True)
class Check:
    """The reference step on one device.

    Attributes:
      device: its name.
      seconds: to compile and run it.
      deviation: largest relative deviation of a metric from float64.
      from_cpu: relative difference of its gradient from the CPU's; None for the CPU.
      passed: whether it is close enough.
    """

    device: str
    seconds: float
    deviation: float
    from_cpu: float | None
    passed: bool


@dataclasses.dataclass(frozen=True)
class Examination:
    """What ``mldg doctor`` finds.

    Attributes:
      system: what is known about the machine, by name.
      versions: of the packages that are installed.
      devices: of the default platform, and the CPU.
      precision: JAX's precision of float32 matrix products on accelerators.
      extras: by name, the packages that an extra of ``mldg_jax`` lacks here.
      checks: the reference step, by device.
      advice: what to do, a sentence each; empty if nothing is wrong.
    """

    system: dict[str, str]
    versions: dict[str, str]
    devices: list[Device]
    precision: str
    extras: dict[str, list[str]]
    checks: list[Check]
    advice: list[str]

    @property
    def is_healthy(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """Returns the report in JSON types."""
        return {**dataclasses.asdict(self), "is_healthy": self.is_healthy}


def examine() -> Examination:
    """Examines this machine; takes a few seconds to a minute.

    Returns:
      The report.
    """
    devices, found = _distinct_devices(), installed(PACKAGES)
    checks = _checks(devices)
    return Examination(
        system=_system(),
        versions={k: v for k, v in found.items() if k != "python"},
        devices=[_describe(device) for device in devices],
        precision=str(jax.config.values["jax_default_matmul_precision"] or "default"),
        extras=missing_by_extra(),
        checks=checks,
        advice=[*_accelerator_advice(devices[0].platform), *_step_advice(checks)],
    )


def missing_by_extra() -> dict[str, list[str]]:
    """Finds which packages each extra lacks here.

    Returns:
      By extra, the requirements that are not installed or have another version; those
      of the extras that it refers to are among them.
    """
    extras = importlib.metadata.metadata(PACKAGE).get_all("Provides-Extra") or []
    return {extra: sorted(set(_missing(extra))) for extra in extras}


def _missing(extra: str) -> Iterator[str]:
    for text in importlib.metadata.requires(PACKAGE) or []:
        needed = Requirement(text)
        marker = needed.marker
        if not marker or marker.evaluate({"extra": ""}):
            continue
        if not marker.evaluate({"extra": extra}):
            continue
        if needed.name == PACKAGE:
            for other in needed.extras:
                yield from _missing(other)
        elif not _is_installed(needed):
            yield text.partition(";")[0].strip()


def _is_installed(requirement: Requirement) -> bool:
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return False
    plugins = {"tpu": "libtpu", "cuda12": "jax-cuda12-plugin"}
    plugins["cuda13"] = "jax-cuda13-plugin"
    has_plugins = all(
        _is_installed(Requirement(plugins[extra]))
        for extra in requirement.extras & plugins.keys()
    )
    return has_plugins and requirement.specifier.contains(version, prereleases=True)


def _system() -> dict[str, str]:
    facts = {
        "python": f"{platform.python_version()} ({sys.executable})",
        "system": platform.platform(),
        "cores": f"{cores()} of {os.cpu_count()}",
        "installed": str(Path(__file__).parents[2]),
    }
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        facts["memory"] = f"{memory / 2**30:.0f} GiB"
    relevant = ("JAX_", "XLA_", "CUDA_", "TPU_", "LIBTPU_", "HF_HOME")
    facts |= {k: v for k, v in sorted(os.environ.items()) if k.startswith(relevant)}
    return facts


def _distinct_devices() -> list[jax.Device]:
    """Returns one device of each kind: the default platform's, then the CPU."""
    found = {device.device_kind: device for device in jax.local_devices()}
    with contextlib.suppress(RuntimeError):  # JAX_PLATFORMS may exclude the CPU
        found.setdefault("cpu", jax.local_devices(backend="cpu")[0])
    return list(found.values())


def _describe(device: jax.Device) -> Device:
    return Device(
        name=peaks.device_name(device),
        platform=device.platform,
        count=sum(
            x.device_kind == device.device_kind for x in jax.devices(device.platform)
        ),
        memory=(device.memory_stats() or {}).get("bytes_limit"),
        product_error=peaks.product_error(device),
    )


def _checks(devices: list[jax.Device]) -> list[Check]:
    results = {}
    for device in devices:
        started = time.perf_counter()
        result = reference_step.run(device)
        results[device.device_kind] = result, time.perf_counter() - started
    cpu = next((d.device_kind for d in devices if d.platform == "cpu"), None)
    checks = []
    for device in devices:
        result, seconds = results[device.device_kind]
        from_cpu = None
        if cpu is not None and device.platform != "cpu":
            from_cpu = reference_step.difference(result, results[cpu][0])
        deviation = reference_step.deviation(result)
        limit = reference_step.tolerance(device.platform)
        checks.append(
            Check(
                device=device.device_kind,
                seconds=seconds,
                deviation=deviation,
                from_cpu=from_cpu,
                passed=deviation <= limit,
            )
        )
    return checks


def _accelerator_advice(default: str) -> list[str]:
    """Returns what to install if the machine has an accelerator that JAX leaves out."""
    if default != "cpu" or os.environ.get("JAX_PLATFORMS", "") == "cpu":
        return []
    if shutil.which("nvidia-smi") or Path("/proc/driver/nvidia/version").exists():
        return [
            "This machine has an NVIDIA driver, but JAX computes on the CPU: pip "
            "install 'mldg_jax[cuda]' (driver 580 or newer) or 'mldg_jax[cuda12]' "
            "(525 or newer), then run mldg doctor again."
        ]
    if Path("/dev/accel0").exists() or "TPU_WORKER_ID" in os.environ:
        return [
            "This machine has a TPU, but JAX computes on the CPU: pip install "
            "'mldg_jax[tpu]', then run mldg doctor again."
        ]
    return []


def _step_advice(checks: list[Check]) -> list[str]:
    return [
        f"On {check.device} the reference step deviates by {check.deviation:.1e} from "
        "its known result. That is more than rounding: do not trust results of this "
        "device. Reinstall the pinned versions (constraints.txt); if it stays, report "
        "it with this output."
        for check in checks
        if not check.passed
    ]
