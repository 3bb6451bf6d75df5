"""Random input and parameters for the heads that read hidden states."""

from typing import Any

import jax
import numpy as np

LAYERS, BATCH, FRAMES, WIDTH = 3, 4, 11, 8


def states(frames: int = FRAMES) -> list[np.ndarray]:
    """Returns hidden states of unequal scale, float64.

    Args:
      frames: of every utterance.
    """
    rng = np.random.default_rng(0)
    scale = np.geomspace(0.1, 30, WIDTH)
    noise = rng.normal(size=(LAYERS, BATCH, FRAMES, WIDTH)) * scale + 3
    return list(noise[:, :, :frames])


def variables(head: Any) -> Any:
    """Returns random float64 variables of a head; no two values are equal.

    Args:
      head: the module.
    """
    shapes = jax.eval_shape(head.init, jax.random.key(0), states())
    rng = np.random.default_rng(1)
    leaves, tree = jax.tree.flatten(shapes)
    return jax.tree.unflatten(tree, [rng.normal(size=x.shape) for x in leaves])


def standardise(variables: Any, hidden: list[np.ndarray]) -> np.ndarray:
    """Standardises states as the equations say, (layers, batch, frames, width).

    Args:
      variables: of a head.
      hidden: an array per layer.
    """
    stats = variables["batch_stats"]
    return np.stack(
        [(h - stats["shift"][i]) * stats["scale"][i] for i, h in enumerate(hidden)]
    )


def apply(head: Any, variables: Any, hidden: list[Any], **options: Any) -> np.ndarray:
    """Applies a head in double precision.

    Args:
      head: the module.
      variables: of it.
      hidden: an array per layer.
      **options: of the call.
    """
    with jax.enable_x64(True):
        return np.asarray(head.apply(variables, hidden, **options))


def check_padding(head: Any) -> None:
    """Checks that padded frames of any value make no difference, and others do.

    Args:
      head: the module.
    """
    given, whole = variables(head), states()
    lengths = np.array([FRAMES, 5, 1, 7])
    mask = np.arange(FRAMES) < lengths[:, None]
    for garbage in (0.0, 1e3, np.inf, np.nan):
        padded = [np.where(mask[..., None], h, garbage) for h in whole]
        logits = apply(head, given, padded, mask=mask)
        for i, length in enumerate(lengths):
            alone = [h[i : i + 1, :length] for h in whole]
            expected = apply(head, given, alone)
            np.testing.assert_allclose(logits[i : i + 1], expected, rtol=0, atol=1e-12)
    unmasked = apply(head, given, whole)
    assert (abs(unmasked - logits)[1:].max(axis=1) > 1e-3).all()


def count(head: Any) -> int:
    """Counts the trained parameters of a head.

    Args:
      head: the module.
    """
    return sum(x.size for x in jax.tree.leaves(variables(head)["params"]))
