"""DebSpoof quick: what `mldg demo --quick` trains; 5 attacks, a minute.

    mldg corpus build debspoof --size quick
    mldg train --config debspoof_quick:mldg --workdir runs/quick

The methods, and every value not set here, are those of the preset debspoof. A corpus of
this size shows how the programs work, not which method is better.
"""

import ml_collections

from mldg_jax.training.config_files import read


def get_config(arg: str = "mldg") -> ml_collections.ConfigDict:
    """Returns the config of a method.

    Args:
      arg: the method, e.g. ``"mldg"``; ``",smoke"`` after it shortens the run.
    """
    config = read(f"debspoof:{arg}")
    config.corpus.config = "quick"
    # Of five attacks, at least as many in meta-train as in meta-test [ours].
    config.episode.num_meta_test = 2
    config.selection.held_out = ("piper_vits", "world_shift")
    config.selection.num_meta_test = 1
    return config
