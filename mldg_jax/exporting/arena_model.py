"""A detector for the arena's own runner, and the description of its system."""

import re
from pathlib import Path

import jax

from mldg_jax.common.files import write_text
from mldg_jax.scoring import hub_scorer

MODULE, CLASS = "arena_model", "Detector"

_TEMPLATE = '''\
"""A detector for the speech anti-spoofing arena, written by mldg submit --arena."""

import mldg_jax
from mldg_jax.data import audio
from mldg_jax.scoring.scorer import score_waveforms
from speech_spoof_bench.model import AntiSpoofingModel

SOURCE = {source!r}  # for others to run it, a name on the hub: "hub:ORG/NAME"


class {name}(AntiSpoofingModel):
    """Scores as `mldg score` does; higher is bona fide."""

    name = {slug!r}
    expected_sample_rate = 16_000
    batch_size = 16

    def load(self):
        self.scorer = mldg_jax.load(SOURCE)

    def score_batch(self, audios, srs):
        pairs = zip(audios, srs, strict=True)
        waveforms = [audio.prepare(samples, rate) for samples, rate in pairs]
        return score_waveforms(self.scorer, waveforms).tolist()

    def unload(self):
        del self.scorer
'''


def write(source: str, folder: Path, dataset: str) -> list[str]:
    """Writes the Python file with the class that the arena's runner takes.

    Args:
      source: a run, a hub folder or a name on the hub.
      folder: where to write.
      dataset: name of the data set on the hub; "" if not known.

    Returns:
      Lines that say what was written and how to run it.

    Raises:
      UserError: the detector cannot be loaded, or the folder not be written to.
    """
    hub_scorer.load(source)  # a detector that does not load fails here, not there
    where = source
    if not source.startswith(hub_scorer.HUB):
        where = str(Path(source).resolve())
    text = _TEMPLATE.format(source=where, name=CLASS, slug=slug_of(source))
    path = folder / f"{MODULE}.py"
    write_text(path, text)
    return [
        f"{path}: the detector for the arena's runner, which writes its scores:",
        f"  cd {folder} && speech-spoof-bench run --model-module {MODULE}:{CLASS} "
        f"--datasets {dataset or 'ORG/DATASET'} --output-dir results",
    ]


def slug_of(source: str) -> str:
    """Returns a name in lower-case letters, digits and hyphens.

    Args:
      source: as for ``write``.

    Returns:
      The name, from the last part of the source.
    """
    name = re.sub(r"[^a-z0-9]+", "-", source.rstrip("/").rpartition("/")[2].lower())
    return name.strip("-") or "detector"


def system_draft(source: str, model_repo: str) -> str:
    """Returns a description of the system, with TODO where only its author can tell.

    Args:
      source: as for ``write``.
      model_repo: model repository on the hub; "" if not known.

    Returns:
      YAML.

    Raises:
      UserError: the detector cannot be loaded.
    """
    scorer = hub_scorer.load(source)
    config, slug = scorer.config, slug_of(source)
    count = sum(x.size for x in jax.tree.leaves(scorer.variables["params"]))
    lora = config.model.lora
    adapters = f"rank-{lora.rank} LoRA" if lora.rank else "no adapters"
    corpus = "/".join(filter(None, (config.corpus.name, config.corpus.config)))
    head, frontend = config.model.head["kind"], config.model.frontend["kind"]
    layers = scorer.detector.frontend.layers
    repo = f"https://huggingface.co/{model_repo}" if model_repo else "TODO"
    return f"""\
system:
  name: {slug}
  slug: {slug}
  description: >-
    {frontend} ({layers} layers)
    with {adapters} and a {head} head, objective {config.objective.name}, trained on
    {corpus} with mldg_jax.
  code: TODO  # address of the code
  checkpoint: {repo}  # address of the weights
  params_millions: {count / 1e6:.3f}
  # A paper lets the system compete in the ranked tiers:
  # paper:
  #   arxiv_id: "…"
  #   url: https://arxiv.org/abs/…
  #   bibtex: "@article{{…}}"
"""
