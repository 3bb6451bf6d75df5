"""Run folders: config, trained parameters, fingerprint of the frozen weights.

A run stores only what it trains (adapters, head, optimiser state: megabytes), and a
fingerprint of the frozen parameters. See ``training.checkpoints`` for checkpoints.
"""

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from mldg_jax.common import not_a_run
from mldg_jax.common.begun import has_begun
from mldg_jax.common.config import Config, SelectionSection, ValidationSection
from mldg_jax.common.config_values import complete, flat_config, to_dict
from mldg_jax.common.errors import UserError
from mldg_jax.common.files import replacing, write_text, writing
from mldg_jax.common.provenance import fingerprint
from mldg_jax.common.text_files import read_json

log = logging.getLogger(__name__)

LFCC = "lfcc-gmm"  # method of the baseline, whose runs have no detector
PROBE = "probe"  # a logistic regression on frozen layers
WITHOUT_STEPS = (LFCC, PROBE)  # baselines that are fitted, not trained step by step
CONFIG, PROVENANCE, FROZEN = "config.json", "provenance", "frozen.json"
TRAINABLE = "trainable.safetensors"
HUB_MODEL = "mldg"  # model_type in the config.json of an export for a hub


class DamagedRunError(UserError):
    """The result of a finished run is damaged; its checkpoints may be intact."""


def write_config(
    workdir: Path, config: Config, provenance: dict[str, Any] | None = None
) -> None:
    """Writes config.json, or checks an existing one against the config.

    That of a training that failed before its first step is replaced if it differs.

    Args:
      workdir: the run folder.
      config: config of the run.
      provenance: facts to store with the config, see ``provenance.collect``; they are
        not compared.

    Raises:
      UserError: the folder holds a run with another config, or cannot be written to.
    """
    if (workdir / CONFIG).exists():
        try:
            return check_config(workdir, config)
        except UserError:
            if has_begun(workdir):
                raise
        log.info("%s: no step was done with the config in it; it is replaced", workdir)
        (workdir / FROZEN).unlink(missing_ok=True)
    content = to_dict(config)
    if provenance is not None:
        content[PROVENANCE] = provenance
    text = json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True)
    write_text(workdir / CONFIG, text + "\n")


def check_config(workdir: Path, config: Config) -> None:
    """Checks that a run folder was started with the given config.

    What a run does not use may differ: the candidates of a tuning, groups of attacks of
    which none is held out, and options of a validation that is off.

    Args:
      workdir: the run folder, which holds a config.json.
      config: config to compare with.

    Raises:
      UserError: the configs differ; names up to three of the entries.
    """
    both = read_config(workdir), config
    old, new = (flat_config(_used(one)) for one in both)
    changed = [k for k in sorted(old.keys() | new.keys()) if old.get(k) != new.get(k)]
    if changed:
        shown = ", ".join(f"{k}: {old.get(k)} → {new.get(k)}" for k in changed[:3])
        raise UserError(
            f"{workdir} holds a run with another config ({shown}): continue it with "
            "its own config, or choose a new folder"
        )


def _used(config: Config) -> Config:
    """Returns a config with the defaults of what its run does not use."""
    validation, corpus = config.validation, config.corpus
    if not (validation.attacks or validation.every):
        validation = ValidationSection()
    if corpus.attack_fold is None:
        corpus = dataclasses.replace(corpus, attack_folds=())
    return dataclasses.replace(
        config, selection=SelectionSection(), validation=validation, corpus=corpus
    )


def read_config(workdir: str | Path) -> Config:
    """Reads a run's config.

    Args:
      workdir: the run folder.

    Returns:
      The config; entries that the run's version did not have get their defaults.

    Raises:
      UserError: the folder is not a run folder, or its config is not valid.
    """
    content = _read(workdir)
    content.pop(PROVENANCE, None)
    try:
        return complete(content)
    except UserError as error:
        raise UserError(f"{Path(workdir) / CONFIG}: {error}") from None


def read_provenance(workdir: str | Path) -> dict[str, Any]:
    """Reads the provenance of a run.

    Args:
      workdir: the run folder.

    Returns:
      The values of ``provenance.collect`` and of ``add_provenance``; empty if the run
      has none.

    Raises:
      UserError: the folder is not a run folder.
    """
    facts = _read(workdir).get(PROVENANCE, {})
    if not isinstance(facts, dict):
        raise UserError(
            f"{Path(workdir) / CONFIG} is damaged: {PROVENANCE} is {facts!r}"
        )
    return facts


def _read(workdir: str | Path) -> dict[str, Any]:
    path = Path(workdir) / CONFIG
    if not path.exists():
        raise not_a_run.refusal(workdir)
    fix = "copy the run folder again, or train in a new one"
    content = read_json(path, dict, fix=fix)
    if content.get("model_type") == HUB_MODEL:
        raise UserError(
            f"{workdir} is an export for a hub, which can only be scored with; give "
            "the run that it was exported from"
        )
    return content


def add_provenance(workdir: Path, name: str, value: Any) -> None:
    """Adds an entry to a run's provenance.

    Args:
      workdir: the run folder.
      name: name of the entry; an existing one is replaced.
      value: a JSON value.

    Raises:
      UserError: the folder is not a run folder, or cannot be written to.
    """
    content = _read(workdir)
    content[PROVENANCE] = {**read_provenance(workdir), name: value}
    text = json.dumps(content, indent=1, ensure_ascii=False)
    write_text(workdir / CONFIG, text + "\n")


def finished(workdir: str | Path) -> bool:
    """Returns True if a run has finished training: it has a trainable.safetensors.

    Args:
      workdir: the run folder; it need not exist.
    """
    return (Path(workdir) / TRAINABLE).exists()


def write_trainable(workdir: Path, trainable: Any, batch_stats: Any) -> None:
    """Writes the result of training; its presence marks the run as finished.

    Args:
      workdir: the run folder.
      trainable, batch_stats: see ``write_parameters``.

    Raises:
      UserError: the folder cannot be written to.
    """
    write_parameters(workdir / TRAINABLE, trainable, batch_stats)


def write_parameters(path: Path, trainable: Any, batch_stats: Any) -> None:
    """Writes parameters to a file; creates missing parent folders.

    Args:
      path: the file, in a run folder.
      trainable: the trained parameters φ, ``{"frontend": …, "head": …}``.
      batch_stats: running statistics of BatchNorm.

    Raises:
      UserError: the folder cannot be written to.
    """
    tree = {**trainable, "batch_stats": batch_stats}
    flat = traverse_util.flatten_dict(tree, sep="/")
    # save_file writes the raw memory, which must be in C order.
    arrays = {name: np.ascontiguousarray(value) for name, value in flat.items()}
    with writing(path.parent), replacing(path) as part:
        save_file(arrays, part, metadata={"sha256": fingerprint(arrays)})


def read_trainable(workdir: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads the result of a finished run.

    Args:
      workdir: the run folder.

    Returns:
      ``(trainable, batch_stats)``, see ``write_trainable``.

    Raises:
      UserError: the run is not finished, or the file cannot be read.
      DamagedRunError: the file is damaged.
    """
    path = Path(workdir) / TRAINABLE
    if not path.exists():
        if read_config(workdir).method == LFCC:
            raise UserError(
                f"{workdir} is an LFCC-GMM run, a baseline whose model is not saved: "
                "it cannot be scored, calibrated, exported or analysed with this "
                "command; its folder has the scores of its test trials"
            )
        raise UserError(
            f"{workdir} is not a finished run (it has no {TRAINABLE}): start the same "
            "training command again to continue it"
        )
    return read_parameters(path)


def read_parameters(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads a file of ``write_parameters``.

    Args:
      path: the file.

    Returns:
      ``(trainable, batch_stats)``.

    Raises:
      UserError: the file cannot be read.
      DamagedRunError: the file is damaged.
    """
    try:
        with path.open("rb"):  # safetensors does not say that it may not
            arrays = load_file(path)
        with safe_open(path, "numpy") as file:
            expected = (file.metadata() or {}).get("sha256")  # 0.1 wrote none
        if expected not in (None, fingerprint(arrays)):
            raise ValueError("its content differs from what was saved")
        for name, array in arrays.items():
            if array.dtype != np.float32 or not np.isfinite(array).all():
                raise ValueError(f"{name} is {array.dtype}, or not finite")
        tree = traverse_util.unflatten_dict(arrays, sep="/")
        return tree, tree.pop("batch_stats", {"head": {}})  # a head may have none
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from None
    except Exception as error:  # a damaged file makes its reader raise all kinds
        raise DamagedRunError(
            f"{path} is damaged ({error}); start the same training command again: it "
            "writes the file again from the last checkpoint"
        ) from None


def check_frozen(workdir: Path, weights: str, params: Any, *, write: bool) -> str:
    """Records the fingerprint of a run's frozen weights, or checks it.

    Args:
      workdir: the run folder.
      weights: ``model.weights`` of the config.
      params: the front-end's parameters.
      write: whether to write ``frozen.json`` if the folder has none.

    Returns:
      ``provenance.fingerprint`` of the parameters.

    Raises:
      UserError: the run was started with other weights.
    """
    path, sha256 = workdir / FROZEN, fingerprint(params)
    if path.exists():
        fix = f"if {weights} is what the run began with, delete the file"
        old = read_json(path, dict, fix=fix).get("sha256")
        if not isinstance(old, str):
            raise UserError(
                f"{path} is damaged: it has no sha256. If {weights} is what the run "
                "began with, delete the file"
            )
        if old != sha256:
            raise UserError(
                f"{workdir} was started with other frozen weights: {weights} now has "
                f"sha256 {sha256}; it had {old}. The run's adapters fit only those: "
                "put the old weights back, or train in a new folder"
            )
    elif write:
        count = sum(x.size for x in jax.tree.leaves(params))
        content = {"weights": weights, "parameters": count, "sha256": sha256}
        write_text(path, json.dumps(content, indent=1) + "\n")
    return sha256
