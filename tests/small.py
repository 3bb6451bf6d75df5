"""A detector that compiles in seconds, with LoRA, attention and BatchNorm."""

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
    """A head of a dense layer, BatchNorm and the mean over frames."""

    axis_name: str | None = None

    @nn.compact
    def __call__(self, x, train=False):
        """Maps (batch, frames, dim) to (batch, 2)."""
        # no bias: BatchNorm would cancel it, and Adam would amplify its zero gradient
        x = nn.Dense(8, use_bias=False, name="project")(x - x.mean(1, keepdims=True))
        x = nn.tanh(BatchNorm(self.axis_name, name="norm")(x, train))
        return nn.Dense(2, name="logits")(x.mean(axis=1))


def config(*overrides):
    """Returns an MLDG config whose steps are large enough to reveal mistakes.

    Args:
      overrides: ``NAME=VALUE``.
    """
    base = ["objective.inner_lr=0.1", "optimizer.lr=1e-2"]
    return read_config_file("configs/debspoof.py:mldg,smoke", [*base, *overrides])


def smoke_config(*overrides):
    """Returns the config of ``conftest.smoke_run``: real Whisper, four steps, no A02.

    Args:
      overrides: ``NAME=VALUE``.
    """
    own = ("seed=7", "episode.exclude=[A02]", "episode.num_meta_test=2")
    return read_config_file("configs/debspoof.py:mldg,smoke", [*own, *overrides])


def detector(axis_name=None, **options):
    """Returns the detector.

    Args:
      axis_name: over which BatchNorm averages.
      options: of the front-end.
    """
    shape = {"layers": 1, "dim": 32, "heads": 2, "hidden": 64, "positions": 100}
    return Detector(WhisperEncoder(**shape, **options), Head(axis_name))


def init(config, detector, num_domains=None):
    """Initialises a training state.

    B is not zero, as otherwise A would have no gradient.

    Args:
      config: of the run.
      detector: of ``detector()``.
      num_domains: see ``build_objective``.

    Returns:
      The state and the frozen parameters.
    """
    waveform = np.ones((1, SAMPLES), np.float32)
    state, frozen = build_state(
        config, detector, _frontend(), waveform, num_domains=num_domains
    )
    return state._replace(trainable=fill(state.trainable)), frozen


@functools.cache
def _frontend():
    """Returns parameters that fit every ``detector().frontend``, with any options."""
    waveform = np.ones((1, SAMPLES), np.float32)
    variables = jax.jit(detector().frontend.init)(jax.random.key(1), waveform)
    # float32 even if the first caller has double precision enabled
    return jax.tree.map(lambda x: np.asarray(x, np.float32), variables["params"])


def fill(trainable):
    """Replaces leaves of zeros by small values.

    Args:
      trainable: a tree of arrays.
    """

    def nonzero(x):
        wave = 0.01 * np.cos(np.arange(x.size)).reshape(x.shape)
        return x if np.any(x) else x + wave.astype(x.dtype)

    return jax.tree.map(nonzero, trainable)


def domains():
    """Returns a corpus and its domains: six attacks, one with only two utterances."""
    corpus = signals.corpus()
    rare = np.flatnonzero(corpus.attack == "A01")[2:]
    corpus = corpus.take(np.setdiff1d(np.arange(len(corpus.label)), rare))
    return corpus, episodes.group(corpus)


def sample_episode(domains, step, examples_per_attack=8):
    """Samples an episode.

    Args:
      domains: of ``domains()``.
      step: number of the training step.
      examples_per_attack: half of them bona fide.
    """
    return episodes.sample_episode(
        domains,
        seed=0,
        step=step,
        num_meta_test=2,
        examples_per_attack=examples_per_attack,
    )


def load_episode(drawn, corpus, *, with_domain=False):
    """Loads the arrays of an episode.

    Args:
      drawn: of ``sample_episode``.
      corpus: of ``domains()``.
      with_domain: whether to number the domains.
    """
    return episodes.load_episode(
        drawn, corpus, samples=SAMPLES, with_domain=with_domain
    )


def double(tree):
    """Converts float32 leaves to float64.

    Args:
      tree: of arrays.
    """
    return jax.tree.map(
        lambda x: x.astype("float64") if x.dtype == "float32" else x, tree
    )
