"""mldg_jax: meta-learned LoRA for generalizable speech deepfake detection, in JAX."""

import importlib
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # at run time __getattr__ imports them
    from mldg_jax import lora, metrics, mldg, models
    from mldg_jax.common.errors import UserError
    from mldg_jax.models import pretrained

__version__ = "0.2.0"
__all__ = [
    "UserError",
    "__version__",
    "load",
    "lora",
    "metrics",
    "mldg",
    "models",
    "pretrained",
]

# Imported on first use, so that `import mldg_jax` does not import JAX.
_MODULES = {
    "lora": "mldg_jax.lora",
    "metrics": "mldg_jax.metrics",
    "mldg": "mldg_jax.mldg",
    "models": "mldg_jax.models",
    "pretrained": "mldg_jax.models.pretrained",
}
_RENAMED = {"configs": "mldg_jax.training.config_files"}
"""Old names, which users' config files import; kept until 0.3."""


def load(source):
    """Loads a detector for scoring; see ``mldg_jax.scoring.hub_scorer.load``.

    Args:
      source: the folder of a finished run, or one that ``mldg export --format hub``
        wrote, or such a folder on the Hugging Face hub: ``"hub:ORG/NAME"``.

    Returns:
      A ``Scorer``.

    Raises:
      UserError: there is no finished run or export there, or its parameters do not fit
        its model.
    """
    from mldg_jax.scoring import hub_scorer

    return hub_scorer.load(source)


def __getattr__(name):
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    if name in _RENAMED:
        warnings.warn(
            f"mldg_jax.{name} is now {_RENAMED[name]}; version 0.3 will not have the "
            "old name",
            FutureWarning,  # which Python shows to users, unlike DeprecationWarning
            stacklevel=2,
        )
        return importlib.import_module(_RENAMED[name])
    if name == "UserError":
        from mldg_jax.common.errors import UserError

        return UserError
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *_MODULES, "UserError"})
