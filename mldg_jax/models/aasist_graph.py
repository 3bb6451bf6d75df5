"""Graph attention of AASIST (Jung et al. 2022, arXiv 2110.01200) on small graphs.

Nodes are (batch, nodes, dim). Every node attends to every node of its own example.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mldg_jax.models.aasist_blocks import BatchNorm, selu

INPUT_DROPOUT, POOL_DROPOUT, BRANCH_DROPOUT = 0.2, 0.3, 0.2  # multiplied by ``dropout``


def _pairs(x: jax.Array) -> jax.Array:
    """Multiplies all pairs of nodes elementwise, each pair once.

    Attention here is symmetric in its two nodes, so it is enough to pair every node
    with those up to halfway round the circle of nodes. This halves the attention,
    which is half of AASIST's graph time, and needs only slices: no broadcast and no
    gather of (pairs, dim).

    Args:
      x: (batch, nodes, dim).

    Returns:
      (batch, nodes // 2 + 1, nodes, dim); [:, d, i] is the product of nodes i and
      (i + d) mod nodes.
    """
    nodes = x.shape[1]
    twice = jnp.concatenate([x, x], axis=1)
    return jnp.stack(
        [x * twice[:, d : d + nodes] for d in range(nodes // 2 + 1)], axis=1
    )


def _symmetric(values: jax.Array) -> jax.Array:
    """Spreads one value for each of ``_pairs`` over a symmetric matrix.

    Maps (batch, nodes // 2 + 1, nodes) to (batch, nodes, nodes).
    """
    batch, _, nodes = values.shape
    row, column = np.indices((nodes, nodes))
    distance = (column - row) % nodes
    near = distance <= nodes // 2
    index = np.where(near, distance * nodes + row, (-distance % nodes) * nodes + column)
    return values.reshape(batch, -1)[:, index.ravel()].reshape(batch, nodes, nodes)


class GraphAttention(nn.Module):
    """Attention among nodes of one kind.

    Attributes:
      dim: output width.
      temperature: divides the attention's logits.
      axis_name: see ``BatchNorm``.
      dropout: multiplies the published dropout rates; 0 turns dropout off.
    """

    dim: int
    temperature: float
    axis_name: str | None = None
    dropout: float = 1.0

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Maps (batch, nodes, in) to (batch, nodes, dim)."""
        x = nn.Dropout(self.dropout * INPUT_DROPOUT, deterministic=not train)(x)
        energy = jnp.tanh(nn.Dense(self.dim, name="attention")(_pairs(x)))
        vector = self.param("vector", nn.initializers.xavier_normal(), (self.dim, 1))
        logits = _symmetric((energy @ vector)[..., 0] / self.temperature)
        weights = jax.nn.softmax(logits)
        y = nn.Dense(self.dim, name="attended")(weights @ x)
        y = y + nn.Dense(self.dim, name="direct")(x)
        return selu(BatchNorm(self.axis_name, name="norm")(y, train))


class HeterogeneousAttention(nn.Module):
    """Attention among temporal and spectral nodes, and from a master node to all.

    Attributes:
      dim: output width.
      temperature: divides the attention's logits.
      axis_name: see ``BatchNorm``.
      dropout: multiplies the published dropout rates; 0 turns dropout off.
    """

    dim: int
    temperature: float
    axis_name: str | None = None
    dropout: float = 1.0

    @nn.compact
    def __call__(
        self,
        temporal: jax.Array,
        spectral: jax.Array,
        master: jax.Array,
        train: bool = False,
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Applies one layer of stacking attention.

        Args:
          temporal: (batch, temporal nodes, in).
          spectral: (batch, spectral nodes, in).
          master: (batch or 1, 1, in).
          train: whether to use batch statistics and dropout.

        Returns:
          ``(temporal, spectral, master)`` of width ``dim``; master is (batch, 1, dim).
        """
        split, width = temporal.shape[1], temporal.shape[-1]
        temporal = nn.Dense(width, name="temporal")(temporal)
        spectral = nn.Dense(width, name="spectral")(spectral)
        x = jnp.concatenate([temporal, spectral], axis=1)
        x = nn.Dropout(self.dropout * INPUT_DROPOUT, deterministic=not train)(x)
        weights = self._weights(x, split)
        master = self._master(x, master)
        y = nn.Dense(self.dim, name="attended")(weights @ x)
        y = y + nn.Dense(self.dim, name="direct")(x)
        y = selu(BatchNorm(self.axis_name, name="norm")(y, train))
        return y[:, :split], y[:, split:], master

    def _vector(self, name: str) -> jax.Array:
        return self.param(name, nn.initializers.xavier_normal(), (self.dim, 1))

    def _weights(self, x: jax.Array, split: int) -> jax.Array:
        """Returns attention (batch, nodes, nodes).

        The kinds of its two nodes decide which vector maps a pair to its logit.
        """
        energy = jnp.tanh(nn.Dense(self.dim, name="attention")(_pairs(x)))
        names = ("vector_temporal", "vector_spectral", "vector_mixed")
        vectors = jnp.concatenate([self._vector(n) for n in names], axis=1)
        logits = energy @ vectors  # (batch, nodes // 2 + 1, nodes, 3)
        nodes = x.shape[1]
        late = np.arange(nodes) >= split
        other = late[(np.arange(nodes // 2 + 1)[:, None] + np.arange(nodes)) % nodes]
        kind = np.where(late == other, late.astype(int), 2)
        chosen = (logits * np.eye(3, dtype=x.dtype)[kind]).sum(-1)
        return jax.nn.softmax(_symmetric(chosen / self.temperature))

    def _master(self, x: jax.Array, master: jax.Array) -> jax.Array:
        """Returns the master node after it attended to x, (batch, 1, dim)."""
        energy = jnp.tanh(nn.Dense(self.dim, name="master_attention")(x * master))
        logits = energy @ self._vector("vector_master") / self.temperature
        weights = jax.nn.softmax(logits, axis=1).swapaxes(1, 2)  # (batch, 1, nodes)
        y = nn.Dense(self.dim, name="master_attended")(weights @ x)
        return y + nn.Dense(self.dim, name="master_direct")(master)


class GraphPool(nn.Module):
    """Keeps the best-scored share of nodes, each scaled by its score.

    Attributes:
      ratio: share of nodes to keep, rounded down but at least one node.
      dropout: multiplies the published dropout rate; 0 turns dropout off.
    """

    ratio: float
    dropout: float = 1.0

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Maps (batch, nodes, dim) to (batch, ratio · nodes, dim), best first."""
        dropped = nn.Dropout(self.dropout * POOL_DROPOUT, deterministic=not train)(x)
        score = jax.nn.sigmoid(nn.Dense(1, name="score")(dropped))
        num_nodes = max(int(x.shape[1] * self.ratio), 1)
        _, index = jax.lax.top_k(score[..., 0], num_nodes)
        return jnp.take_along_axis(x * score, index[..., None], axis=1)


class Branch(nn.Module):
    """Two heterogeneous layers with pooling in between, and a master node.

    Attributes:
      dim: output width.
      ratio: see ``GraphPool``.
      temperature: see ``HeterogeneousAttention``.
      axis_name: see ``BatchNorm``.
      dropout: multiplies the published dropout rates; 0 turns dropout off.
    """

    dim: int
    ratio: float
    temperature: float
    axis_name: str | None = None
    dropout: float = 1.0

    @nn.compact
    def __call__(
        self, temporal: jax.Array, spectral: jax.Array, train: bool = False
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns temporal, spectral and master nodes of width ``dim``.

        The inputs are (batch, nodes, in); pooling leaves fewer nodes of each kind.
        """

        def layer(name):
            return HeterogeneousAttention(
                self.dim, self.temperature, self.axis_name, self.dropout, name=name
            )

        shape = (1, 1, temporal.shape[-1])
        master = self.param("master", nn.initializers.normal(1.0), shape)
        temporal, spectral, master = layer("layer_1")(temporal, spectral, master, train)
        spectral = GraphPool(self.ratio, self.dropout, name="spectral_pool")(
            spectral, train
        )
        temporal = GraphPool(self.ratio, self.dropout, name="temporal_pool")(
            temporal, train
        )
        updates = layer("layer_2")(temporal, spectral, master, train)
        drop = nn.Dropout(self.dropout * BRANCH_DROPOUT, deterministic=not train)
        temporal, spectral, master = (
            drop(x + y)
            for x, y in zip((temporal, spectral, master), updates, strict=True)
        )
        return temporal, spectral, master


class GraphReadout(nn.Module):
    """Spectral and temporal nodes → one vector.

    Attributes:
      dims: widths of the homogeneous and the heterogeneous layers.
      ratios: shares of nodes kept by spectral, temporal and heterogeneous pooling.
      temperatures: of the homogeneous and the heterogeneous layers.
      axis_name: see ``BatchNorm``.
      dropout: multiplies the published dropout rates; 0 turns dropout off.
    """

    dims: tuple[int, int] = (64, 32)
    ratios: tuple[float, float, float] = (0.5, 0.5, 0.5)
    temperatures: tuple[float, float] = (2.0, 100.0)
    axis_name: str | None = None
    dropout: float = 1.0

    @nn.compact
    def __call__(
        self, spectral: jax.Array, temporal: jax.Array, train: bool = False
    ) -> jax.Array:
        """Maps two sets of nodes, (batch, nodes, in), to (batch, 5 · dims[1])."""

        def attend(kind, x, ratio):
            x = GraphAttention(
                self.dims[0],
                self.temperatures[0],
                self.axis_name,
                self.dropout,
                name=f"{kind}_attention",
            )(x, train)
            return GraphPool(ratio, self.dropout, name=f"{kind}_pool")(x, train)

        positions = self.param(
            "positions", nn.initializers.normal(1.0), (1, *spectral.shape[1:])
        )
        spectral = attend("spectral", spectral + positions, self.ratios[0])
        temporal = attend("temporal", temporal, self.ratios[1])
        branches = [
            Branch(
                self.dims[1],
                self.ratios[2],
                self.temperatures[1],
                self.axis_name,
                self.dropout,
                name=f"branch_{i}",
            )(temporal, spectral, train)
            for i in (1, 2)
        ]
        temporal, spectral, master = map(jnp.maximum, *branches)
        parts = [
            reduced
            for x in (temporal, spectral)
            for reduced in (jnp.abs(x).max(axis=1), x.mean(axis=1))
        ]
        return jnp.concatenate([*parts, master[:, 0]], axis=-1)
