"""mldg_jax: meta-learned LoRA for generalizable speech deepfake detection, in JAX."""

__version__ = "0.1.0"

from mldg_jax import lora, metrics, mldg
from mldg_jax.common.errors import UserError

__all__ = ["UserError", "__version__", "load", "lora", "metrics", "mldg"]


def load(run):
    """Loads a finished run; see ``mldg_jax.scoring.scorer.load``."""
    from mldg_jax.scoring import scorer  # pulls in audio decoding: only when scoring

    return scorer.load(run)
