"""The degradations that ``mldg evaluate --robustness`` applies, by name.

The random parts of a degradation are drawn from a generator that is seeded by the name
of the recording, so a recording is degraded in the same way in any order and in any
subset. Strengths of one kind share their draws: white noise at 20 dB is that at 10 dB,
10 dB softer.
"""

import functools
import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy import ndarray as Array

from mldg_jax.common.errors import UserError
from mldg_jax.data.audio_checks import SHORTEST, STEP
from mldg_jax.data.augment import codecs, disturbances
from mldg_jax.data.mixdown import SAMPLE_RATE

VOICES = 4  # in babble

Talkers = Callable[[np.random.Generator, int], Sequence[Array]]
"""``(rng, count)`` → that many other recordings, each (samples,) float32."""


class Degradation(NamedTuple):
    """One way to make recordings worse.

    Attributes:
      group: of the table, e.g. "codec".
      title: for tables and pictures.
      change: ``(waveform, rng, talkers) -> waveform``, see ``degrade``.
      codec: the codec that it needs, of ``codecs.CODECS``; "" for none.
      may_keep: some recordings rightly stay as they are, such as short ones that are
        cut to a length.
      optional: it is applied only if it is named, as its encoder is rarely available.
      seed: degradations with the same seed draw the same random numbers.
    """

    group: str
    title: str
    change: Callable[[Array, np.random.Generator, Talkers], Array]
    codec: str = ""
    may_keep: bool = False
    optional: bool = False
    seed: str = ""


def _coded(codec: str, title: str, bits: int | None = None, optional: bool = False):
    def change(waveform, rng, talkers):
        return codecs.round_trip(waveform, codec, bits)

    return Degradation("codec", title, change, codec, optional=optional)


def _plain(group: str, title: str, function: Callable, may_keep=False, **options):
    change = functools.partial(function, **options)
    return Degradation(
        group, title, lambda waveform, rng, talkers: change(waveform), "", may_keep
    )


def _drawn(group: str, title: str, function: Callable, seed: str, **options):
    change = functools.partial(function, **options)
    return Degradation(
        group, title, lambda waveform, rng, talkers: change(waveform, rng), seed=seed
    )


def _babble(snr: float) -> Degradation:
    def change(waveform, rng, talkers):
        voices = talkers(rng, VOICES)
        return disturbances.add_babble(waveform, rng, voices, snr)

    return Degradation("noise", f"babble, {snr:g} dB SNR", change, seed="babble")


def _noises() -> dict[str, Degradation]:
    noise, ratios = disturbances.add_white_noise, (30, 20, 10, 0)
    white = {
        f"white-{snr}db": _drawn("noise", f"white, {snr} dB SNR", noise, "white",
                                 snr=snr)
        for snr in ratios
    }  # fmt: skip
    return white | {f"babble-{snr}db": _babble(snr) for snr in ratios}


def _table() -> dict[str, Degradation]:
    room, cut = disturbances.reverberate, disturbances.keep_first
    level, through = disturbances.change_level, disturbances.resample_through
    lead = disturbances.lead_with_silence
    return {
        "mp3-64k": _coded("mp3", "MP3, 64 kbit/s", 64_000),
        "mp3-16k": _coded("mp3", "MP3, 16 kbit/s", 16_000),
        "aac-64k": _coded("aac", "AAC, 64 kbit/s", 64_000),
        "aac-16k": _coded("aac", "AAC, 16 kbit/s", 16_000),
        "opus-24k": _coded("opus", "Opus, 24 kbit/s", 24_000),
        "opus-8k": _coded("opus", "Opus, 8 kbit/s", 8_000),
        "g722": _coded("g722", "G.722, 64 kbit/s"),
        "mulaw": _coded("mulaw", "G.711 μ-law, 64 kbit/s"),
        "alaw": _coded("alaw", "G.711 A-law, 64 kbit/s"),
        "amrnb-12k": _coded("amrnb", "AMR-NB, 12.2 kbit/s", 12_200),
        "amrnb-5k": _coded("amrnb", "AMR-NB, 4.75 kbit/s", 4_750),
        "amrwb": _coded("amrwb", "AMR-WB, 23.85 kbit/s", optional=True),
        **_noises(),
        "room-0.3s": _drawn("reverberation", "RT60 0.3 s", room, "room", rt60=0.3),
        "room-0.9s": _drawn("reverberation", "RT60 0.9 s", room, "room", rt60=0.9),
        "first-1s": _plain("duration", "first 1 s", cut, True, seconds=1),
        "first-2s": _plain("duration", "first 2 s", cut, True, seconds=2),
        "first-4s": _plain("duration", "first 4 s", cut, True, seconds=4),
        "level-down": _plain("level", "−20 dB", level, decibels=-20),
        "level-up": _plain("level", "+20 dB, clipped", level, decibels=20),
        "via-8k": _plain("resampling", "through 8 kHz", through, rate=8_000),
        "via-11k": _plain("resampling", "through 11.025 kHz", through, rate=11_025),
        "via-44k": _plain("resampling", "through 44.1 kHz", through, rate=44_100),
        "lead-digital": _drawn(
            "silence", "0.5 s of zeros before", lead, "lead", seconds=0.5
        ),
        "lead-noise": _drawn(
            "silence", "0.5 s at −60 dBFS before", lead, "lead",
            seconds=0.5, decibels=-60,
        ),
        "trim-end": _plain(
            "silence", "silence at the end cut", disturbances.trim_end, True
        ),
    }  # fmt: skip


DEGRADATIONS = _table()
GROUPS = tuple(dict.fromkeys(x.group for x in DEGRADATIONS.values()))


def select(only: Sequence[str] = (), without: Sequence[str] = ()) -> list[str]:
    """Chooses degradations, and checks that this machine can apply them.

    Args:
      only: names or groups to apply; empty for all that are not optional.
      without: names or groups to leave out.

    Returns:
      Names in the order of the table.

    Raises:
      UserError: a name is unknown, nothing is left, or an encoder is missing.
    """
    chosen = set(_named("--only", only)) or {
        name for name, x in DEGRADATIONS.items() if not x.optional
    }
    chosen -= set(_named("--without", without))
    if not chosen:
        raise UserError(
            f"--without {','.join(without)} leaves no degradation; name fewer"
        )
    for name in (x for x in DEGRADATIONS if x in chosen):
        if DEGRADATIONS[name].codec:
            fix = f"leave the degradation out, with --without {name}"
            if name in only:
                fix = f"remove {name} from --only"
            codecs.check(DEGRADATIONS[name].codec, fix)
    return [name for name in DEGRADATIONS if name in chosen]


def _named(option: str, words: Iterable[str]) -> list[str]:
    names = []
    for word in words:
        in_group = [
            name
            for name, x in DEGRADATIONS.items()
            if name == word or (x.group == word and not x.optional)
        ]
        if not in_group:
            raise UserError(
                f"{option} has {word!r}, which is neither a degradation nor a group; "
                f"degradations: {', '.join(DEGRADATIONS)}; groups: {', '.join(GROUPS)}"
            )
        names += in_group
    return names


def generator(name: str, utterance: str) -> np.random.Generator:
    """Returns the random numbers of a degradation for a recording.

    Args:
      name: of the degradation.
      utterance: name of the recording.

    Returns:
      A generator that depends on nothing else.
    """
    seed = f"{DEGRADATIONS[name].seed}\0{utterance}".encode()
    return np.random.default_rng(list(hashlib.sha256(seed).digest()))


def degrade(waveform: Array, name: str, utterance: str, talkers: Talkers) -> Array:
    """Degrades a recording.

    Args:
      waveform: (samples,) float32 within [-1, 1] at 16 kHz.
      name: of the degradation, in ``DEGRADATIONS``.
      utterance: name of the recording, which seeds the random parts.
      talkers: gives other recordings, for babble.

    Returns:
      (another number of samples,) float32 within [-1, 1].

    Raises:
      UserError: it cannot be degraded in this way, or the result cannot be scored:
        too short, constant, or the same as before although it should not be.
    """
    degradation = DEGRADATIONS[name]
    changed = degradation.change(waveform, generator(name, utterance), talkers)
    if len(changed) < SHORTEST * SAMPLE_RATE:
        raise UserError(
            f"only {len(changed) / SAMPLE_RATE:.2f} s are left; at least {SHORTEST} s "
            "are needed"
        )
    if np.ptp(changed) < STEP:
        raise UserError("what is left is silent")
    if not degradation.may_keep and np.array_equal(changed, waveform):
        raise UserError("the recording did not change")
    return changed
