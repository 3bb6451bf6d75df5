"""Loads a detector from wherever it is: a run, an exported folder, or the hub.

``mldg export --format hub`` writes a folder that holds the whole detector. Its
config.json has the config of the run, and model.safetensors its merged weights under
torch names, so neither the run nor the pretrained front-end is needed. Weights that
were trained further in torch load, too. Only JSON and arrays are read: the Python files
of the folder are for ``transformers`` and are never executed here.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open

from mldg_jax.common.config import Config
from mldg_jax.common.config_values import complete
from mldg_jax.common.errors import UserError
from mldg_jax.common.provenance import fingerprint
from mldg_jax.common.run_folder import CONFIG, HUB_MODEL
from mldg_jax.common.text_files import read_json
from mldg_jax.models.detector import create_detector
from mldg_jax.models.pretrained import hub, settings, torch_files, torch_state
from mldg_jax.scoring import scorer
from mldg_jax.scoring.calibration import to_calibration
from mldg_jax.scoring.scorer import Scorer

HUB = "hub:"  # before a name on the Hugging Face hub
RUN = "mldg"  # the entry of config.json that holds the config of the run
_FIX = "download the folder again, or export the run again"


def load(source: str | Path) -> Scorer:
    """Loads a detector for scoring.

    Args:
      source: the folder of a finished run; a folder that ``mldg export --format hub``
        wrote; or ``"hub:ORG/NAME"``, such a folder on the Hugging Face hub.

    Returns:
      The scorer. Scores of a calibrated detector are log-likelihood ratios.

    Raises:
      UserError: there is no such run, folder or name, or its files do not fit together.
    """
    source = local_folder(source)
    return _load(Path(source)) if is_hub_folder(source) else scorer.load(source)


def local_folder(source: str | Path) -> str | Path:
    """Returns where a detector is on this machine; downloads one from the hub.

    Args:
      source: as for ``load``.

    Returns:
      The folder, which need not exist unless it is one of the hub.

    Raises:
      UserError: the name is not valid, or the hub does not have it.
    """
    if not (isinstance(source, str) and source.startswith(HUB)):
        return source
    folder = hub.fetch(source.removeprefix(HUB), torch_files.WEIGHTS[:2]).parent
    if not is_hub_folder(folder):
        raise UserError(
            f"{source} was not written by `mldg export --format hub` (its {CONFIG} "
            f"does not have model_type {HUB_MODEL!r}); choose another name"
        )
    return folder


def is_hub_folder(folder: Any) -> bool:
    """Returns whether a folder was written by ``mldg export --format hub``.

    Args:
      folder: any value; only a path can be one.

    Returns:
      True if its config.json says so.
    """
    if not isinstance(folder, str | Path) or not (Path(folder) / CONFIG).is_file():
        return False
    try:
        content = read_json(Path(folder) / CONFIG, dict)
    except UserError:
        return False
    return content.get("model_type") == HUB_MODEL


def _load(folder: Path) -> Scorer:
    path = folder / CONFIG
    content = read_json(path, dict)
    config = _config(content, path)
    detector = create_detector(config.model)
    theirs = content.get("frontend")
    if not isinstance(theirs, Mapping):
        raise UserError(f"{path} is damaged: frontend is {theirs!r}; {_FIX}")
    # Torch reads this description, we that of the run: they must be of one function.
    kind = config.model.frontend["kind"]
    settings.compare_config(kind, detector.frontend, theirs, str(path))
    state = torch_files.read(folder)
    _check(folder / torch_files.WEIGHTS[0], state)
    variables = torch_state.to_variables(
        config.model, detector, state, config.crop_samples
    )
    calibration = content.get("calibration")
    if calibration is not None:
        calibration = to_calibration(calibration, path, _FIX)
    return Scorer(detector, variables, config.crop_samples, config, calibration)


def _config(content: Mapping[str, Any], path: Path) -> Config:
    """Returns the config of the run that was exported."""
    try:
        return complete(content[RUN])
    except KeyError:
        raise UserError(f"{path} is damaged: it has no entry {RUN!r}; {_FIX}") from None
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _check(path: Path, state: Mapping[str, Any]) -> None:
    """Refuses weights that differ from what was exported.

    Files that others wrote, such as ``save_pretrained`` of ``transformers``, do not
    have the digest.
    """
    if not path.is_file():
        return
    with safe_open(path, "numpy") as file:
        expected = (file.metadata() or {}).get("sha256")
    if expected not in (None, fingerprint(dict(state))):
        raise UserError(f"{path} is damaged: its content has changed; {_FIX}")
