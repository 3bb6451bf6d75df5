"""Exports a trained run to PyTorch: its adapters, or its front-end with them merged.

The back-end is not exported: it is in the run's ``trainable.safetensors``.
"""

from pathlib import Path

import flax.linen as nn

from mldg_jax.common.config import Config
from mldg_jax.common.errors import UserError
from mldg_jax.exporting import output_folder
from mldg_jax.models import front_ends
from mldg_jax.models.pretrained import encoder_tables, torch_export
from mldg_jax.models.pretrained.whisper_tiny import HUB_NAME, WHISPER_TINY_EN
from mldg_jax.scoring.scorer import load_parameters

# What a form of export writes, besides the README with its title.
_FILES = {
    "peft": ("adapter_model.safetensors", "adapter_config.json"),
    "merged": ("model.safetensors", "config.json"),
}
_TITLES = {
    "peft": "# The LoRA adapters of a speech deepfake detector",
    "merged": "# The front-end, adapters merged of a speech deepfake detector",
}


def export_run(run: str | Path, folder: str | Path, form: str) -> str:
    """Writes a finished run's front-end for ``peft`` or ``transformers``.

    Args:
      run: a finished run with adapters or a fine-tuned front-end.
      folder: created if it does not exist; an earlier export of the same form in it is
        replaced. ``README.md`` in it names the class to load it with.
      form: "peft": ``adapter_model.safetensors`` and ``adapter_config.json``, for
        ``peft.PeftModel.from_pretrained``; "merged": ``model.safetensors`` and
        ``config.json``, for ``from_pretrained`` of ``transformers``.

    Returns:
      The lines of Python that load it.

    Raises:
      UserError: the run does not exist, is not finished, or trained neither adapters
        nor the front-end, or the folder cannot be written to, is a run folder or has a
        file that an export of this form did not write.
    """
    parts = load_parameters(run)
    model = parts.config.model
    kind, options, tuned = model.frontend["kind"], model.lora, model.full
    if not options.rank and not (tuned and form == "merged"):
        other = ", and its front-end is the pretrained one: nothing to export"
        if tuned:
            other = "; use --format merged for its fine-tuned front-end"
        raise UserError(f"{run} trained no adapters (LoRA rank 0){other}")
    base = HUB_NAME if model.weights == WHISPER_TINY_EN else model.weights
    # "." in the README: the folder may move
    code, inside = (
        _peft_code(kind, base, place) if form == "peft" else _merged_code(kind, place)
        for place in (folder, ".")
    )
    readme = _readme(parts.config, parts.detector.frontend, inside, form)
    output_folder.claim(folder, readme, _FILES[form], form)
    if form == "peft":
        torch_export.peft(
            parts.trainable["frontend"],
            encoder_tables.HF[kind],
            rank=options.rank,
            alpha=options.alpha,
            base_model=base,
            folder=folder,
            use_rslora=options.rank_stabilised,
            # peft passes over adapters that it does not find in the model
            prefix=front_ends.KINDS[kind].encoder,
        )
    else:
        merged = {"params": parts.merged_frontend()}
        hf_config = front_ends.KINDS[kind].to_hf(parts.detector.frontend)
        torch_export.hf(merged, encoder_tables.HF[kind], hf_config, folder)
    return code


def _peft_code(kind: str, base: str, folder: str | Path) -> str:
    cls, encoder = front_ends.KINDS[kind].whole, front_ends.KINDS[kind].encoder
    reads = kind in front_ends.READS_WEIGHTS
    lines = [
        "import peft, transformers",
        f"model = transformers.{cls}.from_pretrained({base!r})",
        f"model = peft.PeftModel.from_pretrained(model, {str(folder)!r})",
        *([f"encoder = model.{encoder}"[:-1]] if encoder else []),
        *(["model = model.merge_and_unload()"] if reads else []),
    ]
    return "\n".join(lines)


def _merged_code(kind: str, folder: str | Path) -> str:
    package, cls = front_ends.KINDS[kind].alone
    return (
        f"from {package} import {cls}\nencoder = {cls}.from_pretrained({str(folder)!r})"
    )


def _readme(config: Config, frontend: nn.Module, code: str, form: str) -> str:
    """Returns the exported folder's README: how to load it, and what to feed it."""
    seconds = config.crop_samples / 16_000
    if config.model.frontend["kind"] == "whisper":
        traps = (
            "`AutoModel` makes a whole `WhisperModel` of this folder and fills it with "
            "random numbers, because the folder has the encoder alone. "
            if form == "merged"
            else "The adapters are named for the whole `WhisperModel`, which "
            "`AutoModel` also gives; on the encoder alone they have no effect. "
        )
        traps += (
            f"The detector was trained on {seconds:.2f} s of log-mel spectrogram, "
            "not padded to 30 s; padded input gives other frames."
        )
    else:
        standard = "" if getattr(frontend, "normalize", False) else "not "
        traps = (
            f"Input: 16 kHz, {standard}standardised (`do_normalize` of the feature "
            f"extractor); the detector was trained on {seconds:.2f} s."
        )
    if form == "peft" and config.model.frontend["kind"] in front_ends.READS_WEIGHTS:
        traps += (
            " Until they are merged, the adapters have no effect on the attention: its "
            "class reads the weights of the projections and does not call them."
        )
    return (
        f"{_TITLES[form]}\n\n"
        "Trained with mldg_jax. The detector's back-end is not in this folder.\n\n"
        "In this folder:\n\n"
        f"```python\n{code}\n```\n\n{traps}\n"
    )
