"""A trained run for the torch world: its adapters, or its front-end with them merged.

The back-end stays behind: it is in the run's ``trainable.safetensors``.
"""

from pathlib import Path

from mldg_jax import lora, scoring
from mldg_jax.errors import UserError
from mldg_jax.models import wav2vec2, whisper
from mldg_jax.pretrained import export as exports
from mldg_jax.pretrained import tables

_TABLES = {"wav2vec2": tables.WAV2VEC2_HF, "whisper": tables.WHISPER_HF}
_CONFIGS = {"wav2vec2": wav2vec2.to_hf, "whisper": whisper.to_hf}


def export(run: str | Path, folder: str | Path, form: str) -> None:
    """Writes a finished run's front-end for ``peft`` or ``transformers``.

    Args:
      run: a finished run with adapters or a fine-tuned front-end.
      folder: made if it does not exist.
      form: "peft": ``adapter_model.safetensors`` and ``adapter_config.json``, for
        ``peft.PeftModel.from_pretrained``; "merged": ``model.safetensors`` and
        ``config.json``, for ``from_pretrained`` of ``transformers``.

    Raises:
      UserError: no such run, not finished, or one that trained neither.
    """
    scorer = scoring.load_unmerged(run)
    kind, options = scorer.config.model.frontend.kind, scorer.config.model.lora
    tuned = scorer.config.model.get("full", False)
    if not options.rank and not (tuned and form == "merged"):
        other = "; --format merged exports its fine-tuned front-end" if tuned else ""
        raise UserError(f"{run} trained no adapters (LoRA rank 0){other}")
    frontend = scorer.variables["params"]["frontend"]
    module = scorer.detector.frontend
    if tuned:
        exports.hf({"params": frontend}, _TABLES[kind], _CONFIGS[kind](module), folder)
        return
    adapters, frozen = scoring.split_adapters(frontend)
    if form == "peft":
        exports.peft(
            adapters,
            _TABLES[kind],
            rank=options.rank,
            alpha=options.alpha,
            base_model=scorer.config.model.weights,
            folder=folder,
            use_rslora=options.get("rank_stabilised", False),
        )
    else:
        merged = {"params": lora.merge(frozen, adapters, scale=module.lora_scale)}
        exports.hf(merged, _TABLES[kind], _CONFIGS[kind](module), folder)
