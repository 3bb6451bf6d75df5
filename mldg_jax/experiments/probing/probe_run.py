"""A probe as a finished run: a detector with the head ``linear`` and frozen layers.

A baseline for ``mldg compare``. It has no training steps; ``mldg score`` and
``mldg export`` work on it as on any run.
"""

import dataclasses
from pathlib import Path

from mldg_jax.common import provenance, run_folder
from mldg_jax.common.config import Config, ModelSection
from mldg_jax.data.corpus import Corpus, trained_on
from mldg_jax.experiments.probing import layer_means, logistic_probe

FEATURES = "probe-features"  # folder beside the runs, which share it


def probe_config(base: Config) -> Config:
    """Returns the config of a probe on the layers that a config's head would read.

    Args:
      base: config of any method.

    Returns:
      The config: no steps, no adapters, the head ``linear``, which reads the layers
      that ``model.frontend.layers`` lists, or else the last.
    """
    model = ModelSection(base.model.weights, base.model.frontend, {"kind": "linear"})
    return Config(
        method=run_folder.PROBE,
        steps=0,
        corpus=base.corpus,
        model=model,
        crop_samples=base.crop_samples,
        seed=base.seed,
        episode=dataclasses.replace(base.episode),
        calibration=base.calibration,
        tests=base.tests,
    )


def train(config: Config, workdir: Path, rows: Corpus) -> None:
    """Fits a probe and writes it as a finished run.

    Args:
      config: from ``probe_config``.
      workdir: the run's folder.
      rows: the training data, without what is held out.

    Raises:
      UserError: the weights are unavailable, or a folder cannot be written to.
    """
    facts = provenance.collect(trained_on(rows))
    run_folder.write_config(workdir, config, facts)
    front_end = layer_means.open_front_end(config, whole=False)
    means = layer_means.read(front_end, rows, workdir.parent / FEATURES)
    read = list(front_end.detector.chosen(range(means.shape[1])))
    head, stats = logistic_probe.fit(means[:, read], rows.label).as_head()
    weights = config.model.weights
    run_folder.check_frozen(workdir, weights, front_end.params, write=True)
    run_folder.write_trainable(workdir, {"head": head}, {"head": stats})
