"""Writes small torch checkpoints and their expected contents as golden files.

    python -m tests.parity.make_torch_files        writes tests/golden/torch/

Needs torch (``make golden``).
"""

from argparse import Namespace
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch

FOLDER = Path(__file__).parents[1] / "golden" / "torch"

DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64),
    *(torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
]


def state() -> OrderedDict[str, torch.Tensor]:
    """Returns tensors of every dtype and every layout within a storage."""
    grid = torch.arange(12.0).reshape(3, 4) / 8 - 0.5
    whole = OrderedDict((str(d).removeprefix("torch."), grid.to(d)) for d in DTYPES)
    whole["parameter"] = torch.nn.Parameter(grid + 1)
    whole["transposed"] = (grid + 2).T
    whole["scalar"] = torch.tensor(3.25)
    whole["empty"] = torch.zeros(0, 3)
    shared = torch.arange(20.0)
    whole["shared"] = shared.reshape(4, 5)
    whole["shared.rows"] = shared.reshape(4, 5)[1:3]
    whole["shared.steps"] = shared[3::4]
    whole["shared.half"] = torch.arange(8).to(torch.bfloat16)[2:6]
    whole["expanded"] = torch.tensor([[1.0], [2.0]]).expand(2, 3)
    return whole


def fairseq() -> dict[str, Any]:
    """Returns a checkpoint like fairseq's, including the old command line."""
    weight = torch.nn.Linear(2, 3).weight
    model = OrderedDict(weight=torch.arange(6.0).reshape(3, 2), bias=torch.ones(3))
    adam = {"step": 7, "exp_avg": torch.zeros_like(weight)}
    return {
        "args": Namespace(arch="wav2vec2", encoder_layers=2, lr=[0.1]),
        "cfg": {"model": {"_name": "wav2vec2"}, "task": None},
        "model": model,
        "optimizer_history": [{"num_updates": 7, "best_loss": 0.5}],
        "extra_state": {"epoch": 1, "val_loss": float("inf"), "done": (True, None)},
        "last_optimizer_state": {"state": {0: adam}, "param_groups": [{"params": [0]}]},
    }


def arrays(tensors: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """Returns the arrays that ``torch_files.read`` should return.

    Args:
      tensors: by name; bfloat16 becomes float32.
    """
    plain = {name: tensor.detach() for name, tensor in tensors.items()}
    return {
        name: (x.float() if x.dtype == torch.bfloat16 else x).numpy()
        for name, x in plain.items()
    }


def write(value: Any, path: Path, *, legacy: bool) -> None:
    """Saves a value with ``torch.save``.

    Args:
      value: anything that torch can pickle.
      path: of the file.
      legacy: use the format of torch before 1.6 instead of a zip file.
    """
    torch.save(value, path, _use_new_zipfile_serialization=not legacy)


def freeze() -> None:
    """Writes the files that ``make test`` reads without torch."""
    FOLDER.mkdir(exist_ok=True)
    for name, legacy in (("zip", False), ("legacy", True)):
        write(state(), FOLDER / f"{name}.pt", legacy=legacy)
        write(fairseq(), FOLDER / f"fairseq_{name}.pt", legacy=legacy)
    write({"state_dict": {"w": torch.ones(2)}}, FOLDER / "lightning.pt", legacy=False)
    np.savez_compressed(
        FOLDER / "expected.npz",
        **arrays(state()),
        **{f"fairseq/{k}": v for k, v in arrays(fairseq()["model"]).items()},
    )


if __name__ == "__main__":
    freeze()
    for path in sorted(FOLDER.iterdir()):
        print(f"{path}: {path.stat().st_size} bytes")
