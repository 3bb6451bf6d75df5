"""Graph attention of AASIST (Jung et al. 2022, arXiv 2110.01200), on small graphs.

Nodes are (batch, nodes, dim). Every node attends to every node of its own example.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mldg_jax.models.aasist_blocks import BatchNorm, selu

INPUT_DROPOUT, POOL_DROPOUT, BRANCH_DROPOUT = 0.2, 0.3, 0.2  # times ``dropout``


def _pairs(x: jax.Array) -> jax.Array:
    """Elementwise products of all pairs of nodes, each pair once.

    Attention here is a symmetric function of two nodes. Taking every node with those
    up to half way round the circle of nodes halves what is half of AASIST's graph
    time, and needs slices only: no broadcast and no gather of (pairs, dim).

    Args:
      x: (batch, nodes, dim).

    Returns:
      (batch, nodes // 2 + 1, nodes, dim); [:, d, i] is of nodes i and i + d, modulo
      their number.
    """
    nodes = x.shape[1]
    twice = jnp.concatenate([x, x], axis=1)
    return jnp.stack(
        [x * twice[:, d : d + nodes] for d in range(nodes // 2 + 1)], axis=1
    )


def _board(values: jax.Array) -> jax.Array:
    """Puts a value for each of ``_pairs`` in its two places.

    Maps (batch, nodes // 2 + 1, nodes) to (batch, nodes, nodes), symmetric.
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
      dropout: factor of the published rates; 0 for none.
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
        logits = _board((energy @ vector)[..., 0] / self.temperature)
        weights = jax.nn.softmax(logits)
        y = nn.Dense(self.dim, name="attended")(weights @ x)
        y = y + nn.Dense(self.dim, name="direct")(x)
        return selu(BatchNorm(self.axis_name, name="norm")(y, train))


class HeterogeneousAttention(nn.Module):
    """Attention among temporal and spectral nodes, and of a master node to all.

    Attributes:
      dim: output width.
      temperature: divides the attention's logits.
      axis_name: see ``BatchNorm``.
      dropout: factor of the published rates; 0 for none.
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
        """One layer of stacking attention.

        Args:
          temporal: (batch, temporal nodes, in).
          spectral: (batch, spectral nodes, in).
          master: (batch or 1, 1, in).
          train: training mode.

        Returns:
          The same three, of width ``dim``, master (batch, 1, dim).
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
        """Attention (batch, nodes, nodes); the kinds of a pair choose its vector."""
        energy = jnp.tanh(nn.Dense(self.dim, name="attention")(_pairs(x)))
        names = ("vector_temporal", "vector_spectral", "vector_mixed")
        vectors = jnp.concatenate([self._vector(n) for n in names], axis=1)
        logits = energy @ vectors  # (batch, nodes // 2 + 1, nodes, 3)
        nodes = x.shape[1]
        late = np.arange(nodes) >= split
        other = late[(np.arange(nodes // 2 + 1)[:, None] + np.arange(nodes)) % nodes]
        kind = np.where(late == other, late.astype(int), 2)
        chosen = (logits * np.eye(3, dtype=x.dtype)[kind]).sum(-1)
        return jax.nn.softmax(_board(chosen / self.temperature))

    def _master(self, x: jax.Array, master: jax.Array) -> jax.Array:
        """The master node after attending to the nodes x, (batch, 1, dim)."""
        energy = jnp.tanh(nn.Dense(self.dim, name="master_attention")(x * master))
        logits = energy @ self._vector("vector_master") / self.temperature
        weights = jax.nn.softmax(logits, axis=1).swapaxes(1, 2)  # (batch, 1, nodes)
        y = nn.Dense(self.dim, name="master_attended")(weights @ x)
        return y + nn.Dense(self.dim, name="master_direct")(master)


class GraphPool(nn.Module):
    """Keeps the best-scored share of nodes, each scaled by its score.

    Attributes:
      ratio: share that is kept, rounded down, at least one node.
      dropout: factor of the published rate; 0 for none.
    """

    ratio: float
    dropout: float = 1.0

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Maps (batch, nodes, dim) to (batch, kept, dim), best first."""
        seen = nn.Dropout(self.dropout * POOL_DROPOUT, deterministic=not train)(x)
        score = jax.nn.sigmoid(nn.Dense(1, name="score")(seen))
        kept = max(int(x.shape[1] * self.ratio), 1)
        _, index = jax.lax.top_k(score[..., 0], kept)
        return jnp.take_along_axis(x * score, index[..., None], axis=1)


class Branch(nn.Module):
    """Two heterogeneous layers with pooling between, and a master node of its own.

    Attributes:
      dim: output width.
      ratio: see ``GraphPool``.
      temperature: see ``HeterogeneousAttention``.
      axis_name: see ``BatchNorm``.
      dropout: factor of the published rates; 0 for none.
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
        """Maps (batch, nodes, in), twice, to those of width dim and the master node."""

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
        more = layer("layer_2")(temporal, spectral, master, train)
        drop = nn.Dropout(self.dropout * BRANCH_DROPOUT, deterministic=not train)
        temporal, spectral, master = (
            drop(x + y) for x, y in zip((temporal, spectral, master), more, strict=True)
        )
        return temporal, spectral, master


class GraphReadout(nn.Module):
    """Spectral and temporal nodes → one vector.

    Attributes:
      dims: width of the homogeneous and of the heterogeneous layers.
      ratios: share of nodes kept by spectral, temporal and heterogeneous pooling.
      temperatures: of the homogeneous and of the heterogeneous layers.
      axis_name: see ``BatchNorm``.
      dropout: factor of the published rates; 0 for none.
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
        """Maps (batch, nodes, in), twice, to (batch, 5 · dims[1])."""

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
