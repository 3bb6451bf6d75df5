"""``mldg doctor`` on this machine, and on others that are made up."""

import email.message
import json

import jax
import numpy as np
import pytest

from mldg_jax import cli
from mldg_jax.training.machine import doctor, doctor_text, reference_step


@pytest.fixture
def quick(monkeypatch):
    """Replaces the reference step by its result."""

    def run(device):
        del device
        return reference_step.Result(dict(reference_step.EXPECTED), np.ones(3))

    monkeypatch.setattr(reference_step, "run", run)


def test_the_command(quick, capsys):
    assert cli.main(["doctor"]) == 0
    text = capsys.readouterr().out
    for name in ("mldg_jax", "jax", "cpu", "full float32", "right", "parity"):
        assert name in text
    assert text.endswith("No problem found.\n")
    assert cli.main(["doctor", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["is_healthy"] and facts["versions"]["jax"] == jax.__version__
    assert facts["devices"][0]["platform"] == "cpu"


def test_a_device_that_computes_wrong_is_named(quick, monkeypatch, capsys):
    wrong = {k: 1.01 * v for k, v in reference_step.EXPECTED.items()}
    result = reference_step.Result(wrong, np.ones(3))
    monkeypatch.setattr(reference_step, "run", lambda device: result)
    assert cli.main(["doctor"]) == 1
    text = capsys.readouterr().out
    assert "WRONG" in text and "deviates by 1.0e-02" in text
    assert "No problem found" not in text


def test_extras_name_what_is_missing(monkeypatch):
    installed = {"jax": "0.10.2", "numpy": "2.4.0"}
    needs = ["numpy>=2", "onnx>=1.19; extra == 'onnx'", "jax[tpu]; extra == 'tpu'"]
    needs.append("mldg_jax[onnx]; extra == 'all'")

    def version(name):
        if name not in installed:
            raise doctor.importlib.metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(doctor.importlib.metadata, "version", version)
    monkeypatch.setattr(doctor.importlib.metadata, "requires", lambda _: needs)
    fields = email.message.Message()
    for extra in ("onnx", "tpu", "all"):
        fields["Provides-Extra"] = extra
    monkeypatch.setattr(doctor.importlib.metadata, "metadata", lambda _: fields)
    missing = doctor.missing_by_extra()
    assert missing["onnx"] == ["onnx>=1.19"] and missing["tpu"] == ["jax[tpu]"]
    assert missing["all"] == missing["onnx"]
    installed |= {"onnx": "1.18", "libtpu": "0.0.42"}  # too old; and the plugin is here
    missing = doctor.missing_by_extra()
    assert missing["onnx"] == ["onnx>=1.19"] and missing["tpu"] == []
    installed["onnx"] = "1.23.2"
    assert doctor.missing_by_extra() == {"onnx": [], "tpu": [], "all": []}


@pytest.mark.parametrize(
    ("default", "driver", "advice"),
    [
        ("cpu", True, "'mldg_jax[cuda]'"),
        ("gpu", True, ""),
        ("cpu", False, ""),
    ],
)
def test_an_idle_gpu_is_noticed(monkeypatch, default, driver, advice):
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.delenv("TPU_WORKER_ID", raising=False)
    monkeypatch.setattr(doctor.shutil, "which", lambda _: "nvidia-smi" * driver or None)
    found = doctor._accelerator_advice(default)
    assert advice in " ".join(found) and bool(found) == bool(advice)


def test_reduced_precision_is_named():
    report = doctor.Examination(
        system={"cores": "2"},
        versions={"jax": "0"},
        devices=[doctor.Device("NVIDIA H100", "gpu", 8, 2**36, 3e-4)],
        precision="default",
        extras={},
        checks=[doctor.Check("NVIDIA H100", 1.0, 2e-3, 1e-3, True)],
        advice=[],
    )
    text = doctor_text.text(report)
    assert "NVIDIA H100 (gpu)  8      64.0 GiB  3e-04: TF32" in text
    assert "right, in reduced precision" in text
