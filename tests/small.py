"""A detector small enough to compile in seconds: LoRA, attention, BatchNorm."""

import functools

import flax.linen as nn
import jax
import numpy as np

from mldg_jax.data import episodes
from mldg_jax.models.aasist_blocks import BatchNorm
from mldg_jax.models.detector import Detector
from mldg_jax.models.whisper import WhisperEncoder
from mldg_jax.training.build import build_state
from mldg_jax.training.config_files import read_config_file
from tests import signals

SAMPLES = 1_600


class Head(nn.Module):
    """Dense, BatchNorm, mean over frames."""

    axis_name: str | None = None

    @nn.compact
    def __call__(self, x, train=False):
        """Maps (batch, frames, dim) to (batch, 2)."""
        # no bias: BatchNorm would remove it, and Adam blow up its zero gradient
        x = nn.Dense(8, use_bias=False, name="project")(x - x.mean(1, keepdims=True))
        x = nn.tanh(BatchNorm(self.axis_name, name="norm")(x, train))
        return nn.Dense(2, name="logits")(x.mean(axis=1))


def config(*overrides):
    """An MLDG config whose steps move far enough to tell mistakes."""
    base = ["objective.inner_lr=0.1", "optimizer.lr=1e-2"]
    return read_config_file("configs/debspoof.py:mldg,smoke", [*base, *overrides])


def smoke_config(*overrides):
    """That of the run of ``conftest.smoke_run``: real Whisper, four steps, no A02."""
    own = ("seed=7", "episode.exclude=[A02]", "episode.num_meta_test=2")
    return read_config_file("configs/debspoof.py:mldg,smoke", [*own, *overrides])


def detector(axis_name=None, **options):
    """The detector; options are of its front-end."""
    shape = {"layers": 1, "dim": 32, "heads": 2, "hidden": 64, "positions": 100}
    return Detector(WhisperEncoder(**shape, **options), Head(axis_name))


def init(config, detector):
    """State and frozen parameters; B is not zero, or no A would have a gradient."""
    waveform = np.ones((1, SAMPLES), np.float32)
    state, frozen = build_state(config, detector, _frontend(), waveform)
    return state._replace(trainable=fill(state.trainable)), frozen


@functools.cache
def _frontend():
    """Parameters of every ``detector().frontend``, whatever its options."""
    waveform = np.ones((1, SAMPLES), np.float32)
    made = jax.jit(detector().frontend.init)(jax.random.key(1), waveform)
    # float32 also where the first caller works in double precision
    return jax.tree.map(lambda x: np.asarray(x, np.float32), made["params"])


def fill(trainable):
    """Something small in place of every leaf that is zero."""

    def one(x):
        wave = 0.01 * np.cos(np.arange(x.size)).reshape(x.shape)
        return x if np.any(x) else x + wave.astype(x.dtype)

    return jax.tree.map(one, trainable)


def domains():
    """Corpus and domains: six attacks, one with two utterances only."""
    corpus = signals.corpus()
    rare = np.flatnonzero(corpus.attack == "A01")[2:]
    corpus = corpus.take(np.setdiff1d(np.arange(len(corpus.label)), rare))
    return corpus, episodes.group(corpus)


def sample_episode(domains, step, examples_per_attack=8):
    """The decisions of one episode."""
    return episodes.sample_episode(
        domains,
        seed=0,
        step=step,
        num_meta_test=2,
        examples_per_attack=examples_per_attack,
    )


def load_episode(drawn, corpus):
    """The arrays of one episode."""
    return episodes.load_episode(drawn, corpus, samples=SAMPLES)


def double(tree):
    """float32 leaves as float64."""
    return jax.tree.map(
        lambda x: x.astype("float64") if x.dtype == "float32" else x, tree
    )
