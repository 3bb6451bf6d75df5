"""The split of a detector's parameters: what is frozen and what is trained.

params = {"frontend": pretrained, "head": trained}
batch_stats = {"head": neither trained nor frozen, see the head}
frozen front-end:  φ = head
LoRA:              φ = head ∪ adapters in the front-end's transformer
full fine-tuning:  φ = head ∪ front-end, without adapters
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from mldg_jax import lora
from mldg_jax.common.config import ModelSection
from mldg_jax.common.errors import UserError
from mldg_jax.common.own_code import is_own, raised_at
from mldg_jax.models.detector import DTYPES, Detector
from mldg_jax.models.hidden_states import statistics

PROJECTIONS = ("query", "key", "value", "out")  # of self-attention
FEED_FORWARD = ("mlp_in", "mlp_out")


def adapter_targets(names: Any) -> str:
    """Returns the pattern of the kernels that get adapters.

    Args:
      names: names from ``PROJECTIONS`` and ``FEED_FORWARD``; they apply to every layer,
        and to both feed-forward blocks of a conformer.

    Returns:
      A regular expression for ``lora.init``.

    Raises:
      UserError: ``names`` is empty or holds an unknown name.
    """
    known = PROJECTIONS + FEED_FORWARD
    if not names or set(names) - set(known):
        raise UserError(
            f"model.lora.targets is {tuple(names)}; choose from {', '.join(known)}"
        )
    return rf"frontend/layers_\d+/(attention/|first_)?({'|'.join(names)})/kernel"


def init_parameters(
    key: jax.Array,
    detector: Detector,
    frontend: Mapping[str, Any],
    examples: jax.Array,
    *,
    rank: int,
    adapted: Any = PROJECTIONS,
    full: bool = False,
) -> tuple[dict, dict, dict]:
    """Initialises the parameters, split into trained and frozen ones.

    Args:
      key: PRNG key for the initial values of the head and the adapters.
      detector: the model.
      frontend: pretrained parameters of the front-end.
      examples: (n, samples) training waveforms. If the head standardises its input, it
        takes the statistics from them.
      rank: LoRA rank; 0 trains only the head.
      adapted: names of the kernels that get adapters, see ``adapter_targets``.
      full: whether to train every parameter of the front-end and freeze none.

    Returns:
      ``(trainable, batch_stats, frozen)``, see ``variables``.

    Raises:
      UserError: both ``full`` and a rank are given, or a name is unknown.
      ValueError: the front-end's paths or shapes do not match the model.
    """
    if full and rank:
        raise UserError(
            f"model.lora.rank is {rank}, but model.full trains every parameter without "
            "adapters; set the rank to 0"
        )
    head_key, lora_key = jax.random.split(key)

    def shapes(tree):
        return jax.tree.map(jnp.shape, tree)

    expected = jax.eval_shape(detector.frontend.init, head_key, examples[:1])
    expected = expected.get("params", {})  # a front-end of the user's own may have none
    if shapes(expected) != shapes(dict(frontend)):
        raise ValueError("the front-end's parameters do not match the model's shapes")

    @jax.jit
    def init_head(key, frontend, examples):
        if not measures_examples(detector):
            examples = examples[:1]  # only shapes matter
        params = {"params": {"frontend": frontend}}
        features: Any = detector.apply(params, examples, method="features")
        initial = detector.head.init(key, features)
        if measures_examples(detector):
            return initial["params"], statistics(features)
        return initial["params"], initial.get("batch_stats", {})

    head, batch_stats = init_head(head_key, frontend, examples)
    trainable, frozen = {"head": head}, {"frontend": frontend}
    if full:
        return {**trainable, **frozen}, {"head": batch_stats}, {"frontend": {}}
    if rank:
        adapters = lora.init(lora_key, frozen, [adapter_targets(adapted)], rank=rank)
        trainable = lora.join(trainable, adapters)
    return trainable, {"head": batch_stats}, frozen


def measures_examples(detector: Detector) -> bool:
    """Returns whether the head standardises its input on training examples.

    Args:
      detector: the model.

    Returns:
      True if ``init_parameters`` measures the statistics of the head's input.
    """
    return getattr(detector.head, "standardises", False)


def split_options(config: ModelSection) -> dict[str, Any]:
    """Returns what a config says about the split.

    Args:
      config: the ``model`` section.

    Returns:
      Keyword arguments ``rank``, ``adapted`` and ``full`` of ``init_parameters``.
    """
    return {
        "rank": config.lora.rank,
        "adapted": config.lora.targets,
        "full": config.full,
    }


def parameter_shapes(detector: Detector, config: ModelSection, samples: int) -> Any:
    """Computes the shapes of the trained parameters, without weights.

    Args:
      detector: the model.
      config: the ``model`` section it was built from.
      samples: length of a crop.

    Returns:
      ``(trainable, batch_stats)`` of ``init_parameters``, as ``jax.ShapeDtypeStruct``.

    Raises:
      UserError: the config's values do not make a model.
    """

    def init(key, examples):
        frontend = dict(detector.frontend.init(key, examples)).get("params") or {}
        options = split_options(config)
        parts = init_parameters(key, detector, frontend, examples, **options)
        if is_own(config.frontend["kind"]) or is_own(config.head["kind"]):
            _check_logits(detector.apply(variables(*parts), examples))
        return parts[:2]

    examples = jax.ShapeDtypeStruct((1, samples), jnp.float32)
    try:
        return jax.eval_shape(init, jax.random.key(0), examples)
    except (UserError, MemoryError, OSError):
        raise
    except Exception as error:  # a module's code, given what it was not written for
        reason = (str(error).strip() or repr(error)).split("\n")[0][:200]
        raise UserError(
            "the model cannot be built: check model.frontend, model.head, model.lora "
            f"and crop_samples ({type(error).__name__}: {reason}{raised_at(error)})"
        ) from error


def _check_logits(logits: Any) -> None:
    """Checks what a head of the user's own returns for one example."""
    shape = getattr(logits, "shape", None)
    if shape != (1, 2):
        raise UserError(
            f"the head returns {f'shape {shape}' if shape else type(logits).__name__} "
            "for one utterance; it must return logits (batch, 2), column 1 bona fide"
        )


def variables(
    trainable: Mapping[str, Any],
    batch_stats: Mapping[str, Any],
    frozen: Mapping[str, Any],
) -> dict[str, Any]:
    """Joins the parts of ``init_parameters`` for ``detector.apply``.

    Args:
      trainable: parameters that are trained.
      batch_stats: the head's statistics.
      frozen: parameters that are not trained.

    Returns:
      ``{"params": …, "batch_stats": …}``.
    """
    return {"params": lora.join(frozen, trainable), "batch_stats": batch_stats}


def store_frozen(frozen: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    """Casts frozen matrices to the compute dtype; bfloat16 halves their memory.

    Frozen parameters are never updated, so they do not need the precision of float32.

    Args:
      frozen: the frozen parameters.
      dtype: a key of ``DTYPES``.

    Returns:
      The same tree; arrays that are not two-dimensional keep their dtype.
    """
    compute = DTYPES[dtype]
    return jax.tree.map(
        lambda x: x.astype(compute) if compute is not None and x.ndim == 2 else x,
        frozen,
    )
