"""The problem of the frozen reference results: data, net, loss and optimiser."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mldg_jax.objectives import LossAux

GOLDEN = Path(__file__).parents[1] / "golden" / "objectives"
DOMAINS = 3
NAMES = ("0.weight", "0.bias", "1.weight", "1.bias")
KEY = jax.random.key(0)


class Case:
    """One case of a file.

    Attributes:
      get: ``name -> array``.
      sizes: number of examples of each domain.
      steps: number of steps.
    """

    def __init__(self, file: str, case: str):
        stored = np.load(GOLDEN / f"{file}.npz", allow_pickle=False)
        self.get = lambda name: stored[f"{case}/{name}"]
        self.names = [
            name.removeprefix(f"{case}/") for name in stored.files if case + "/" in name
        ]
        self.steps = int(self.get("num_steps"))
        self.sizes = tuple(len(self.get(f"step0/y{d}")) for d in range(DOMAINS))

    def hparam(self, name: str) -> float:
        return self.get(f"hparams/{name}").item()

    def tree(self, prefix: str, names=NAMES) -> dict:
        return {name: jnp.asarray(self.get(f"{prefix}/{name}")) for name in names}

    def batch(self, step: int) -> dict:
        """Returns domains padded to one size, with what is padding marked."""
        most = max(self.sizes)
        x, y, valid = [], [], []
        for d, size in enumerate(self.sizes):
            one = self.get(f"step{step}/x{d}")
            x.append(np.pad(one, ((0, most - size), (0, 0))))
            y.append(np.pad(self.get(f"step{step}/y{d}"), (0, most - size)))
            valid.append(np.arange(most) < size)
        return {
            "waveform": jnp.array(x),
            "label": jnp.array(y),
            "valid": jnp.array(valid),
        }

    def optimizer(self) -> optax.GradientTransformation:
        """Returns torch's Adam with its weight decay."""
        return optax.chain(
            optax.add_decayed_weights(self.hparam("weight_decay")),
            optax.adam(self.hparam("lr")),
        )


def net(params: dict, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns features and logits."""
    features = jnp.tanh(x @ params["0.weight"].T + params["0.bias"])
    return features, features @ params["1.weight"].T + params["1.bias"]


def make_loss(sizes, reduce="domains"):
    """Returns the loss; ``reduce``: mean over "domains" or over all "examples"."""

    def loss_fn(params, batch, key):
        del key
        features, logits = net(params, batch["waveform"])
        each = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
        valid = batch.get("valid", jnp.ones(each.shape, bool))
        by_domain = (each * valid).sum(1) / valid.sum(1)
        pooled = (each * valid).sum() / valid.sum()
        value = by_domain.mean() if reduce == "domains" else pooled
        whole = len(sizes) == len(each)

        def ragged(x):
            return [a[:n] for a, n in zip(x, sizes, strict=True)] if whole else x

        return value, LossAux(
            by_domain,
            (),
            features=ragged(features),
            logits=ragged(logits),
            label=ragged(batch["label"]),
        )

    return loss_fn


def close(found, expected, tolerance=1e-12):
    """Compares trees, relative to the largest number of each array."""
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(
            np.asarray(a), b, rtol=tolerance, atol=tolerance * max(1, np.abs(b).max())
        ),
        found,
        expected,
    )
