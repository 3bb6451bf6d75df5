"""DebSpoof full: 25 attacks of 12 families, 43 voices in four folds.

    mldg compare --config configs/debspoof_full.py \\
        --methods lfcc-gmm,frozen,erm,control,mldg,mldg2 --seeds 0:5 --folds 0:4 \\
        --workdir runs/compare

Methods and everything that is not named here are those of configs/debspoof.py.
"""

from pathlib import Path

import ml_collections

from mldg_jax.training.config_files import read


def get_config(arg: str = "mldg") -> ml_collections.ConfigDict:
    """Returns the config of a method, e.g. ``"mldg"`` or ``"erm,smoke"``."""
    config = read(f"{Path(__file__).with_name('debspoof.py')}:{arg}")
    config.corpus.config = "full"
    if config.method.startswith("mldg"):
        # The lowest macro EER on held-out training attacks of five between 0.003 and
        # 0.3, which hardly differ [ours].
        config.objective.inner_lr = 0.03
    # Eight of the 16 attacks a step, so that a step costs what it does there [ours].
    config.episode.attacks_per_episode = 8
    # Three families, whole: two neural and diphone synthesisers, and one vocoder with
    # all its settings. Four attacks a step remain for each half [ours].
    config.selection.held_out = (
        "fest_diphone",
        "fest_diphone_cs",
        "piper_plain",
        "piper_vits",
        "world_coded",
        "world_copy",
        "world_pitch",
        "world_shift",
    )
    config.selection.num_meta_test = 4
    return config
