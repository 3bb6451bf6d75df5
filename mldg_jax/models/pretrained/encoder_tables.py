"""The key tables of the front-ends by kind: ``transformers`` and the authors' names."""

from mldg_jax.models.pretrained.convert import Rule, Table
from mldg_jax.models.pretrained.key_tables import (
    WAV2VEC2_FAIRSEQ,
    WAV2VEC2_HF,
    WHISPER_HF,
    linear,
    norm,
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

# transformers Wav2Vec2BertModel, Wav2Vec2BertForCTC, …
WAV2VEC2_BERT_HF = Table(
    [
        *norm("feature_projection.layer_norm", "projection_norm"),
        *linear("feature_projection.projection", "projection", "dense"),
        ("masked_spec_embed", "params/mask_embedding", "same"),
        *(
            rule
            for theirs, ours in [
                ("linear_q", "query"),
                ("linear_k", "key"),
                ("linear_v", "value"),
                ("linear_out", "out"),
            ]
            for rule in linear(
                f"encoder.layers.{{}}.self_attn.{theirs}",
                f"layers_{{}}/attention/{ours}",
                "dense",
            )
        ),
        (
            "encoder.layers.{}.self_attn.distance_embedding.weight",
            "params/layers_{}/attention/distances",
            "same",
        ),
        *(
            rule
            for theirs, ours in [("ffn1", "first_mlp"), ("ffn2", "mlp")]
            for layer, end in [("intermediate_dense", "in"), ("output_dense", "out")]
            for rule in linear(
                f"encoder.layers.{{}}.{theirs}.{layer}",
                f"layers_{{}}/{ours}_{end}",
                "dense",
            )
        ),
        *(
            rule
            for theirs, ours in [
                ("ffn1_layer_norm", "first_mlp_norm"),
                ("self_attn_layer_norm", "attention_norm"),
                ("conv_module.layer_norm", "conv_norm"),
                ("conv_module.depthwise_layer_norm", "taps_norm"),
                ("ffn2_layer_norm", "mlp_norm"),
                ("final_layer_norm", "final_norm"),
            ]
            for rule in norm(f"encoder.layers.{{}}.{theirs}", f"layers_{{}}/{ours}")
        ),
        *(
            (
                f"encoder.layers.{{}}.conv_module.{theirs}.weight",
                f"params/layers_{{}}/{ours}",
                layout,
            )
            for theirs, ours, layout in [
                ("pointwise_conv1", "conv_in/kernel", "tap"),
                ("depthwise_conv", "taps", "conv1d"),
                ("pointwise_conv2", "conv_out/kernel", "tap"),
            ]
        ),
    ],
    prefixes=["wav2vec2_bert."],
)

HF = {
    "whisper": WHISPER_HF,
    "wav2vec2": WAV2VEC2_HF,
    "hubert": HUBERT_HF,
    "wavlm": WAVLM_HF,
    "unispeech_sat": UNISPEECH_SAT_HF,
    "wav2vec2_bert": WAV2VEC2_BERT_HF,
}
# Front-ends whose authors published files of their own.
FAIRSEQ = {
    "wav2vec2": WAV2VEC2_FAIRSEQ,
    "hubert": HUBERT_FAIRSEQ,
    "wavlm": WAVLM_UNILM,
    "unispeech_sat": UNISPEECH_SAT_FAIRSEQ,
}
