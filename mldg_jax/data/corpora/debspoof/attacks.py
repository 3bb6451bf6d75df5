"""The attacks of each size: their families, voices and languages.

An attack is one domain: a synthesiser or vocoder in one setting. Size "full" has
several attacks in a family where "small" has one. A family is either seen in training
or unseen, never both, and all its attacks are excluded together.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

SPLITS = ("train", "dev", "eval")


class Attack(NamedTuple):
    """One attack.

    Attributes:
      family: name shared by the attacks that resemble each other.
      voices: the synthesiser's voices, by split and language; empty for copy synthesis,
        which re-synthesises bona fide speech.
      seen: True if the attack occurs in training.
      share: number of utterances as a fraction of the usual number per attack.
    """

    family: str
    voices: Mapping[str, Mapping[str, Sequence[str]]] = {}
    seen: bool = True
    share: float = 1.0


def _spoken(languages: Sequence[str], **voices: Sequence[str]):
    """Returns {split: {language: voices}} with the same voices for every language."""
    return {split: dict.fromkeys(languages, names) for split, names in voices.items()}


# Size small lacks en here: flite and Piper already speak enough English
_ESPEAK = ("fr", "it", "cs", "ro", "ru", "be", "da", "el", "bg", "es")
_ESPEAK_ALL = (*_ESPEAK, "en", "lt", "uk", "ml")
_PIPER = ("en", "fr", "it", "es", "ro", "cs", "el")
_KOKORO = ("en", "es", "fr", "it")
# Synthetic voices are disjoint between splits, except for Piper, which has only one
_JOE = {split: ("joe",) for split in SPLITS}
_FLITE = _spoken(("en",), train=("rms",), dev=("slt",), eval=("awb",))
_HTS = _spoken(("en",), eval=("cmu_us_slt_arctic_hts",))
_CLUNITS = _spoken(("ru",), eval=("msu_ru_nsh_clunits",))

_SMALL = {
    "espeak": Attack(
        "espeak",
        _spoken(
            _ESPEAK,
            train=("", "+m3", "+f2"),
            dev=("+m1", "+f5"),
            eval=("+m7", "+f4", "+m4", "+f3"),
        ),
    ),
    "flite_cg": Attack("flite_cg", _FLITE),
    "fest_diphone": Attack(
        "fest_diphone",
        {
            "train": {"it": ("lp_diphone",), "cs": ("czech_dita", "czech_krb")},
            "dev": {"cs": ("czech_machac",), "en": ("kal_diphone",)},
            "eval": {"cs": ("czech_ph",), "en": ("ked_diphone",)},
        },
    ),
    "piper_vits": Attack("piper", _spoken(_PIPER, **_JOE)),
    "gl_mel": Attack("gl"),
    "lpc_voc": Attack("lpc"),
    "world_copy": Attack("world"),
    "world_shift": Attack("world"),
    # The other two Japanese styles are unintelligible in these languages
    "kokoro": Attack(
        "kokoro",
        _spoken(_KOKORO, eval=("jm_kumo", "jf_gongitsune", "jf_nezumi")),
        seen=False,
    ),
    "fest_hts": Attack("hmm", _HTS, seen=False),
    "fest_clunits": Attack("fest_clunits", _CLUNITS, seen=False),
    "world_swap": Attack("world_swap", seen=False),
    "phase_voc": Attack("phase_voc", seen=False),
}

_FULL = {
    "espeak": Attack(
        "espeak",
        _spoken(
            _ESPEAK_ALL,
            train=("", "+m3"),
            dev=("+m1", "+m6"),
            eval=("+m7", "+m4", "+m2"),
        ),
    ),
    "espeak_female": Attack(
        "espeak",
        _spoken(_ESPEAK_ALL, train=("+f2", "+f1"), dev=("+f5",), eval=("+f4", "+f3")),
    ),
    "espeak_klatt": Attack(  # same phonemes, another waveform generator
        "espeak",
        _spoken(_ESPEAK_ALL, train=("+klatt",), dev=("+klatt3",), eval=("+klatt4",)),
    ),
    "flite_cg": Attack("flite_cg", _FLITE),
    "fest_diphone": Attack(
        "fest_diphone",
        {
            "train": {"it": ("lp_diphone", "pc_diphone")},
            "dev": {"en": ("kal_diphone",)},
            "eval": {"en": ("ked_diphone",)},
        },
    ),
    "fest_diphone_cs": Attack(
        "fest_diphone",
        {
            "train": {"cs": ("czech_dita", "czech_krb")},
            "dev": {"cs": ("czech_machac",)},
            "eval": {"cs": ("czech_ph",)},
        },
    ),
    "piper_vits": Attack("piper", _spoken(_PIPER, **_JOE)),
    "piper_plain": Attack("piper", _spoken(_PIPER, **_JOE)),  # draws no noise
    "gl_mel": Attack("gl"),
    "gl_coarse": Attack("gl"),
    "lpc_voc": Attack("lpc"),
    "lpc_low": Attack("lpc"),
    "world_copy": Attack("world"),
    "world_coded": Attack("world"),
    "world_shift": Attack("world"),
    "world_pitch": Attack("world"),
    "kokoro": Attack(
        "kokoro", _spoken(_KOKORO, eval=("jm_kumo",)), seen=False, share=0.5
    ),
    "kokoro_gongitsune": Attack(
        "kokoro", _spoken(_KOKORO, eval=("jf_gongitsune",)), seen=False, share=0.5
    ),
    "kokoro_nezumi": Attack(
        "kokoro", _spoken(_KOKORO, eval=("jf_nezumi",)), seen=False, share=0.5
    ),
    # Distilled from Kokoro, hence the same family, but with another vocoder
    "hibari": Attack(
        "kokoro", _spoken(("en",), eval=("heart",)), seen=False, share=0.7
    ),
    "fest_hts": Attack("hmm", _HTS, seen=False, share=0.7),
    "pico": Attack(
        "hmm",
        {"eval": {"es": ("es-ES",), "fr": ("fr-FR",), "en": ("en-US", "en-GB")}},
        seen=False,
        share=0.8,
    ),
    "fest_clunits": Attack("fest_clunits", _CLUNITS, seen=False),
    "world_swap": Attack("world_swap", seen=False),
    "phase_voc": Attack("phase_voc", seen=False),
}

# Nothing here needs a synthesiser that only root can install. Kokoro, which needs a
# second for each utterance, would take half of the build.
_QUICK = {
    name: _SMALL[name]
    for name in (
        *("piper_vits", "gl_mel", "lpc_voc", "world_copy", "world_shift"),
        *("world_swap", "phase_voc"),
    )
}

ATTACKS = {"small": _SMALL, "full": _FULL, "quick": _QUICK}
"""Attacks by size and name, in corpus order."""
