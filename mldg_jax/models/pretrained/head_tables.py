"""The key tables of the heads on hidden states, for exporting/hub_folder."""

from mldg_jax.models.pretrained.convert import Table
from mldg_jax.models.pretrained.key_tables import linear

_STATES = [
    ("shift", "batch_stats/shift", "same"),
    ("scale", "batch_stats/scale", "same"),
    *linear("logits", "logits", "dense"),
]
POOLING = Table(
    [
        *_STATES,
        ("layer_weights", "params/layer_weights", "same"),
        *linear("project", "project", "dense"),
    ]
)
LINEAR = Table(_STATES)
MHFA = Table(
    [
        *_STATES,
        *(
            (f"{name}_weights", f"params/{name}_weights", "same")
            for name in ("key", "value")
        ),
        *(
            (f"{name}.weight", f"params/{name}/kernel", "dense")
            for name in ("key", "value", "attention")
        ),
    ]
)
SLS = Table(
    [
        *_STATES,
        *linear("gate", "gate", "dense"),
        *linear("hidden", "hidden", "dense"),
    ]
)
