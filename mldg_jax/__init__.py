"""mldg_jax: meta-learned LoRA for generalizable speech deepfake detection, in JAX."""

from mldg_jax import lora, metrics, mldg
from mldg_jax._version import __version__
from mldg_jax.errors import UserError

__all__ = ["UserError", "__version__", "load", "lora", "metrics", "mldg"]


def load(run):
    """Loads a finished run; see ``mldg_jax.scoring.load``."""
    from mldg_jax import scoring  # pulls in audio decoding: only when scoring

    return scoring.load(run)
