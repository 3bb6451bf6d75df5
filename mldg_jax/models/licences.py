"""Licences of published front-ends, from their pages on the Hugging Face hub."""

_APACHE, _BY_SA, _BY_NC = "apache-2.0", "cc-by-sa-3.0", "cc-by-nc-4.0"

# Licence (the hub's identifier) and maker by the value of model.weights.
_KNOWN = {
    "whisper-tiny.en": ("mit", "Whisper tiny.en, Copyright (c) 2022 OpenAI"),
    **{
        f"openai/whisper-{size}": (_APACHE, f"Whisper {size}, OpenAI")
        for size in [
            *("tiny", "tiny.en", "base", "base.en", "small", "small.en"),
            *("medium", "medium.en", "large", "large-v2", "large-v3"),
        ]
    },
    **{
        f"facebook/wav2vec2-xls-r-{size}": (_APACHE, f"XLS-R {size.upper()}, Meta AI")
        for size in ("300m", "1b", "2b")
    },
    **{
        f"facebook/mms-{size}": (_BY_NC, f"MMS {size.upper()}, Meta AI")
        for size in ("300m", "1b")
    },
    **{
        f"facebook/hubert-{size}": (_APACHE, "HuBERT, Meta AI")
        for size in ("base-ls960", "large-ll60k", "xlarge-ll60k")
    },
    **{
        f"microsoft/{name}-{size}": (_BY_SA, f"{title}, Microsoft")
        for name, title in [("wavlm", "WavLM"), ("unispeech-sat", "UniSpeech-SAT")]
        for size in ("base", "base-plus", "large")
    },
    "facebook/w2v-bert-2.0": ("mit", "w2v-BERT 2.0, Meta AI"),
}
_NAMES = {
    "mit": "MIT License",
    _APACHE: "Apache License 2.0",
    _BY_SA: "Creative Commons Attribution-ShareAlike 3.0",
    _BY_NC: "Creative Commons Attribution-NonCommercial 4.0",
}
LICENCES = {weights: licence for weights, (licence, _) in _KNOWN.items()}
NOTICES = {
    weights: f"{maker}, {_NAMES[licence]}"
    for weights, (licence, maker) in _KNOWN.items()
}
