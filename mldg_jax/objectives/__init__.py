"""Everything that MLDG is compared with: objectives for domain generalisation.

Each file is one method: a function from a loss to an ``Objective`` whose ``jax.grad``
is the method, with its equation, its source and the reference's defaults. The paper's
own objectives are in ``mldg``.
"""

from mldg_jax.objectives.coral import coral
from mldg_jax.objectives.fish import fish
from mldg_jax.objectives.fishr import fishr
from mldg_jax.objectives.group_dro import group_dro
from mldg_jax.objectives.irm import irm
from mldg_jax.objectives.mixup import mixup
from mldg_jax.objectives.mmd import mmd
from mldg_jax.objectives.objective import LossAux, Objective, stateless
from mldg_jax.objectives.sagm import sagm
from mldg_jax.objectives.sam import sam
from mldg_jax.objectives.vrex import vrex

__all__ = [
    "LossAux",
    "Objective",
    "coral",
    "fish",
    "fishr",
    "group_dro",
    "irm",
    "mixup",
    "mmd",
    "sagm",
    "sam",
    "stateless",
    "vrex",
]
