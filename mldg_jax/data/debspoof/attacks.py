"""The attacks: which are seen in training, and what each synthesiser can speak."""

SEEN_ATTACKS = (
    "espeak",
    "flite_cg",
    "fest_diphone",
    "piper_vits",
    "gl_mel",
    "lpc_voc",
    "world_copy",
    "world_shift",
)
UNSEEN_ATTACKS = ("kokoro", "fest_hts", "fest_clunits", "world_swap", "phase_voc")
COPY_ATTACKS = (
    "gl_mel",
    "lpc_voc",
    "world_copy",
    "world_shift",
    "world_swap",
    "phase_voc",
)
"""Attacks that re-synthesise bona fide speech; the others speak a text."""

# Synthetic voices by split: disjoint, but for Piper, which has one
_VOICES: dict[str, dict[str, tuple[str, ...]]] = {
    "espeak": {
        "train": ("", "+m3", "+f2"),
        "dev": ("+m1", "+f5"),
        "eval": ("+m7", "+f4", "+m4", "+f3"),
    },
    "flite_cg": {"train": ("rms",), "dev": ("slt",), "eval": ("awb",)},
    "piper_vits": {"train": ("joe",), "dev": ("joe",), "eval": ("joe",)},
    # the other two Japanese styles are not intelligible in these languages
    "kokoro": {"eval": ("jm_kumo", "jf_gongitsune", "jf_nezumi")},
    "fest_hts": {"eval": ("cmu_us_slt_arctic_hts",)},
    "fest_clunits": {"eval": ("msu_ru_nsh_clunits",)},
}
_DIPHONE_VOICES = {
    "train": {"it": ("lp_diphone",), "cs": ("czech_dita", "czech_krb")},
    "dev": {"cs": ("czech_machac",), "en": ("kal_diphone",)},
    "eval": {"cs": ("czech_ph",), "en": ("ked_diphone",)},
}
_LANGUAGES = {
    # flite and Piper make English enough
    "espeak": ("fr", "it", "cs", "ro", "ru", "be", "da", "el", "bg", "es"),
    "flite_cg": ("en",),
    "piper_vits": ("en", "fr", "it", "es", "ro", "cs", "el"),
    "kokoro": ("en", "es", "fr", "it"),
    "fest_hts": ("en",),
    "fest_clunits": ("ru",),
}


def attack_languages(attack: str, split: str) -> tuple[str, ...]:
    """Languages that a text-to-speech attack may speak in a split."""
    return _LANGUAGES.get(attack) or tuple(_DIPHONE_VOICES[split])


def engine_voices(attack: str, split: str, language: str) -> tuple[str, ...]:
    """The synthesiser's own voice names (espeak: variants) for a language."""
    if attack == "fest_diphone":
        return _DIPHONE_VOICES[split][language]
    return _VOICES[attack][split]
