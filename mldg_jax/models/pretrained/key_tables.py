"""The key tables of all supported formats; ``convert`` explains how to read them."""

from mldg_jax.models.pretrained.convert import Rule, Table


def linear(theirs: str, ours: str, layout: str) -> list[Rule]:
    """Returns the rules for weight and bias of a linear layer or a convolution.

    Args:
      theirs, ours: names of the layer.
      layout: of the weight, a key of ``convert.LAYOUTS``.

    Returns:
      Two rules.
    """
    return [
        (f"{theirs}.weight", f"params/{ours}/kernel", layout),
        (f"{theirs}.bias", f"params/{ours}/bias", "same"),
    ]


def norm(theirs: str, ours: str) -> list[Rule]:
    """Returns the rules for scale and shift of a layer or group normalisation.

    Args:
      theirs, ours: names of the layer.

    Returns:
      Two rules.
    """
    return [
        (f"{theirs}.weight", f"params/{ours}/scale", "same"),
        (f"{theirs}.bias", f"params/{ours}/bias", "same"),
    ]


# The wheel's CTranslate2 file after its fused query, key and value are split.
WHISPER_CTRANSLATE2 = Table(
    [
        ("conv{}/weight", "params/conv{}/kernel", "conv1d"),
        ("conv{}/bias", "params/conv{}/bias", "same"),
        ("position_encodings/encodings", "params/positions", "same"),
        *(
            (f"{theirs}/{kind}", f"params/{ours}/{leaf}", "same")
            for theirs, ours in [
                ("layer_norm", "final_norm"),
                ("layer_{}/self_attention/layer_norm", "layers_{}/attention_norm"),
                ("layer_{}/ffn/layer_norm", "layers_{}/mlp_norm"),
            ]
            for kind, leaf in [("gamma", "scale"), ("beta", "bias")]
        ),
        *(
            (f"layer_{{}}/{theirs}/{kind}", f"params/layers_{{}}/{ours}/{leaf}", layout)
            for theirs, ours in [
                ("self_attention/query", "attention/query"),
                ("self_attention/key", "attention/key"),
                ("self_attention/value", "attention/value"),
                ("self_attention/linear_1", "attention/out"),
                ("ffn/linear_0", "mlp_in"),
                ("ffn/linear_1", "mlp_out"),
            ]
            for kind, leaf, layout in [
                ("weight", "kernel", "dense"),
                ("bias", "bias", "same"),
            ]
        ),
    ]
)

# transformers WhisperEncoder, WhisperModel or WhisperForConditionalGeneration.
WHISPER_HF = Table(
    [
        *linear("conv{}", "conv{}", "conv1d"),
        ("embed_positions.weight", "params/positions", "same"),
        *norm("layers.{}.self_attn_layer_norm", "layers_{}/attention_norm"),
        *linear("layers.{}.self_attn.q_proj", "layers_{}/attention/query", "dense"),
        *linear("layers.{}.self_attn.k_proj", "layers_{}/attention/key", "dense"),
        *linear("layers.{}.self_attn.v_proj", "layers_{}/attention/value", "dense"),
        *linear("layers.{}.self_attn.out_proj", "layers_{}/attention/out", "dense"),
        *norm("layers.{}.final_layer_norm", "layers_{}/mlp_norm"),
        *linear("layers.{}.fc1", "layers_{}/mlp_in", "dense"),
        *linear("layers.{}.fc2", "layers_{}/mlp_out", "dense"),
        *norm("layer_norm", "final_norm"),
    ],
    ignored=["decoder.*", "model.decoder.*", "proj_out.*"],
    prefixes=["model.encoder.", "encoder."],
)

# transformers Wav2Vec2Model, Wav2Vec2ForPreTraining, Wav2Vec2ForCTC.
WAV2VEC2_HF = Table(
    [
        *linear("feature_extractor.conv_layers.{}.conv", "extractor/conv_{}", "conv1d"),
        *norm("feature_extractor.conv_layers.{}.layer_norm", "extractor/norm_{}"),
        *norm("feature_projection.layer_norm", "projection_norm"),
        *linear("feature_projection.projection", "projection", "dense"),
        # weight normalisation in torch ≥ 2.1, then in older versions
        (
            "encoder.pos_conv_embed.conv.parametrizations.weight.original0",
            "params/positional/gain",
            "taps",
        ),
        (
            "encoder.pos_conv_embed.conv.parametrizations.weight.original1",
            "params/positional/direction",
            "conv1d",
        ),
        ("encoder.pos_conv_embed.conv.weight_g", "params/positional/gain", "taps"),
        (
            "encoder.pos_conv_embed.conv.weight_v",
            "params/positional/direction",
            "conv1d",
        ),
        ("encoder.pos_conv_embed.conv.bias", "params/positional/bias", "same"),
        ("masked_spec_embed", "params/mask_embedding", "same"),
        *norm("encoder.layer_norm", "encoder_norm"),
        *(
            rule
            for theirs, ours in [("q", "query"), ("k", "key"), ("v", "value")]
            for rule in linear(
                f"encoder.layers.{{}}.attention.{theirs}_proj",
                f"layers_{{}}/attention/{ours}",
                "dense",
            )
        ),
        *linear(
            "encoder.layers.{}.attention.out_proj", "layers_{}/attention/out", "dense"
        ),
        *norm("encoder.layers.{}.layer_norm", "layers_{}/attention_norm"),
        *linear(
            "encoder.layers.{}.feed_forward.intermediate_dense",
            "layers_{}/mlp_in",
            "dense",
        ),
        *linear(
            "encoder.layers.{}.feed_forward.output_dense", "layers_{}/mlp_out", "dense"
        ),
        *norm("encoder.layers.{}.final_layer_norm", "layers_{}/mlp_norm"),
    ],
    # in Wav2Vec2ForPreTraining and Wav2Vec2ForCTC, outside the encoder
    ignored=["quantizer.*", "project_hid.*", "project_q.*", "lm_head.*"],
    prefixes=["wav2vec2."],
)

# fairseq Wav2Vec2Model: alone, inside Wav2VecCtc or inside an SSL-AASIST model.
WAV2VEC2_FAIRSEQ = Table(
    [
        (
            "feature_extractor.conv_layers.{}.0.weight",
            "params/extractor/conv_{}/kernel",
            "conv1d",
        ),
        (
            "feature_extractor.conv_layers.{}.0.bias",
            "params/extractor/conv_{}/bias",
            "same",
        ),
        # layer norms are wrapped in two transposes, the group norm is not
        *norm("feature_extractor.conv_layers.{}.2.1", "extractor/norm_{}"),
        *norm("feature_extractor.conv_layers.{}.2", "extractor/norm_{}"),
        *norm("layer_norm", "projection_norm"),
        *linear("post_extract_proj", "projection", "dense"),
        ("encoder.pos_conv.0.weight_g", "params/positional/gain", "taps"),
        ("encoder.pos_conv.0.weight_v", "params/positional/direction", "conv1d"),
        ("encoder.pos_conv.0.bias", "params/positional/bias", "same"),
        ("mask_emb", "params/mask_embedding", "same"),
        *norm("encoder.layer_norm", "encoder_norm"),
        *(
            rule
            for theirs, ours in [
                ("q_proj", "query"),
                ("k_proj", "key"),
                ("v_proj", "value"),
                ("out_proj", "out"),
            ]
            for rule in linear(
                f"encoder.layers.{{}}.self_attn.{theirs}",
                f"layers_{{}}/attention/{ours}",
                "dense",
            )
        ),
        *norm("encoder.layers.{}.self_attn_layer_norm", "layers_{}/attention_norm"),
        *linear("encoder.layers.{}.fc1", "layers_{}/mlp_in", "dense"),
        *linear("encoder.layers.{}.fc2", "layers_{}/mlp_out", "dense"),
        *norm("encoder.layers.{}.final_layer_norm", "layers_{}/mlp_norm"),
    ],
    ignored=["quantizer.*", "project_q.*", "final_proj.*", "target_glu.*", "proj.*"],
    prefixes=[
        "w2v_encoder.w2v_model.",
        "ssl_model.model.",
        "module.ssl_model.model.",
    ],
)


def _batch_norm(theirs: str, ours: str) -> list[Rule]:
    """Returns rules for scale, shift and running statistics of a BatchNorm."""
    return [
        *norm(theirs, ours),
        (f"{theirs}.running_mean", f"batch_stats/{ours}/mean", "same"),
        (f"{theirs}.running_var", f"batch_stats/{ours}/var", "same"),
    ]


def _attention(theirs: str, ours: str) -> list[Rule]:
    """Returns the rules that both kinds of graph attention share."""
    return [
        *linear(f"{theirs}.att_proj", f"{ours}/attention", "dense"),
        *linear(f"{theirs}.proj_with_att", f"{ours}/attended", "dense"),
        *linear(f"{theirs}.proj_without_att", f"{ours}/direct", "dense"),
        *_batch_norm(f"{theirs}.bn", f"{ours}/norm"),
    ]


# bn1 of a block is among the published weights although nothing reads its output.
_AASIST_RULES = [
    *_batch_norm("first_bn", "encoder/norm"),
    *_batch_norm("encoder.{}.0.bn1", "encoder/block_{}/norm1"),
    *linear("encoder.{}.0.conv1", "encoder/block_{}/conv1", "conv2d"),
    *_batch_norm("encoder.{}.0.bn2", "encoder/block_{}/norm2"),
    *linear("encoder.{}.0.conv2", "encoder/block_{}/conv2", "conv2d"),
    *linear("encoder.{}.0.conv_downsample", "encoder/block_{}/shortcut", "conv2d"),
    ("pos_S", "params/readout/positions", "same"),
    *(
        rule
        for letter, kind in [("S", "spectral"), ("T", "temporal")]
        for rule in [
            *_attention(f"GAT_layer_{letter}", f"readout/{kind}_attention"),
            (
                f"GAT_layer_{letter}.att_weight",
                f"params/readout/{kind}_attention/vector",
                "same",
            ),
            *linear(f"pool_{letter}.proj", f"readout/{kind}_pool/score", "dense"),
            *linear(
                f"pool_h{letter}{{}}.proj",
                f"readout/branch_{{}}/{kind}_pool/score",
                "dense",
            ),
        ]
    ),
    ("master{}", "params/readout/branch_{}/master", "same"),
    *_attention("HtrgGAT_layer_ST{}{}", "readout/branch_{}/layer_{}"),
    *(
        rule
        for theirs, ours in [
            ("proj_type1", "temporal"),
            ("proj_type2", "spectral"),
            ("att_projM", "master_attention"),
            ("proj_with_attM", "master_attended"),
            ("proj_without_attM", "master_direct"),
        ]
        for rule in linear(
            f"HtrgGAT_layer_ST{{}}{{}}.{theirs}",
            f"readout/branch_{{}}/layer_{{}}/{ours}",
            "dense",
        )
    ),
    *(
        (
            f"HtrgGAT_layer_ST{{}}{{}}.att_weight{theirs}",
            f"params/readout/branch_{{}}/layer_{{}}/vector_{ours}",
            "same",
        )
        for theirs, ours in [
            ("11", "temporal"),
            ("22", "spectral"),
            ("12", "mixed"),
            ("M", "master"),
        ]
    ),
    *linear("out_layer", "logits/dense", "dense"),
]

# clovaai/aasist: AASIST and AASIST-L. Their filters are computed, not stored.
AASIST = Table(_AASIST_RULES, ignored=["*.num_batches_tracked"])

# TakHemlata/SSL_Anti-spoofing without its front-end.
SSL_AASIST = Table(
    [
        *_AASIST_RULES,
        *linear("LL", "project", "dense"),
        *_batch_norm("first_bn1", "norm"),
        *linear("attention.0", "attention_in", "conv1x1"),
        *_batch_norm("attention.2", "attention_norm"),
        *linear("attention.3", "attention_out", "conv1x1"),
    ],
    ignored=["*.num_batches_tracked", "ssl_model.*"],
)
