"""The README of a hub folder: the model card, and how to load the detector."""

from pathlib import Path
from typing import Any

import yaml

from mldg_jax.common import run_folder
from mldg_jax.common.config import Config
from mldg_jax.models import front_ends
from mldg_jax.scoring import model_card
from mldg_jax.scoring.calibration import Calibration
from mldg_jax.scoring.model_card import CardEvaluation

MARK = "---\n# Written by mldg export --format hub."  # a comment in the YAML heading
_TAGS = ("transformers", "safetensors", "custom_code", "speech", "deepfake-detection")


def render(
    run: Path,
    config: Config,
    calibration: Calibration | None,
    base: str | None,
    *,
    has_adapters: bool,
    has_onnx: bool,
) -> str:
    """Renders the README.

    Args:
      run: the run's folder, with the facts of its training and its evaluations.
      config: its config, without paths of this machine.
      calibration: of its scores; None if they are not calibrated.
      base: name of the pretrained front-end on the hub; None if it is not there.
      has_adapters: whether the folder has adapters for ``peft``.
      has_onnx: whether the folder has an ONNX model.

    Returns:
      The text.

    Raises:
      UserError: the folder is not a run.
    """
    entries = [CardEvaluation(**entry) for entry in model_card.read_evaluations(run)]
    facts = run_folder.read_provenance(run)
    card = model_card.render(run.resolve().name, config, facts, calibration, entries)
    _, heading, body = card.split("---\n", 2)
    about, training, rest = body.strip().partition("## Training")
    rest = rest.partition("## Everything else")[0]
    # A command has the paths of the machine that it ran on.
    lines = [x for x in rest.splitlines() if not x.startswith("- command: ")]
    sections = [
        about.strip(),
        _labels(calibration),
        _transformers(config),
        _others(config, base, has_adapters=has_adapters, has_onnx=has_onnx),
        "\n".join([training, *lines[1:]]).strip(),
    ]
    return f"{MARK}\n{_heading(heading, base)}---\n\n" + "\n\n".join(sections) + "\n"


def example(name: str) -> str:
    """Returns the Python lines that score a recording with ``transformers``.

    Args:
      name: the folder, or its name on the hub.

    Returns:
      At most 20 lines; they read ``recording.wav`` and print its score.
    """
    return f"""\
import soundfile, soxr, torch
from transformers import AutoModelForAudioClassification, pipeline

name = {name!r}
model = AutoModelForAudioClassification.from_pretrained(name, trust_remote_code=True)
audio, rate = soundfile.read("recording.wav", dtype="float32", always_2d=True)
audio = soxr.resample(audio.mean(axis=1), rate, 16_000)
with torch.inference_mode():
    logits = model.eval()(torch.from_numpy(audio)[None]).logits[0]
column = model.config.label2id
score = float(logits[column["bonafide"]] - logits[column["spoof"]])
print(f"score {{score:.4f}}")  # higher: bona fide
classify = pipeline("audio-classification", name, trust_remote_code=True)
print(classify(audio))"""


def _heading(text: str, base: str | None) -> str:
    """Returns the YAML heading as the hub reads it, from that of the model card."""
    card = yaml.safe_load(text)
    heading: dict[str, Any] = {"library_name": "transformers"}
    for key in (
        "pipeline_tag",
        "license",
        "license_name",
        "base_model",
        "tags",
        "model-index",
    ):
        if key in card:
            heading[key] = card[key]
    heading["tags"] = [*card["tags"], *_TAGS]
    if base is None:
        heading.pop("base_model", None)
    else:
        heading["base_model"] = base
    return yaml.safe_dump(heading, sort_keys=False)


def _labels(calibration: Calibration | None) -> str:
    """Returns the section on the order of the labels."""
    if calibration is None:
        meaning = (
            "The detector is not calibrated: the probabilities that `pipeline` prints "
            "rank recordings, and do not say how likely a class is."
        )
    else:
        meaning = (
            "The calibration is applied: the difference of the logits is the "
            "log-likelihood ratio above, and the probabilities that `pipeline` prints "
            "are those for a prior of one half."
        )
    return (
        "## Labels\n\n"
        "**0 is `spoof`, 1 is `bonafide`.** Many `audio-classification` models of "
        "deepfake speech have the opposite order, 0 for real and 1 for fake: look "
        "labels up by name (`model.config.label2id`), never by number. The score is "
        f"the logit of `bonafide` less that of `spoof`. {meaning}"
    )


def _transformers(config: Config) -> str:
    """Returns the section on loading the folder with ``transformers``."""
    seconds = config.crop_samples / 16_000
    code = example("ORG/NAME").replace(
        "name = 'ORG/NAME'",
        'name = "ORG/NAME"  # on the hub, or the path of the folder',
    )
    return f"""\
## Use with transformers

Needs transformers 5, torch, soundfile and soxr. `trust_remote_code` runs
`modeling_mldg.py` and `heads_mldg.py` of this folder: read them first, and pin the
`revision`.

```python
{code}
```

Give the model mono audio at 16 kHz within [-1, 1], of any length: it is split into
windows of {seconds:.2f} s, and the logits are their mean. Resample with soxr, as here:
`pipeline` resamples by itself with another filter, which moves scores."""


def _others(
    config: Config, base: str | None, *, has_adapters: bool, has_onnx: bool
) -> str:
    """Returns the sections on loading the folder without ``trust_remote_code``."""
    text = """\
## Use with mldg_jax

`mldg_jax.load("hub:ORG/NAME").score(waveform, sample_rate)`, or `mldg score
hub:ORG/NAME recording.wav`; the path of this folder in place of `hub:ORG/NAME` does the
same. No code of this folder is executed.

## Use with onnxruntime

"""
    text += (
        "`onnx/model.onnx` maps windows (batch, samples) to scores; its "
        "`metadata_props` say all about it."
        if has_onnx
        else "This folder has no ONNX model: the package `onnx` was not installed when "
        "it was written. `mldg export --format onnx` writes one."
    )
    if not has_adapters:
        return text
    encoder = front_ends.KINDS[config.model.frontend["kind"]]
    merge = ""
    if config.model.frontend["kind"] in front_ends.READS_WEIGHTS:
        merge = (
            "\n# Its attention reads weights and calls no layer: until adapters are "
            "merged,\n# they have no effect on it.\nmodel = model.merge_and_unload()"
        )
    return f"""{text}

## Adapters

`model.safetensors` has the adapters merged. They are in `adapters/`, with the head, for
`peft`:

```python
import peft, transformers
from transformers import AutoConfig, AutoModelForAudioClassification

name = "ORG/NAME"
config = AutoConfig.from_pretrained(name, trust_remote_code=True)
model = AutoModelForAudioClassification.from_config(config, trust_remote_code=True)
base = transformers.{encoder.whole}.from_pretrained({base or "PRETRAINED"!r})
model.load_base({f"base.{encoder.encoder}"[:-1]})
model = peft.PeftModel.from_pretrained(model, name, subfolder="adapters"){merge}
```"""
