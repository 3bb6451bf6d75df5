"""The key tables of the front-ends by kind: ``transformers`` and the authors' names."""

from mldg_jax.models.pretrained.convert import Rule, Table
from mldg_jax.models.pretrained.key_tables import (
    WAV2VEC2_FAIRSEQ,
    WAV2VEC2_HF,
    WHISPER_HF,
    linear,
)

# transformers HubertModel, HubertForCTC, HubertForSequenceClassification.
HUBERT_HF = Table(WAV2VEC2_HF.rules, prefixes=["hubert."])

# fairseq HubertModel, or inside HubertCtc.
HUBERT_FAIRSEQ = Table(
    WAV2VEC2_FAIRSEQ.rules,
    ignored=["label_embs_concat", "final_proj.*", "proj.*"],
    prefixes=["w2v_encoder.w2v_model."],
)

# transformers UniSpeechSatModel, UniSpeechSatForPreTraining, …
UNISPEECH_SAT_HF = Table(WAV2VEC2_HF.rules, prefixes=["unispeech_sat."])

# UniSpeech-SAT in fairseq, of its authors.
UNISPEECH_SAT_FAIRSEQ = Table(
    WAV2VEC2_FAIRSEQ.rules,
    ignored=[
        "label_embs_concat",
        "final_proj.*",
        "quantizer.*",
        "project_q.*",
        "spk_proj.*",
        "encoder.layer_norm_for_extract.*",
    ],
)


def _gated(attention: str, scale: str, gate: str, bias: str) -> list[Rule]:
    """Returns the rules of ``GatedAttention``; layer 0 has the bias of all layers."""
    layer = f"encoder.layers.{{}}.{attention}"
    return [
        (
            f"encoder.layers.0.{attention}.{bias}.weight",
            "params/position_bias",
            "same",
        ),
        (f"{layer}.{scale}", "params/layers_{}/attention/gate/scale", "same"),
        *linear(f"{layer}.{gate}", "layers_{}/attention/gate", "dense"),
    ]


# transformers WavLMModel, WavLMForXVector, …
WAVLM_HF = Table(
    [
        *WAV2VEC2_HF.rules,
        *_gated(
            "attention", "gru_rel_pos_const", "gru_rel_pos_linear", "rel_attn_embed"
        ),
    ],
    prefixes=["wavlm."],
)

# microsoft/unilm: WavLM-Base.pt, WavLM-Base+.pt, WavLM-Large.pt.
WAVLM_UNILM = Table(
    [
        *WAV2VEC2_FAIRSEQ.rules,
        *_gated("self_attn", "grep_a", "grep_linear", "relative_attention_bias"),
    ],
    ignored=["label_embs_concat", "final_proj.*"],
)

HF = {
    "whisper": WHISPER_HF,
    "wav2vec2": WAV2VEC2_HF,
    "hubert": HUBERT_HF,
    "wavlm": WAVLM_HF,
    "unispeech_sat": UNISPEECH_SAT_HF,
}
# Front-ends whose authors published files of their own.
FAIRSEQ = {
    "wav2vec2": WAV2VEC2_FAIRSEQ,
    "hubert": HUBERT_FAIRSEQ,
    "wavlm": WAVLM_UNILM,
    "unispeech_sat": UNISPEECH_SAT_FAIRSEQ,
}
