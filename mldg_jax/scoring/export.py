"""Exports a trained run to PyTorch: its adapters, or its front-end with them merged.

The back-end is not exported: it is in the run's ``trainable.safetensors``.
"""

from pathlib import Path

from mldg_jax.common.errors import UserError
from mldg_jax.models import wav2vec2, whisper
from mldg_jax.models.pretrained import key_tables, torch_export
from mldg_jax.scoring.scorer import load_parameters

_TABLES = {"wav2vec2": key_tables.WAV2VEC2_HF, "whisper": key_tables.WHISPER_HF}
_CONFIGS = {"wav2vec2": wav2vec2.to_hf, "whisper": whisper.to_hf}


def export_run(run: str | Path, folder: str | Path, form: str) -> None:
    """Writes a finished run's front-end for ``peft`` or ``transformers``.

    Args:
      run: a finished run with adapters or a fine-tuned front-end.
      folder: created if it does not exist.
      form: "peft": ``adapter_model.safetensors`` and ``adapter_config.json``, for
        ``peft.PeftModel.from_pretrained``; "merged": ``model.safetensors`` and
        ``config.json``, for ``from_pretrained`` of ``transformers``.

    Raises:
      UserError: the run does not exist, is not finished, or trained neither adapters
        nor the front-end.
    """
    parts = load_parameters(run)
    model = parts.config.model
    kind, options, tuned = model.frontend["kind"], model.lora, model.full
    if not options.rank and not (tuned and form == "merged"):
        other = "; use --format merged for its fine-tuned front-end" if tuned else ""
        raise UserError(f"{run} trained no adapters (LoRA rank 0){other}")
    if form == "peft":
        torch_export.peft(
            parts.trainable["frontend"],
            _TABLES[kind],
            rank=options.rank,
            alpha=options.alpha,
            base_model=model.weights,
            folder=folder,
            use_rslora=options.rank_stabilised,
        )
    else:
        merged = {"params": parts.merged_frontend()}
        hf_config = _CONFIGS[kind](parts.detector.frontend)
        torch_export.hf(merged, _TABLES[kind], hf_config, folder)
