"""The texts of an export to ONNX: README.md, and the lines that use the model."""

import json
from pathlib import Path

from mldg_jax.exporting.onnx_files import OnnxExport

TITLE = "# A speech deepfake detector for ONNX"


def code(path: Path, export: OnnxExport) -> str:
    """Returns the lines of Python that use a model.

    Args:
      path: of the model.
      export: what was written.

    Returns:
      The lines, under comments that say what was measured.
    """
    samples = export.metadata["window_samples"]
    comments = [f"# {line}" for line in _measured(export)]
    lines = [
        "import numpy as np, onnxruntime",
        f"session = onnxruntime.InferenceSession({str(path)!r})",
        f"windows = np.zeros((1, {samples}), np.float32)  # 16 kHz, within [-1, 1]",
        'scores = session.run(["score"], {"waveform": windows})[0]',
    ]
    return "\n".join([*comments, *lines])


def _measured(export: OnnxExport) -> list[str]:
    """Returns what was measured, in lines."""
    size = f"{export.num_bytes / 1e6:.1f} MB"
    compared = f"{export.num_windows} windows (noise and {export.source})"
    lines = [
        f"{size}; scores as mldg score on {compared}: difference at most "
        f"{export.difference:.0e}"
    ]
    if export.change is not None:
        mean, most = export.change
        lines[0] += " before quantisation"
        lines.append(
            f"{export.metadata['quantisation']} changes a score by {mean:.2g} on "
            f"average, by {most:.2g} at most"
        )
    return lines


def readme(lines: str, export: OnnxExport) -> str:
    """Returns the exported folder's README.

    Args:
      lines: from ``code``.
      export: what was written.
    """
    facts = export.metadata
    samples, rate = int(facts["window_samples"]), int(facts["sample_rate"])
    trained_on = json.loads(facts["trained_on"])
    corpus = "/".join(filter(None, (trained_on["corpus"], trained_on["config"])))
    attacks = ", ".join(trained_on.get("attacks", ())) or "not recorded"
    return f"""{TITLE}

Trained with mldg_jax {facts["mldg_jax"]} (method {facts["method"]}).

```python
{lines}
```

- Input `waveform`: (batch, {samples}) float32, windows of {samples / rate:.2f} s at
  {rate:,} Hz, mono, within [-1, 1]. Resample other rates first.
- Output `score`: (batch,) float32, {facts["score"]}; {facts["polarity"]}. Output
  `logits`: (batch, 2), column 0 spoof, column 1 bona fide.
- A recording's score is the mean over the fewest evenly spread windows that cover it;
  a recording shorter than a window is repeated.
- Trained on {corpus}; attacks: {attacks}. Others may go undetected.
- Weights of the front-end: {facts["weights"]} ({facts["weights_licence"]}).
  {facts.get("weights_notice", "")}

All of this is in the model's `metadata_props`, too.
"""
