"""A whole detector as a torch state dict: the weights of a hub folder.

The names of the two parts are those of their key tables, after ``frontend.`` and
``head.``. The torch model is in ``exporting/hub_folder``.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mldg_jax.common.config import ModelSection
from mldg_jax.models.detector import Detector
from mldg_jax.models.pretrained import (
    convert,
    encoder_tables,
    head_tables,
    key_tables,
    torch_export,
)

FRONTEND, HEAD = "frontend", "head"
_HEADS = {
    "pooling": head_tables.POOLING,
    "linear": head_tables.LINEAR,
    "mhfa": head_tables.MHFA,
    "sls": head_tables.SLS,
    "aasist": key_tables.SSL_AASIST,
}


def tables(model: ModelSection) -> dict[str, convert.Table]:
    """Returns the key tables of a detector's parts.

    Args:
      model: the ``model`` section of its config.

    Returns:
      The tables of ``frontend`` and ``head``; names of the front-end may have the
      prefix ``frontend.``.
    """
    frontend = encoder_tables.HF[model.frontend["kind"]]
    return {
        FRONTEND: frontend._replace(prefixes=[f"{FRONTEND}.", *frontend.prefixes]),
        HEAD: _HEADS[model.head["kind"]],
    }


def to_state(
    model: ModelSection, variables: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """Converts a detector's variables to a torch state dict.

    Args:
      model: the ``model`` section of its config.
      variables: ``params`` and ``batch_stats``, with adapters merged.

    Returns:
      Arrays by torch name, float32 but for torch's counters of BatchNorm, which are 0.
    """
    state = {}
    for part, table in tables(model).items():
        named = convert.to_theirs(table, _part(variables, part))
        state |= {f"{part}.{name}": np.asarray(x) for name, x in named.items()}
    for name in [x for x in state if x.endswith(".running_mean")]:
        counter = name.replace("running_mean", "num_batches_tracked")
        state[counter] = np.zeros((), np.int64)
    return state


def read_adapters(
    folder: str | Path, model: ModelSection, detector: Detector, samples: int
) -> tuple[dict[str, Any], dict[str, Any], float]:
    """Reads adapters and head from a folder of ``peft``, such as ``adapters/``.

    Args:
      folder: written by ``peft`` for the torch model of a hub folder, with the head in
        ``modules_to_save``, or by ``mldg export --format hub``.
      model: the ``model`` section of the detector's config.
      detector: of the same section.
      samples: length of a window.

    Returns:
      ``(trainable, batch_stats, scale)``: parameters as from
      ``models.split.init_parameters``, and the factor of the adapters.

    Raises:
      UserError: the files are missing or do not fit the model.
    """
    both = tables(model)
    adapters, _, scale = torch_export.read_peft(folder, both[FRONTEND], [HEAD])
    state = torch_export.read_module(folder, HEAD)
    expected = _part(_expected(detector, samples), HEAD)
    head = convert.to_ours(both[HEAD], state, expected)
    trainable = {FRONTEND: adapters, HEAD: head["params"]}
    return trainable, {HEAD: head.get("batch_stats", {})}, scale


def _expected(detector: Detector, samples: int) -> Any:
    """Returns the variables as ``jax.ShapeDtypeStruct``."""
    waveform = jax.ShapeDtypeStruct((1, samples), np.float32)
    return jax.eval_shape(detector.init, jax.random.key(0), waveform)


def to_variables(
    model: ModelSection, detector: Detector, state: Mapping[str, Any], samples: int
) -> dict[str, Any]:
    """Converts a torch state dict to a detector's variables; inverts ``to_state``.

    Args:
      model: the ``model`` section of its config.
      detector: of the same section.
      state: arrays by torch name.
      samples: length of a window.

    Returns:
      ``params`` and ``batch_stats``, float32.

    Raises:
      UserError: arrays are missing, unexpected or misshapen; one report for each part
        names them all.
    """
    expected = _expected(detector, samples)
    variables: dict[str, Any] = {"params": {}, "batch_stats": {}}
    for part, table in tables(model).items():
        own = {
            name.removeprefix(f"{part}."): value
            for name, value in state.items()
            if name.startswith(f"{part}.")
        }
        for kind, tree in convert.to_ours(table, own, _part(expected, part)).items():
            variables[kind][part] = tree
    return variables


def _part(variables: Mapping[str, Any], part: str) -> dict[str, Any]:
    """Returns the collections of one part of a detector."""
    return {kind: tree[part] for kind, tree in variables.items() if part in tree}
